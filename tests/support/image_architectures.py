"""Every architecture that Transformers has for images, built tiny from its config class.

As in `architectures`, whose sizes are taken where a config has the names; convolutional ones name
their widths and depths stage by stage.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import CONFIG_MAPPING, AutoModelForImageClassification, PretrainedConfig
from transformers.models.auto import modeling_auto

from tests.support.architectures import finished, sized

SIDE = 32
"""Pixels of an edge."""
_NAMES = modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
IMAGES: tuple[str, ...] = tuple(_NAMES)
NOT_BUILT = {
    "dinat": "it wants natten",
    "perceiver": "it is taken for a model of texts, as which it is tried",
    "pp_lcnet": "its forward takes no labels and returns no logits by that name",
    "shieldgemma2": "it answers yes or no to a policy in words, and takes no labels",
    "timm_wrapper": "it wants timm",
}

_STAGES: dict[str, Any] = {
    "num_stages": 4,
    "depths": (1, 1, 1, 1),
    "embed_dim": 16,
    "hidden_sizes": (16, 16, 32, 32),
    "num_heads": (1, 2, 2, 4),
    "window_size": 4,
}
_WINDOWS = {"depths": (1, 1), "embed_dim": 16, "num_heads": (1, 2), "window_size": 4}
_PYRAMID = {
    "depths": (1, 1, 1, 1),
    "hidden_sizes": (8, 16, 16, 32),
    "num_attention_heads": (1, 2, 2, 4),
    "mlp_ratios": (2, 2, 2, 2),
}
_SMALL_PATCHES = {"patch_size": 4}
OWN: dict[str, dict[str, Any]] = {
    "bit": {**_STAGES, "embedding_size": 16, "num_groups": 4},
    "convnext": {**_STAGES, **_SMALL_PATCHES},
    "convnextv2": {**_STAGES, **_SMALL_PATCHES},
    "cvt": {"embed_dim": (16, 16, 32), "num_heads": (1, 2, 4), "depth": (1, 2, 3)},
    "donut-swin": {**_WINDOWS, **_SMALL_PATCHES},
    "efficientnet": {"width_coefficient": 0.25, "depth_coefficient": 0.25, "hidden_dim": 320},
    "focalnet": {**_STAGES, **_SMALL_PATCHES},
    "hgnet_v2": {
        "depths": (1, 1, 1, 1),
        "hidden_sizes": (16, 16, 32, 32),
        "stem_channels": (3, 8, 8),
        "stage_in_channels": (8, 16, 16, 32),
        "stage_mid_channels": (8, 8, 8, 8),
        "stage_out_channels": (16, 16, 32, 32),
        "stage_num_blocks": (1, 1, 1, 1),
        "stage_numb_of_layers": (1, 1, 1, 1),
        "embedding_size": 8,
    },
    "hiera": {
        "image_size": (SIDE, SIDE),
        "patch_size": (7, 7),
        "embed_dim": 8,
        **{"decoder_hidden_size": 16, "decoder_depth": 1, "decoder_num_heads": 2},
        "depths": (1, 1, 1),
        "num_heads": (1, 2, 4),
        "masked_unit_attention": (True, True, False),
        "num_query_pool": 2,
        "masked_unit_size": (4, 4),
    },
    "imagegpt": {"n_positions": 64},
    "levit": {
        "hidden_sizes": (16, 24, 32),
        "num_attention_heads": (1, 2, 2),
        "depths": (1, 1, 1),
        "key_dim": (8, 8, 8),
        "patch_size": 16,
    },
    "mobilenet_v1": {"depth_multiplier": 0.25},
    "mobilenet_v2": {"depth_multiplier": 0.25},
    "mobilevit": {
        "patch_size": 2,
        "hidden_sizes": (16, 16, 24),
        "neck_hidden_sizes": (8, 8, 16, 16, 24, 24, 32),
    },
    "mobilevitv2": {
        "patch_size": 2,
        "base_attn_unit_dims": (16, 16, 32),
        "n_attn_blocks": (1, 1, 1),
        "width_multiplier": 0.25,
        "output_stride": 16,
    },
    "poolformer": {k: v for k, v in _PYRAMID.items() if k in ("depths", "hidden_sizes")},
    "pp_lcnet": {"scale": 0.25, "class_expand": 32},
    "pvt": {**_PYRAMID, **_SMALL_PATCHES},
    "pvt_v2": _PYRAMID,
    "regnet": {**_STAGES, "embedding_size": 16, "groups_width": 8},
    "resnet": {**_STAGES, "embedding_size": 16},
    "segformer": {**_PYRAMID, "decoder_hidden_size": 16},
    "swiftformer": {"depths": (1, 1, 1, 1), "embed_dims": (8, 16, 16, 32)},
    "swin": {**_WINDOWS, **_SMALL_PATCHES},
    "swinv2": {**_WINDOWS, **_SMALL_PATCHES},
    "textnet": {"image_size": (SIDE, SIDE), "hidden_sizes": (8, 8, 16, 16, 16)}
    | {"stem_out_channels": 8},
}


def tiny_image_config(kind: str) -> PretrainedConfig:
    """The config of a small classifier of images, of model type `kind`."""
    config = finished(sized(CONFIG_MAPPING[kind], OWN.get(kind, {})))
    found = _NAMES[kind]
    config.architectures = [found if isinstance(found, str) else found[0]]
    return config


def tiny_of_images(kind: str) -> Any:
    """The classifier itself, in eval mode, with weights that keep what they are given in size."""
    torch.manual_seed(0)
    model = AutoModelForImageClassification.from_config(tiny_image_config(kind)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=(2 / parameter[0].numel()) ** 0.5)
    return model


def picture(kind: str, draw: np.random.Generator) -> dict[str, Any]:
    """What forward takes of one picture, in lists."""
    if kind == "imagegpt":  # colours by number
        return {"input_ids": draw.integers(0, 100, 16).tolist()}
    if kind == "siglip2":  # patches one after the other, and how they lie
        patches = draw.standard_normal((4, 16 * 16 * 3)).tolist()
        shape = {"pixel_attention_mask": [1] * 4, "spatial_shapes": [2, 2]}
        return {"pixel_values": patches, **shape}
    pixels = draw.standard_normal((3, SIDE, SIDE)).astype("float32")
    return {"pixel_values": pixels.tolist()}
