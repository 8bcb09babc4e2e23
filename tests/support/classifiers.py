"""Small classifiers of the kinds that Transformers has."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import nn


def classifier(kind: str = "Bert", attention: str = "sdpa", **more: Any) -> Any:
    """A small one of three layers, with weights large enough that every part of it shows."""
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}
    sizes |= {"num_hidden_layers": 3, "embedding_size": 16}
    if kind == "DistilBert":
        sizes = {"dim": 32, "n_heads": 4, "n_layers": 3, "hidden_dim": 64}
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=50, num_labels=3, pad_token_id=1, attn_implementation=attention, **sizes, **more
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForSequenceClassification")(config).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model
