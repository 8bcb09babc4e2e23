"""Every architecture that Transformers has for classification, built tiny from its config class.

Sizes are set by name, wherever a config has the name; what else an architecture wants stands in
`OWN`. Nothing is left to chance (no dropout, no jitter), and weights are drawn large, so that a
part that is wrong shows in the logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoModelForSequenceClassification, PretrainedConfig
from transformers.models.auto import modeling_auto

LABELS = 3
LONGEST = 64
"""Positions that a table of positions is made for."""
_NAMES = modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
TEXT: tuple[str, ...] = tuple(_NAMES)
NOT_BUILT = {"layoutlmv2": "its visual part wants detectron2"}

_SIZES: dict[tuple[str, ...], Any] = {
    ("vocab_size",): 128,
    ("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embedding_size"): 32,
    ("word_embed_proj_dim", "pronunciation_embed_dim", "shape_embed_dim", "out_hidden_size"): 32,
    ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers", "depth"): 2,
    ("decoder_layers", "num_decoder_layers", "num_key_value_heads", "num_experts_per_tok"): 2,
    ("num_attention_heads", "n_head", "n_heads", "num_heads"): 4,
    ("encoder_attention_heads", "decoder_attention_heads"): 4,
    ("head_dim", "d_kv", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"): 8,
    ("intermediate_size", "d_ff", "hidden_dim", "n_inner", "ffn_dim", "d_inner"): 64,
    ("encoder_ffn_dim", "decoder_ffn_dim", "shape_vocab_size", "pronunciation_vocab_size"): 64,
    ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"): LONGEST,
    ("num_experts", "num_local_experts", "n_routed_experts"): 4,
    ("moe_intermediate_size", "shared_expert_intermediate_size"): 32,
    ("n_shared_experts", "n_group", "topk_group", "first_k_dense_replace"): 1,
    ("q_lora_rank", "kv_lora_rank", "prediction_head_size"): 16,
    ("pad_token_id",): 0,
    ("bos_token_id", "cls_token_id"): 1,
    ("eos_token_id", "sep_token_id"): 2,
    ("image_size",): 32,
    ("patch_size",): 16,
    ("num_position_embeddings",): 16,
}
_ALL_SIZES = {name: value for names, value in _SIZES.items() for name in names}

_LATENT = {"num_key_value_heads": 4}
"""Heads of multi-head latent attention are not grouped."""
_HYBRID = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "head_dim": 16,
}
_SPARSE = {"attention_type": "block_sparse", "block_size": 4, "num_random_blocks": 1}
_MAMBA = {"mamba_d_state": 8, "use_mamba_kernels": False}
_ROPE = {"rope_theta": 10000.0, "rope_type": "default"}
OWN: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("axk1", "axk2", "deepseek_v2", "deepseek_v3", "minicpm3"), _LATENT),
    **dict.fromkeys(("mistral4", "esmc"), _LATENT),
    **dict.fromkeys(("qwen3_5_text", "qwen3_next"), _HYBRID),
    **{kind: {"decoder_start_token_id": 0} for kind in ("t5", "mt5", "umt5")},
    "big_bird": _SPARSE,
    "bigbird_pegasus": _SPARSE,
    "canine": {
        "num_hash_buckets": 64,
        "num_hash_functions": 4,
        "downsampling_rate": 4,
        "local_transformer_stride": 16,
    },
    "codegen": {"rotary_dim": 4},
    "cohere_compass_text": {
        "layer_types": ["full_attention"] * 2,
        "rope_parameters": {"full_attention": _ROPE},
    },
    "convbert": {"head_ratio": 2, "conv_kernel_size": 3},
    "ctrl": {"dff": 64},
    "deberta-v2": {"pooler_hidden_size": 32},
    "esm": {"mask_token_id": 3, "token_dropout": False},
    "falcon": {"num_kv_heads": 4},
    "funnel": {"block_sizes": [1, 1], "num_decoder_layers": 1, "d_head": 8},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 8},
    "gptj": {"rotary_dim": 4},
    "jamba": {
        **_MAMBA,
        "mamba_dt_rank": 4,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
    },
    "layoutlm": {"max_2d_position_embeddings": 64},
    "layoutlmv3": {
        "input_size": 32,
        "coordinate_size": 4,
        "shape_size": 8,
        "visual_embed": False,
        "max_2d_position_embeddings": 64,
    },
    "lilt": {"hidden_size": 48, "max_2d_position_embeddings": 64, "channel_shrink_ratio": 2},
    "longformer": {"attention_window": 8},
    "luke": {"entity_vocab_size": 16, "entity_emb_size": 32},
    "markuplm": {
        "max_xpath_tag_unit_embeddings": 16,
        "max_xpath_subs_unit_embeddings": 16,
        "tag_pad_id": 0,
        "subs_pad_id": 0,
        "xpath_unit_hidden_size": 8,
    },
    "mobilebert": {"intra_bottleneck_size": 16, "true_hidden_size": 16},
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 8},
    "mra": {"block_per_row": 1},
    "nystromformer": {"conv_kernel_size": 3},
    "perceiver": {
        "d_latents": 32,
        "num_latents": 8,
        "num_self_attention_heads": 4,
        "num_cross_attention_heads": 4,
        "num_self_attends_per_block": 1,
        "num_blocks": 1,
        "qk_channels": 32,
        "v_channels": 32,
    },
    "reformer": {
        "attn_layers": ["local", "lsh"],
        "axial_pos_embds": False,
        "is_decoder": False,
        "feed_forward_size": 64,
        "attention_head_size": 8,
        "local_attn_chunk_length": 8,
        "lsh_attn_chunk_length": 8,
        "num_buckets": 2,
        "hash_seed": 0,
    },
    "rembert": {"input_embedding_size": 32, "output_embedding_size": 32},
    "squeezebert": {f"{part}_groups": 1 for part in ("q", "k", "v", "post_attention")}
    | {"intermediate_groups": 1, "output_groups": 1},
    "tapas": {"type_vocab_sizes": [3, 16, 16, 2, 2, 16, 16]},
    "xlm": {"n_langs": 1},
    "xlnet": {"d_head": 8},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "yoso": {"hash_code_len": 3, "num_hash": 4},
    "zamba": {
        **_MAMBA,
        "mamba_dt_rank": 4,
        "n_mamba_heads": 2,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
        # It wants two of the latter, which are tied.
        "num_hidden_layers": 4,
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
    },
    "zamba2": {
        **_MAMBA,
        "mamba_headdim": 16,
        "n_mamba_heads": 4,
        "mamba_ngroups": 1,
        "use_mem_rope": False,
        "layers_block_type": ["mamba", "hybrid"],
        "hybrid_layer_ids": [1],
        "attention_head_dim": 16,
        "attention_hidden_size": 64,
        "num_mem_blocks": 1,
        "chunk_size": 8,
    },
}
_CHANCE = ("drop", "jitter")
"""In the names of what is a probability, or a width of noise."""


def tiny_config(kind: str) -> PretrainedConfig:
    """The config of a small classifier of model type `kind`, for `LABELS` labels."""
    return finished(sized(CONFIG_MAPPING[kind], OWN.get(kind, {})))


def finished(config: PretrainedConfig) -> PretrainedConfig:
    """Without chance, with a padding token, and for `LABELS` labels."""
    for one in _with_parts(config):
        for name, value in list(vars(one).items()):
            if any(word in name for word in _CHANCE):
                setattr(one, name, _none_of(value))
        if getattr(one, "pad_token_id", None) is None:
            one.pad_token_id = 0
        kinds, layers = getattr(one, "layer_types", None), getattr(one, "num_hidden_layers", None)
        if kinds and layers and len(kinds) != layers:
            one.layer_types = kinds[:layers]
    config.num_labels = LABELS
    config.problem_type = "single_label_classification"
    return config


def _none_of(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_none_of(one) for one in value)
    return 0.0 if isinstance(value, float) else value


def tiny(kind: str) -> Any:
    """The classifier itself, in eval mode; the same whenever it is asked for."""
    torch.manual_seed(0)
    return drawn(AutoModelForSequenceClassification.from_config(tiny_config(kind)))


def drawn(model: nn.Module) -> nn.Module:
    """The model with weights large enough that every part of it shows."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.25)
            else:
                parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def sized(kind: type[PretrainedConfig], own: Mapping[str, Any]) -> PretrainedConfig:
    """Through the constructor, so that what it works out of sizes is worked out of the small."""
    names = {name for base in kind.__mro__ for name in getattr(base, "__annotations__", {})}
    other = getattr(kind, "attribute_map", {})
    wanted: dict[str, Any] = {}
    for name, value in _ALL_SIZES.items():
        if name in names:
            wanted[name] = value
        elif name in other:
            wanted.setdefault(other[name], value)
    for name, part in kind.sub_configs_defaults.items():
        one = CONFIG_MAPPING[part.model_type] if part.model_type else part.config_class
        wanted[name] = sized(one, OWN.get(one.model_type, {})).to_dict()
    return kind(**{**wanted, **own})


def _with_parts(config: PretrainedConfig) -> Iterator[Any]:
    yield config
    for value in vars(config).values():
        if isinstance(value, PretrainedConfig):
            yield from _with_parts(value)
