"""The functions of `bench/train.py r8`: its data is encoded already; MiniLM classifies the mean."""

from __future__ import annotations

from torch import nn
from transformers import BertModel, BertPreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


def get_dataset_features():
    raise NotImplementedError("the data is encoded already")


def encode_data():
    raise NotImplementedError("the data is encoded already")


def load_model(model_name, label2id, id2label):
    return MeanPooledBert.from_pretrained(
        model_name, label2id=label2id, id2label=id2label, attention_probs_dropout_prob=0.0
    )


class MeanPooledBert(BertPreTrainedModel):
    """BERT that classifies the mean of its tokens, which is what all-MiniLM was trained for."""

    def __init__(self, config):
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
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
