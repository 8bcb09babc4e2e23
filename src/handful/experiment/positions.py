"""How many positions a pretrained model has, by its config.json alone: no library is imported.

Positions that stand in a table, learned ones as a rule, end where it ends: a longer document is an
error in the middle of a forward pass. Rotary and relative positions, and those that a formula gives
when they are wanted, have no end; what their config says then is what the model was made for, not
what it can take. `tests/` builds each architecture and tries its last position and the one after.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from handful.experiment.model_identity import LOCAL
from handful.files.paths import at_home

_AFTER_PADDING = frozenset(
    {
        "camembert",
        "data2vec-text",
        "esm",
        "ibert",
        "layoutlmv3",
        "lilt",
        "longformer",
        "luke",
        "markuplm",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    }
)
"""Their positions are counted from the padding token's id on: 514 rows of a table are 512."""
_PLAIN = frozenset(
    {
        "albert",
        "bart",
        "bert",
        "bert-generation",
        "big_bird",
        "bigbird_pegasus",
        "biogpt",
        "canine",
        "convbert",
        "ctrl",
        "deberta",
        "deberta-v2",
        "distilbert",
        "electra",
        "ernie",
        "flaubert",
        "fnet",
        "gpt-sw3",
        "gpt2",
        "gpt_bigcode",
        "gpt_neo",
        "gptj",
        "layoutlm",
        "layoutlmv2",
        "mbart",
        "megatron-bert",
        "mobilebert",
        "mpt",
        "mra",
        "mvp",
        "nystromformer",
        "openai-gpt",
        "opt",
        "perceiver",
        "plbart",
        "reformer",
        "rembert",
        "roc_bert",
        "roformer",
        "splinter",
        "squeezebert",
        "tapas",
        "visual_bert",
        "xlm",
        "yoso",
    }
)
"""Among them some whose positions are made by a formula, into a table of that many rows."""
_NAMES = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "max_encoder_position_embeddings",
)
_PADDING_OF_ITS_OWN = {"mpnet": 1}
"""Whatever their config calls the padding token."""
_LEARNED = "absolute"


def positions(config: Mapping[str, Any]) -> int | None:
    """The longest document in tokens, special ones included; None where there is no end, or where
    it is not known. `config`: what config.json holds."""
    kind = config.get("model_type")
    if kind not in _PLAIN | _AFTER_PADDING or not _is_learned(kind, config):
        return None
    if kind == "reformer" and config.get("axial_pos_embds"):
        return prod(int(size) for size in config["axial_pos_shape"])
    found = next((config[name] for name in _NAMES if isinstance(config.get(name), int)), None)
    if found is None:
        return None
    if kind not in _AFTER_PADDING:
        return int(found)
    padding = _PADDING_OF_ITS_OWN.get(kind, config.get("pad_token_id"))
    return int(found) - (1 if padding is None else int(padding)) - 1


def _is_learned(kind: Any, config: Mapping[str, Any]) -> bool:
    if kind in ("deberta", "deberta-v2"):
        return bool(config.get("position_biased_input", True))
    if kind == "tapas":  # else they begin anew in every cell of its table, and end in its last row
        return not config.get("reset_position_index_per_cell", True)
    default = "rotary" if kind == "esm" else _LEARNED
    return bool(config.get("position_embedding_type", default) == _LEARNED)


def config_of(model: str) -> Mapping[str, Any]:
    """config.json of a local directory, or of a hub's model that is in the cache; else empty."""
    if model.startswith(LOCAL):
        path: Any = at_home(model) / "config.json"
    else:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            path = try_to_load_from_cache(model, "config.json")
        except HFValidationError:
            return {}
    if not isinstance(path, str | Path):
        return {}
    try:
        found = json.loads(Path(path).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
