"""The functions that are measured: everyone calls the same `encode_data`.

Written into the experiment as its functions.py, with BATCHED set as the measurement wants it.
"""

import functools
import json

import numpy as np
from datasets import Array2D, Features, List, Value
from transformers import AutoTokenizer

import handful

BATCHED = False
KIND = "lists"
MAX_TOKENS = 256
MORE = {
    "lists": {},
    "arrays": {"values": List(Value("float32")), "picture": Array2D((64, 64), "float32")},
    "boxes": {"boxes": List(List(Value("int16"), length=4))},
    "floats": {"values": List(Value("float32"))},
}


def get_dataset_features():
    tokens = {"input_ids": List(Value("int32")), "attention_mask": List(Value("int8"))}
    return Features({**tokens, **MORE[KIND]})


def more(row):
    """What a row of this kind holds beside its tokens."""
    if KIND == "arrays":
        row = {name: np.array(values) for name, values in row.items()}
        ids = row["input_ids"]
        row["values"] = ids.astype(np.float32)
        row["picture"] = np.resize(ids / 7, (64, 64))
    elif KIND == "boxes":
        row["boxes"] = [[one % 1000, 1, 2, 3] for one in row["input_ids"]]
    elif KIND == "floats":
        row["values"] = [one / 7 for one in row["input_ids"]]
    return row


@functools.cache
def tokenizer(model_name):
    return AutoTokenizer.from_pretrained(model_name)


def read(instance):
    return json.loads(instance["raw_text.json"].read_text(encoding="utf-8"))["text"]


def encode_one(instance, model_name):
    found = tokenizer(model_name)(read(instance), truncation=True, max_length=MAX_TOKENS)
    return more({"input_ids": found["input_ids"], "attention_mask": found["attention_mask"]})


def encode_many(instances, model_name):
    texts = [read(instance) for instance in instances]
    found = tokenizer(model_name)(texts, truncation=True, max_length=MAX_TOKENS)
    return [
        more({"input_ids": ids, "attention_mask": mask})
        for ids, mask in zip(found["input_ids"], found["attention_mask"], strict=True)
    ]


if BATCHED:

    @handful.batched
    def encode_data(instances, model_name):
        return encode_many(instances, model_name)

else:

    def encode_data(instance, model_name):
        return encode_one(instance, model_name)
