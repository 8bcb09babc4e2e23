"""The model card of a trained model: README.md in its final/ folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handful.records import known
from handful.settings.secrets import is_hashed


def model_card(record: Mapping[str, Any]) -> str:
    """Markdown from what handful.json says: data, settings, metrics, versions."""
    metrics = known(record["metrics"])
    shown = [name for name in metrics if "." not in name] or list(metrics)
    rows, model = record["rows"], _safe(record["model"])
    parts = [
        "---\npipeline_tag: text-classification\nlibrary_name: transformers\n---\n",
        f"# {_safe(record['experiment'])}: {model}, seed {record['seed']}\n",
        "A single-label classifier, trained by handful.\n",
        "## Data\n",
        f"{rows.get('train', 0)} training, {rows.get('validation', 0)} validation and "
        f"{rows.get('test', 0)} test artifacts; encoded data `{record['data_hash'][:16]}`.\n",
        f"Labels, by id: {', '.join(_safe(label) for label in record['label2id'])}.\n",
        "## Validation\n",
        f"The weights are those after epoch {record['best_epoch']:g} of "
        f"{record['epochs']:g} (step {record['best_step']} of {record['steps']}), "
        "the best on the validation split.\n",
        _table("metric", "value", {name: f"{metrics[name]:.4f}" for name in shown}),
        *_length(record),
        "## Settings\n",
        _table("key", "value", {name: _shown(text) for name, text in record["settings"].items()}),
        "## Made with\n",
        _table("what", "value", {**record["environment"], **_dtypes(record), **record["versions"]}),
    ]
    return "\n".join(parts)


def _length(record: Mapping[str, Any]) -> list[str]:
    most = record.get("max_length")
    if not most:
        return []
    return [
        "## Length\n",
        f"It was trained on texts of at most {most:,} tokens; its tokenizer cuts longer ones there "
        "if it is told to (`truncation=True`).\n",
    ]


def _dtypes(record: Mapping[str, Any]) -> Mapping[str, str]:
    told = record.get("weights_dtype")
    return (
        {"weights while training": told["trained"], "weights here": told["final"]} if told else {}
    )


def _table(left: str, right: str, rows: Mapping[str, Any]) -> str:
    lines = [f"| {left} | {right} |", "|---|---|"]
    lines += [f"| {_safe(name)} | {_safe(value)} |" for name, value in rows.items()]
    return "\n".join(lines) + "\n"


def _shown(text: str) -> str:
    """A card is published: not even the hash of a secret, which could be guessed, is in it."""
    return text.rpartition(" (sha256 ")[0] if is_hashed(text) else text


def _safe(value: Any) -> str:
    """One line of text that cannot leave its cell: labels and settings may hold anything."""
    text = " ".join(str(value).split())
    for character in "\\`*_[]<>|#":
        text = text.replace(character, f"\\{character}")
    return text
