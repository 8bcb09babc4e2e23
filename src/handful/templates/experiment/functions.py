"""The functions of this experiment. Each asks, by name, for just what it needs.

`handful check` says at once if anything here does not fit.
"""

import functools
import json

from datasets import Features, Sequence, Value
from transformers import AutoTokenizer

import handful

MAX_LENGTH = 256


@functools.cache
def tokenizer(model_name):
    """Heavy things are made once per process, for each model."""
    return AutoTokenizer.from_pretrained(model_name)


def get_dataset_features():
    """The shape of what the model's forward() takes."""
    return Features(
        {
            "input_ids": Sequence(Value("int32")),
            "attention_mask": Sequence(Value("int8")),
            "labels": Value("int64"),
        }
    )


def encode_data(instance, model_name):
    """One artifact in the shape of the features, or None to leave it out.

    The label is added from the ledger.
    """
    text = json.loads(instance["raw_text.json"].read_text())["text"]
    tokens = tokenizer(model_name)(text)["input_ids"]
    encoded = tokenizer(model_name)(text, truncation=True, max_length=MAX_LENGTH)
    features = {name: encoded[name] for name in ("input_ids", "attention_mask")}
    return handful.Encoded(features, full_length=len(tokens))
