"""The default model: a checkpoint of Transformers with a head for the labels, and nothing made up.

Weights are fp32 in memory, whatever they are stored in: the steps of AdamW are smaller than what
bf16 can hold beside a weight (Micikevicius et al., Mixed Precision Training, 2018: master weights).
bf16 and fp16 are the arithmetic's, by autocast.

What a checkpoint lacks may only lie outside the encoder: the head, and a pooler. Weights of
embeddings or encoder blocks that it lacks, or has in another shape, are an error, never drawn.
Code that a checkpoint brings along is not run; who wants it calls it in `load_model`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError  # nosec B403
from typing import Any

import torch

from handful.errors import StepError, UserError
from handful.training.calls import HUB_REMEDY, remedy_for
from handful.training.model.pooled import (
    HEAD,
    build_pooled_classifier,
    encoder_class,
    without_pooler,
)
from handful.training.model.pooling import CLS, LAST, MEAN, Pooling, read_checkpoint_pooling
from handful.training.model.weight_dtypes import read_checkpoint_dtype
from handful.training.model.weight_files import broken_file

AUTO, MODEL = "auto", "model"
"""Of POOLING."""
_OWN_POOLING = "classifier_pooling"
_WHERE = "[train] MODEL_NAMES"
_MAX_WEIGHT_KEYS_LISTED = 6
_BROKEN_REMEDY = "get the file again: `git lfs pull` where it is a pointer, else download it anew"
_HEADS_WITHIN = {"perceiver": "perceiver.decoder."}
"""Model type → the beginning of a head's keys that stands below the encoder's."""
_OWN_CODE = (
    "wants code of its own, which is not run unasked",
    "read that code; then write a load_model in functions.py that calls from_pretrained with "
    "trust_remote_code=True",
)
_ADAPTER = (
    "is an adapter of PEFT (adapter_config.json), not a whole model",
    "merge it into its base model (merge_and_unload, then save_pretrained), or write a load_model "
    "that loads the base model and wraps it with PeftModel.from_pretrained(…, is_trainable=True)",
)
_QUANTIZED = (
    "is stored quantized, and such weights cannot be trained in fp32",
    "take the checkpoint that it was made from, or write a load_model in functions.py that loads "
    "it and trains adapters on it",
)
_MORE_THAN_WEIGHTS = (
    "its weight file is broken, or holds more than weights, which might run code when it is read",
    "have its weights saved as safetensors by somebody who trusts that file",
)
_LIBRARY_REMEDY = "install what it names, or take another model"


@dataclass(frozen=True)
class Pretrained:
    """A model as it was loaded."""

    model: torch.nn.Module
    fresh: tuple[str, ...]
    """Weights that are new, drawn at random: of the head, and of a pooler."""
    stored: str
    """ "bf16" or "fp16" if the checkpoint is stored in that; else empty."""
    pooling: Pooling | None = None
    """None: as the class does it."""
    wanted: Pooling | None = None
    """What was asked for, or said by the checkpoint, be it the class's own to do."""


def load_pretrained(
    name: str, label2id: Mapping[str, int], pooling: str | Pooling = MODEL
) -> Pretrained:
    """A classifier in fp32, with both label maps and a fitting head.

    `AutoModelForSequenceClassification`, or of an architecture that knows images alone
    `AutoModelForImageClassification`; or, as `pooling` (POOLING) says, the encoder with a pooling
    of ours: see `pooling_of`.

    Raises `UserError` for a model that is not there, is broken, wants code of its own, is a bare
    adapter, or whose encoder would be random in part.
    """
    wanted = pooling_wanted(name, pooling)
    model, report, pools = _load_pretrained_checkpoint(
        name, label2id, wanted, asked=pooling != AUTO
    )
    fresh = _fresh(report)
    inside = sorted(key for key in fresh if pools or in_encoder(model, key))
    if pools:
        model = build_pooled_classifier(without_pooler(model), pools, len(label2id))
        inside = [key for key in inside if "pooler" not in key.split(".")]
        fresh = {f"{HEAD}.weight", f"{HEAD}.bias"}
    if inside:
        raise UserError(
            f"{name} does not give {len(inside)} weights of the encoder of "
            f"{type(model).__name__}: {some(inside)}{_describe_unexpected_keys(report)}",
            where=_WHERE,
            remedy="they would be random: take a checkpoint of this architecture, or rename its "
            "keys, or write a load_model in functions.py",
        )
    return Pretrained(
        model, tuple(sorted(fresh)), read_checkpoint_dtype(_config(name)), pools, wanted
    )


