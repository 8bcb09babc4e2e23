"""What the kinds of text have in common: `handful init` writes it together with a read.py."""

import functools

from datasets import Features, Sequence, Value
from read import read_document
from transformers import AutoTokenizer

import handful

DOCUMENT = "document"  # as in MODEL_INPUT_FILES
MAX_LENGTH = 256  # tokens; the rest of a longer document is cut off, and the report says how much


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
    text = read_document(instance[DOCUMENT])
    if not text.strip():
        return None  # without text there is nothing to learn from
    tokens = tokenizer(model_name)(text, verbose=False)["input_ids"]
    encoded = tokenizer(model_name)(text, truncation=True, max_length=MAX_LENGTH)
    features = {name: encoded[name] for name in ("input_ids", "attention_mask")}
    return handful.Encoded(features, full_length=len(tokens))
