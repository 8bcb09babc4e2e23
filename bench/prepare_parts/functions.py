"""The functions that are measured: everyone calls the same `encode_data`.

Written into the experiment as its functions.py, with BATCHED set as the measurement wants it.
"""

import functools
import json

from datasets import Features, List, Value
from transformers import AutoTokenizer

import handful

BATCHED = False
MAX_TOKENS = 256


def get_dataset_features():
    return Features({"input_ids": List(Value("int32")), "attention_mask": List(Value("int8"))})


@functools.cache
def tokenizer(model_name):
    return AutoTokenizer.from_pretrained(model_name)


def read(instance):
    return json.loads(instance["raw_text.json"].read_text(encoding="utf-8"))["text"]


def encode_one(instance, model_name):
    found = tokenizer(model_name)(read(instance), truncation=True, max_length=MAX_TOKENS)
    return {"input_ids": found["input_ids"], "attention_mask": found["attention_mask"]}


def encode_many(instances, model_name):
    texts = [read(instance) for instance in instances]
    found = tokenizer(model_name)(texts, truncation=True, max_length=MAX_TOKENS)
    return [
        {"input_ids": ids, "attention_mask": mask}
        for ids, mask in zip(found["input_ids"], found["attention_mask"], strict=True)
    ]


if BATCHED:

    @handful.batched
    def encode_data(instances, model_name):
        return encode_many(instances, model_name)

else:

    def encode_data(instance, model_name):
        return encode_one(instance, model_name)