def reopen_pretrained(folder: Path, label2id: Mapping[str, int]) -> torch.nn.Module:
    """The same from a final/ of ours, in which nothing may be new: else `StepError`."""
    model: torch.nn.Module
    model, report, _ = _load_pretrained_checkpoint(str(folder), label2id, None)
    fresh = sorted(_fresh(report))
    if fresh:
        raise StepError(
            f"it lacks weights of {type(model).__name__}: {some(fresh)}"
            f"{_describe_unexpected_keys(report)}",
            where=str(folder),
            remedy="run `handful run --redo train`",
        )
    return model


def in_encoder(model: torch.nn.Module, key: str) -> bool:
    """Does the weight `key` belong to embeddings or encoder blocks, not to the head or a pooler?"""
    parts = key.split(".")
    from transformers import PreTrainedModel

    within = _HEADS_WITHIN.get(getattr(getattr(model, "config", None), "model_type", ""))
    if within and key.startswith(within):
        return False
    pooler = any("pooler" in part for part in parts)
    prefix = getattr(model, "base_model_prefix", "")
    if prefix and isinstance(getattr(model, prefix, None), torch.nn.Module):
        return parts[0] == prefix and not pooler
    # Some call their encoder otherwise; it is a whole model all the same, and a head is not.
    if isinstance(getattr(model, parts[0], None), PreTrainedModel):
        return not pooler
    return any("embed" in part or part.isdigit() for part in parts)


def pooling_wanted(name: str, pooling: str | Pooling) -> Pooling | None:
    """POOLING's, or the checkpoint's where that is `auto`; None: as the class does it."""
    if isinstance(pooling, Pooling) or pooling == MODEL:
        return None if isinstance(pooling, str) else pooling
    return read_checkpoint_pooling(name) if pooling == AUTO else Pooling((pooling,))


def pooling_of(name: str, config: Any, found: Pooling | None, *, asked: bool) -> Pooling | None:
    """The pooling that takes the place of the class's own; None: that one stays.

    Decoders classify by their last token, and a class whose config has the wanted pooling
    (`classifier_pooling`) does it itself. `asked`: by somebody, and not by the checkpoint alone.
    """
    images = _kind_of(config).__name__ == "AutoModelForImageClassification"
    if found is None or (images and not asked):
        return None
    if images:
        what = f"{name} is for images, which have no tokens to be pooled"
        raise UserError(what, where="[train] POOLING", remedy="write auto, or leave it out")
    if found == Pooling((LAST,)) and _reads_last(config):
        return None
    if not found.normalize and hasattr(config, _OWN_POOLING) and found.modes[0] in (CLS, MEAN):
        setattr(config, _OWN_POOLING, found.modes[0])
        return found if len(found.modes) > 1 else None
    return found


def _reads_last(config: Any) -> bool:
    """Does the class classify by the last token, as those of decoders do?"""
    from transformers.models.auto import modeling_auto

    causal = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING
    only = not getattr(config, "is_encoder_decoder", False)
    return (
        only
        and type(config) in causal
        and type(config) not in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING
    )


