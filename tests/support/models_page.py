"""Write docs/models.md from docs/models.json, which `tests/support/architecture_facts.py` writes.

    python -m tests.support.models_page

A test holds that the page is what this would write, and slow tests that the JSON is true.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "docs"
MADE_FOR = 64
"""Positions of the small models that were tried."""
HEAD = """# Which models are known to work

Every architecture of Transformers' `AutoModelForSequenceClassification` and, for images,
`AutoModelForImageClassification`, built small, trained, tested and asked by handful, and held
against plain Transformers: each document by itself and in a batch of several lengths. The greatest
difference that is let pass is 1e-4, of a logit, a loss, or a gradient. This page is made by
`python -m tests.support.models_page` from [models.json](models.json), and slow tests hold that it
is true.

For each of them:

- Weights are fp32 while they are trained, whatever the checkpoint is stored in (fp32 or bf16 was
  tried); `FINAL_DTYPE = bf16` is stored and opened again.
- From a bare encoder, and from a language model where the architecture has one, the encoder is
  loaded whole. *New* are the parts that such a checkpoint does not have: they are random at first,
  and told.
- *Longest*: `= config` is what config.json says (`max_position_embeddings` or its like). Some count
  from the padding token's id on: RoBERTa's 514 are 512, since that id is 1. `no end`: rotary and
  relative positions, and those made by a formula; what config.json says then is what the model was
  made for. Longer documents are told by `prepare` and refused by `train`.
- *Batches*: the side of the padding; some architectures see padding whatever the mask says: they
  get batches of texts of one length.
- *bf16*: `PRECISION = bf16`. Where it cannot be, `auto` takes fp32, and bf16 is refused in words.
- *Checkpointing*: whether `GRADIENT_CHECKPOINTING = true` is possible; else it is refused in words.
"""


def page(known: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The whole page."""
    parts = [HEAD, "## Texts\n", *_texts(known["text"]), "\n## Images\n", *_images(known["images"])]
    return "\n".join([*parts, "\n## Not tried\n", *_not_built(known["not_tried"]), ""])


def _texts(known: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = ["| `model_type` | new | longest | batches | bf16 | checkpointing | ONNX |"]
    lines.append("|---|---|---|---|---|---|---|")
    for kind, one in known.items():
        cells = [
            f"`{kind}`",
            _new(one["new"]),
            _longest(one["positions"]),
            one["batches"],
            _yes(one["bf16"]),
            _yes(one["gradient_checkpointing"]),
            {None: "not tried", True: "yes", False: "no"}[one.get("onnx")],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    idle = [
        f"`{k}` ({one['without_gradient']})" for k, one in known.items() if one["without_gradient"]
    ]
    return [
        *lines,
        "",
        "Weights that get no gradient, so that training leaves them as they are (their number in "
        f"the small model): {', '.join(idle)}. `mra` is among them since its attention is a CUDA "
        "kernel's: on a CPU it gives zeros.",
    ]


def _images(known: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = ["| `model_type` | new | batch norm | bf16 | checkpointing |", "|---|---|---|---|---|"]
    for kind, one in known.items():
        flags = (one["batch_norm"], one["bf16"], one["gradient_checkpointing"])
        lines.append(f"| `{kind}` | {_new(one['new'])} | {' | '.join(map(_yes, flags))} |")
    return lines


def _not_built(reasons: Mapping[str, Mapping[str, str]]) -> list[str]:
    return [
        f"- `{kind}` ({group}): {reason}."
        for group, found in reasons.items()
        for kind, reason in found.items()
    ]


def _new(new: Mapping[str, list[str]]) -> str:
    """What is new from each class, or once if it is the same from all."""
    told = {name: ", ".join(f"`{part}`" for part in parts) for name, parts in new.items()}
    if len(set(told.values())) == 1:
        return next(iter(told.values()))
    return "; ".join(f"{parts} (from {name})" for name, parts in told.items())


def _longest(positions: int | None) -> str:
    if positions is None:
        return "no end"
    less = MADE_FOR - positions
    # The small models' padding token is 0.
    return {0: "= config", 1: "= config - padding id - 1"}.get(less, f"= config - {less}")


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"


if __name__ == "__main__":
    found = json.loads((FOLDER / "models.json").read_text())
    (FOLDER / "models.md").write_text(page(found))
