"""The model card of a trained model: README.md in its final/ folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handful.records import finite_metrics
from handful.settings.secrets import is_hashed


def model_card(record: Mapping[str, Any]) -> str:
    """Markdown from what handful.json says: data, settings, metrics, versions."""
    metrics = finite_metrics(record["metrics"])
    shown = [name for name in metrics if "." not in name] or list(metrics)
    rows, model = record["rows"], _safe(record["model"])
    which = "its probe" if record.get("probe") else f"seed {record['seed']}"
    parts = [
        "---\npipeline_tag: text-classification\nlibrary_name: transformers\n---\n",
        f"# {_safe(record['experiment'])}: {model}, {which}\n",
        "A single-label classifier, trained by handful.\n",
        "## Data\n",
        f"{rows.get('train', 0)} training, {rows.get('validation', 0)} validation and "
        f"{rows.get('test', 0)} test artifacts; encoded data `{record['data_hash'][:16]}`.\n",
        f"Labels, by id: {', '.join(_safe(label) for label in record['label2id'])}.\n",
        "## Validation\n",
        _describe_card_weights(record),
        _table("metric", "value", {name: f"{metrics[name]:.4f}" for name in shown}),
        *_length(record),
        *_use(record),
        "## Settings\n",
        _table(
            "key",
            "value",
            {name: _strip_secret_hash(text) for name, text in record["settings"].items()},
        ),
        "## Made with\n",
        _table("what", "value", {**record["environment"], **_dtypes(record), **record["versions"]}),
    ]
    return "\n".join(parts)


def _describe_card_weights(record: Mapping[str, Any]) -> str:
    if record.get("probe"):
        return (
            "A probe: the weights are the pretrained model's, and its head is a logistic "
            "regression on what the model gives it.\n"
        )
    return (
        f"The weights are those after epoch {record['best_epoch']:g} of "
        f"{record['epochs']:g} (step {record['best_step']} of {record['steps']}), "
        "the best on the validation split.\n"
    )


def _length(record: Mapping[str, Any]) -> list[str]:
    most = record.get("max_length")
    if not most:
        return []
    return [
        "## Length\n",
        f"It was trained on texts of at most {most:,} tokens; its tokenizer cuts longer ones there "
        "if it is told to (`truncation=True`).\n",
    ]


_POOLED = {
    "cls": "states[rows, mask.argmax(1)]",
    "last": "states[rows, (mask * torch.arange(mask.shape[1])).argmax(1)]",
    "max": "states.masked_fill(kept == 0, -1e30).amax(1)",
    "mean": "(states * kept).sum(1) / kept.sum(1)",
    "mean_root_length": "(states * kept).sum(1) / kept.sum(1).sqrt()",
    "weighted_mean": "(states * kept * kept.cumsum(1)).sum(1) / (kept * kept.cumsum(1)).sum(1)",
}


def _use(record: Mapping[str, Any]) -> list[str]:
    """How the logits come about where no class of Transformers makes them so."""
    told = record.get("pooling")
    if not told:
        return []
    parts = ", ".join(_POOLED[mode] for mode in told["modes"])
    unit = "torch.nn.functional.normalize(pooled, dim=-1) * pooled.shape[-1] ** 0.5"
    lines = [
        "import torch",
        "from safetensors.torch import load_file",
        f"from transformers import AutoTokenizer, {told['encoder']}",
        "",
        'folder = "."  # this one',
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
        f"encoder = {told['encoder']}.from_pretrained(folder).eval()",
        'weights = load_file(f"{folder}/model.safetensors")',
        "",
        'batch = tokenizer(["a text"], padding=True, truncation=True, return_tensors="pt")',
        "with torch.inference_mode():",
        "    states = encoder(**batch).last_hidden_state.float()",
        'mask = batch["attention_mask"]',
        "rows, kept = torch.arange(len(mask)), mask.unsqueeze(-1)",
        f"pooled = torch.cat([{parts}], dim=-1)",
        *([f"pooled = {unit}"] if told["normalize"] else []),
        'logits = pooled @ weights["label_head.weight"].float().T',
        'logits = logits + weights["label_head.bias"].float()',
        "labels = [encoder.config.id2label[int(one)] for one in logits.argmax(1)]",
    ]
    text = "\n".join(lines)
    return [
        "## Use\n",
        "An encoder, its tokens' states pooled as its checkpoint was made for, and one linear "
        "layer. `AutoModelForSequenceClassification` would put another head on it; `handful "
        "predict`, or this, opens it as it is:\n",
        f"```python\n{text}\n```\n",
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


def _strip_secret_hash(text: str) -> str:
    """A card is published: not even the hash of a secret, which could be guessed, is in it."""
    return text.rpartition(" (sha256 ")[0] if is_hashed(text) else text


def _safe(value: Any) -> str:
    """One line of text that cannot leave its cell: labels and settings may hold anything."""
    text = " ".join(str(value).split())
    for character in "\\`*_[]<>|#":
        text = text.replace(character, f"\\{character}")
    return text
