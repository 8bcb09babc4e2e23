"""How fast the same model judges the same texts: handful's evaluation, and `transformers.pipeline`.

Both begin with the texts in memory and tokenize them, in fp32, with the same truncation and maximum
length, in one process with all cores; both are warmed up, and rounds alternate.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

BATCH = 32


def paces(
    model: Path,
    texts: Sequence[str],
    max_tokens: int,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Mapping[str, float]:
    """Median documents a second of `clock`, by contestant. `SystemExit` if their answers differ."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    module = AutoModelForSequenceClassification.from_pretrained(model, num_labels=11).eval()
    tokenizer = AutoTokenizer.from_pretrained(model)
    sides = {
        "handful": _ours(module, tokenizer, max_tokens),
        "transformers.pipeline": _pipeline(module, tokenizer, max_tokens),
    }
    answers = {name: judge(texts[:BATCH]) for name, judge in sides.items()}
    if len({tuple(found) for found in answers.values()}) > 1:
        raise SystemExit("the two give different answers")
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, judge in sides.items():
            began = clock()
            judge(texts)
            seconds[name].append(clock() - began)
    return {name: len(texts) / statistics.median(found) for name, found in seconds.items()}


Judge = Callable[[Sequence[str]], list[int]]


def _ours(module: object, tokenizer: object, max_tokens: int) -> Judge:
    from datasets import Dataset

    from handful.training.data.collate import Collator
    from handful.training.data.splits import as_split
    from handful.training.evaluation.prediction import predict

    def judge(texts: Sequence[str]) -> list[int]:
        found = tokenizer(list(texts), truncation=True, max_length=max_tokens)
        rows = {
            "input_ids": found["input_ids"],
            "attention_mask": found["attention_mask"],
            "labels": [0] * len(texts),
            "artifact_id": [str(number) for number in range(len(texts))],
            "length": [len(ids) for ids in found["input_ids"]],
        }
        collate = Collator({"input_ids": tokenizer.pad_token_id})
        predicted = predict(module, as_split(Dataset.from_dict(rows)), collate, BATCH, 11)
        return predicted.logits.argmax(axis=1).tolist()

    return judge


def _pipeline(module: object, tokenizer: object, max_tokens: int) -> Judge:
    from transformers import pipeline

    told = pipeline("text-classification", model=module, tokenizer=tokenizer, device=-1)

    def judge(texts: Sequence[str]) -> list[int]:
        found = told(list(texts), batch_size=BATCH, truncation=True, max_length=max_tokens)
        return [module.config.label2id[one["label"]] for one in found]

    return judge
