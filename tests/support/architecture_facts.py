"""What is known of each architecture: tried, held against plain Transformers, and written down.

python -m tests.support.architecture_facts       tries all of them, and writes docs/models.json anew
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.models.auto import modeling_auto

from handful.errors import UserError
from handful.experiment.positions import positions
from handful.training.model.pretrained import in_encoder, load_pretrained
from tests.support import architectures, image_architectures
from tests.support.architecture_trials import (
    LABEL2ID,
    Array,
    Gradients,
    Trial,
    batch,
    gradients,
    text,
)
from tests.support.architectures import TEXT, drawn, tiny, tiny_config
from tests.support.image_architectures import IMAGES, tiny_image_config

TOLERANCE = 1e-4
"""Of logits, over 1 or the greatest; of a loss; of a gradient, over the greatest."""
BEYOND = 300
"""Tokens that a model without an end has to take, which was made for 64."""
PAGE = Path(__file__).parents[2] / "docs" / "models.json"
NOT_BUILT = {"text": architectures.NOT_BUILT, "images": image_architectures.NOT_BUILT}
KINDS = {
    "text": [kind for kind in TEXT if kind not in architectures.NOT_BUILT],
    "images": [kind for kind in IMAGES if kind not in image_architectures.NOT_BUILT],
}
ONNX = (
    *("albert", "bart", "bert", "big_bird", "deberta-v2", "distilbert", "electra", "gpt2"),
    *("longformer", "modernbert", "mpnet", "qwen3_moe", "roberta", "xlm-roberta"),
    "xlnet",
)
"""Those whose export is tried: it takes long."""
_HEADED = ("For", "LMHead")
_BODIES = (
    modeling_auto.MODEL_MAPPING,
    modeling_auto.MODEL_FOR_MASKED_LM_MAPPING,
    modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING,
    modeling_auto.MODEL_FOR_PRETRAINING_MAPPING,
)
"""What checkpoints are of, which people fine-tune: the first two that an architecture has."""


def facts(kind: str, root: Path, *, images: bool = False) -> dict[str, Any]:
    """What is true of it; AssertionError where handful and plain Transformers do not agree."""
    usual = Trial(kind, root / "usual", images)
    plain_loss, plain = usual.plain_step()
    with gradients() as steps:
        trained = usual.train()
    given = usual.by_name(steps[0])
    check_close("the loss", abs(usual.loss() - plain_loss) / max(1.0, abs(plain_loss)))
    check_gradients(given, plain)
    expected = usual.plain_logits(usual.final, "test")
    check_close("test's logits", off(usual.tested(trained), expected))
    check_close("predict's logits", off(usual.predicted(trained), expected))
    found = {
        "class": type(usual.plain(usual.checkpoint)).__name__,
        "new": {n: fresh(body, root / n) for n, body in bodies(kind, images=images).items()},
        "bf16": half(replace(usual, root=root / "bf16")),
        "gradient_checkpointing": checkpointing(replace(usual, root=root / "gc"), plain),
        "without_gradient": sum(1 for _ in usual.plain(usual.checkpoint).parameters()) - len(plain),
    }
    if images:
        model = usual.plain(usual.checkpoint)
        norms = nn.modules.batchnorm._BatchNorm
        found["batch_norm"] = any(isinstance(part, norms) for part in model.modules())
    else:
        found |= {"batches": batches(usual.record["collation"]), "positions": last_position(kind)}
    return found


def onnx(kind: str, root: Path) -> bool:
    """Is it exported, with the same logits? Else it has to be refused in one sentence."""
    trial = Trial(kind, root)
    trained = trial.train()
    try:
        check_close("ONNX", trial.exported(trained))
    except UserError as error:
        sentence = error.fault.what.removesuffix(".")
        assert "cannot be exported to ONNX" in sentence, error  # noqa: PT017
        assert len(sentence) < 200, error  # noqa: PT017
        assert "\n" not in sentence, error  # noqa: PT017
        return False
    return True


def batches(collation: Mapping[str, Any]) -> str:
    if collation["equal_lengths"]:
        return "texts of one length"
    return f"padded on the {collation['side']}"


def half(trial: Trial) -> bool:
    """A checkpoint in bf16, trained in bf16 arithmetic and left in bf16: does it go through?"""
    settings = {"PRECISION": "bf16", "FINAL_DTYPE": "bf16"}
    one = replace(trial, stored=torch.bfloat16, settings=settings)
    try:
        trained = one.train()
    except UserError as error:
        assert "cannot compute in bf16" in str(error), error  # noqa: PT017
        return False
    assert one.record["weights_dtype"] == {"trained": "fp32", "final": "bf16"}
    assert np.isfinite(one.tested(trained)).all()
    return True


def checkpointing(trial: Trial, plain: Gradients) -> bool:
    """Has it gradient checkpointing, with the same gradient? Else it has to be said in words."""
    one = replace(trial, settings={"GRADIENT_CHECKPOINTING": "true"})
    try:
        with gradients() as steps:
            one.train()
    except UserError as error:
        assert "has no gradient checkpointing" in str(error), error  # noqa: PT017
        return False
    check_gradients(one.by_name(steps[0]), plain)
    return True


def last_position(kind: str) -> int | None:
    """What `positions` says of a model of 64: tried, with the token after it."""
    model = tiny(kind)
    said = positions(model.config.to_dict())
    fits(model, kind, said or BEYOND)
    if said is not None:
        try:
            fits(model, kind, said + 1)
        except (IndexError, RuntimeError, ValueError):
            return said
        raise AssertionError(f"positions says {said}, and {said + 1} tokens go through")
    return said


def fits(model: nn.Module, kind: str, length: int) -> None:
    row = text(kind, np.random.default_rng(0), length)
    with torch.inference_mode():
        assert model(**batch([row])).logits.isfinite().all()


# --- where a checkpoint comes from ---------------------------------------------------------------


def bodies(kind: str, *, images: bool = False) -> dict[str, nn.Module]:
    """Class → model, of the kinds of checkpoint that this architecture has."""

    def config() -> Any:
        return tiny_image_config(kind) if images else tiny_config(kind)

    found: dict[str, Any] = {}
    for mapping in _BODIES:
        if type(config()) in mapping and len(found) < 2:
            one = mapping[type(config())]
            one = one[0] if isinstance(one, tuple) else one
            found.setdefault(one.__name__, one)
    if kind == "perceiver":  # what reads texts is not a part of it
        del found["PerceiverModel"]
    return {name: drawn(one(config())) for name, one in found.items()}


def fresh(body: nn.Module, folder: Path) -> list[str]:
    """The parts that are new when `body` becomes a classifier; all else has to be there."""
    body.save_pretrained(folder)
    found = load_pretrained(str(folder), LABEL2ID)
    held = {parameter.dtype for parameter in found.model.parameters()}
    assert held == {torch.float32}, held
    given = [name for name, _ in found.model.named_parameters() if name not in found.fresh]
    loose = [name for name in given if not in_encoder(found.model, name) and "pooler" not in name]
    # A language model may have parts of a head; a bare encoder has none.
    if not any(word in type(body).__name__ for word in _HEADED):
        assert not loose, f"would pass unsaid if they were missing: {loose}"
    prefix = f"{found.model.base_model_prefix}."
    return sorted({_part(name, prefix) for name in found.fresh})


def _part(name: str, prefix: str) -> str:
    depth = 2 if name.startswith(prefix) else 1
    return ".".join(name.split(".")[:depth])


# --- how far apart -------------------------------------------------------------------------------


def off(ours: Array, plain: Array) -> float:
    """The greatest difference of a logit, over 1 or the greatest logit."""
    return float(np.abs(ours - plain).max() / max(1.0, np.abs(plain).max()))


def check_close(what: str, difference: float) -> None:
    assert difference <= TOLERANCE, f"{what}: {difference:.2g} from plain transformers"


def check_gradients(ours: Gradients, plain: Gradients) -> None:
    scale = max(float(one.abs().max()) for one in plain.values())
    none = torch.zeros(())
    apart = {
        name: float((ours.get(name, none) - plain.get(name, none)).abs().max())
        for name in ours.keys() | plain.keys()
    }
    worst = max(apart, key=apart.__getitem__)
    check_close(f"the gradient of {worst}", apart[worst] / scale)


def main(kinds: list[str]) -> None:
    """Try `kinds`, or all; what was known of the others stays."""
    known = json.loads(PAGE.read_text()) if PAGE.exists() else {}
    known = {group: known.get(group, {}) for group in KINDS} | {"not_tried": NOT_BUILT}
    for group, everything in KINDS.items():
        for kind in [one for one in everything if not kinds or one in kinds]:
            with tempfile.TemporaryDirectory() as root:
                found = facts(kind, Path(root), images=group == "images")
                if kind in ONNX:
                    found["onnx"] = onnx(kind, Path(root) / "onnx")
                known[group][kind] = found
            print(f"{group} {kind}: {known[group][kind]}", flush=True)
        known[group] = {kind: known[group][kind] for kind in sorted(known[group])}
    write(known)


def write(known: Mapping[str, Mapping[str, Any]]) -> None:
    """A line for each model type."""
    groups = []
    for group, found in known.items():
        lines = [f"  {json.dumps(kind)}: {json.dumps(one)}" for kind, one in found.items()]
        groups.append(f" {json.dumps(group)}: {{\n" + ",\n".join(lines) + "\n }")
    PAGE.write_text("{\n" + ",\n".join(groups) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