def _load_pretrained_checkpoint(
    name: str, label2id: Mapping[str, int], wanted: Pooling | None, *, asked: bool = False
) -> tuple[Any, Mapping[str, Any], Pooling | None]:
    """The classifier, or the encoder where a pooling is to stand on it."""
    from safetensors import SafetensorError
    from transformers import AutoConfig

    fault = broken_file(Path(name)) if Path(name).is_dir() else ""
    if fault:
        what = f"the model {name} cannot be loaded: {fault}"
        raise UserError(what, where=_WHERE, remedy=_BROKEN_REMEDY)
    try:
        _refuse_adapter(name)
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)  # nosec B615
        _refuse_quantized(name, config)
        pools = pooling_of(name, config, wanted, asked=asked)
        own = getattr(config, _OWN_POOLING, None)
        model, report = (encoder_class(config) if pools else _kind_of(config)).from_pretrained(  # nosec B615
            name,
            **({_OWN_POOLING: own} if own else {}),
            num_labels=len(label2id),
            label2id=dict(label2id),
            id2label={number: label for label, number in label2id.items()},
            dtype=torch.float32,
            # A saved head of another number of labels is replaced; the rest is looked at.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            # A saved model may have been for several labels at once, or for regression.
            problem_type="single_label_classification",
            trust_remote_code=False,
        )
    except (OSError, ValueError, ImportError, UnpicklingError, SafetensorError) as error:
        raise _cannot(name, error) from error
    return model, report, pools


def _kind_of(config: Any) -> Any:
    """The class of Transformers' that finds the classifier of a checkpoint of `config`."""
    from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification
    from transformers.models.auto import modeling_auto

    texts = modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    images = modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
    alone = type(config) in images and type(config) not in texts
    return AutoModelForImageClassification if alone else AutoModelForSequenceClassification


def _config(name: str) -> Mapping[str, Any]:
    """config.json as it is stored; the model's own says what it was loaded as."""
    from transformers import PretrainedConfig

    found, _ = PretrainedConfig.get_config_dict(name)
    return dict(found)


def _refuse_adapter(name: str) -> None:
    """Even where a whole model lies beside it: Transformers would take the adapter and its base,
    and freeze it."""
    from transformers.utils.import_utils import is_peft_available
    from transformers.utils.peft_utils import find_adapter_config_file

    whole = (Path(name) / "config.json").is_file() and not is_peft_available()
    if not whole and find_adapter_config_file(name) is not None:
        what, remedy = _ADAPTER
        raise UserError(f"{name} {what}", where=_WHERE, remedy=remedy)


def _refuse_quantized(name: str, config: Any) -> None:
    if getattr(config, "quantization_config", None):
        what, remedy = _QUANTIZED
        raise UserError(f"{name} {what}", where=_WHERE, remedy=remedy)


def _cannot(name: str, error: BaseException) -> UserError:
    words = " ".join(str(error).split())
    if "trust_remote_code" in words:
        what, remedy = _OWN_CODE
        return UserError(f"{name} {what}", where=_WHERE, remedy=remedy)
    if isinstance(error, UnpicklingError):
        words, remedy = _MORE_THAN_WEIGHTS
    elif isinstance(error, ImportError):
        remedy = _LIBRARY_REMEDY
    else:
        remedy = remedy_for(error)
    if not remedy and not Path(name).is_dir():
        remedy = HUB_REMEDY
    return UserError(
        f"the model {name} cannot be loaded: {words[:300]}",
        where=_WHERE,
        remedy=remedy or "write a load_model in functions.py for a model of another kind",
    )


def _fresh(report: Mapping[str, Any]) -> set[str]:
    return {*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}


def _describe_unexpected_keys(report: Mapping[str, Any]) -> str:
    unexpected = sorted(report["unexpected_keys"])
    return f"; it has instead {some(unexpected)}" if unexpected else ""


def some(keys: Iterable[str]) -> str:
    """The first few of `keys`, and how many more there are."""
    keys = list(keys)
    more = (
        f" and {len(keys) - _MAX_WEIGHT_KEYS_LISTED:,} more"
        if len(keys) > _MAX_WEIGHT_KEYS_LISTED
        else ""
    )
    return ", ".join(keys[:_MAX_WEIGHT_KEYS_LISTED]) + more
