"""Good or bad, from a sentence of a film review, with all-MiniLM-L6-v2."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from datasets import Features, List, Value
from torch import nn
from transformers import AutoTokenizer, BertModel, BertPreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from handful import Encoded


def process_func(artifact, artifact_path):
    """Put the label beside the text, so that the folder says all there is to know."""
    label = json.dumps({"label": artifact.label})
    (artifact_path / "ground_truth_label.json").write_text(label)


def get_dataset_features():
    """What the model's `forward` takes."""
    return Features(
        input_ids=List(Value("int32")),
        attention_mask=List(Value("int8")),
        labels=Value("int64"),
    )


def encode_data(instance, label2id, model_name, settings):
    """The first MAX_TOKENS tokens of the text, and the label if there is one."""
    ids = tokenizer(model_name)(read(instance["review.json"])["text"])["input_ids"]
    limit = settings.user.MAX_TOKENS
    kept = ids if len(ids) <= limit else [*ids[: limit - 1], ids[-1]]  # ids[-1] is [SEP]
    features = {"input_ids": kept, "attention_mask": [1] * len(kept)}
    label = read(instance["ground_truth_label.json"])["label"]
    if label is not None:  # a document to predict has none
        features["labels"] = label2id[label]
    return Encoded(features, full_length=len(ids))


def load_model(model_name, label2id, id2label, settings):
    """The pretrained encoder under a new head; its lowest layers stay as they are."""
    model = MeanPooledBert.from_pretrained(
        model_name,
        label2id=label2id,
        id2label=id2label,
        attention_probs_dropout_prob=0.0,  # a CPU is faster without it
    )
    lowest = model.bert.encoder.layer[: settings.user.FROZEN_LAYERS]
    for part in (model.bert.embeddings, *lowest):  # computed once, for all epochs
        part.requires_grad_(False)
    return model


class MeanPooledBert(BertPreTrainedModel):
    """BERT that classifies the mean of its tokens, which is what all-MiniLM was trained for."""

    def __init__(self, config):
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        # The mean of this model's tokens is a short vector: brought to the usual scale, the new
        # head learns as fast as the rest.
        self.scale = nn.LayerNorm(config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_ids, attention_mask, labels=None):
        tokens = self.bert(input_ids, attention_mask).last_hidden_state  # [batch, tokens, hidden]
        mask = attention_mask.unsqueeze(-1)  # [batch, tokens, 1]
        mean = (tokens * mask).sum(dim=1) / mask.sum(dim=1)  # [batch, hidden]
        logits = self.classifier(self.dropout(self.scale(mean)))  # [batch, labels]
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


@functools.cache
def tokenizer(model_name):
    return AutoTokenizer.from_pretrained(model_name)


def read(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))
