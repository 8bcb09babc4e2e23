"""Where the positions of a model end, by its config alone; the sweep tries every architecture."""

from __future__ import annotations

from typing import Any

import pytest

from handful.experiment.positions import positions


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "mpnet", "max_position_embeddings": 514, "pad_token_id": 0}, 512),
        ({"model_type": "gptj", "n_positions": 2048}, 2048),
        ({"model_type": "mpt", "max_seq_len": 2048}, 2048),
        ({"model_type": "ctrl", "n_positions": 256}, 256),
        ({"model_type": "roformer", "max_position_embeddings": 1536}, 1536),
        ({"model_type": "tapas", "max_position_embeddings": 1024}, None),
        (
            {
                "model_type": "tapas",
                "max_position_embeddings": 512,
                "reset_position_index_per_cell": False,
            },
            512,
        ),
        (
            {"model_type": "reformer", "axial_pos_embds": False, "max_position_embeddings": 4096},
            4096,
        ),
        ({"model_type": "reformer", "axial_pos_embds": True, "axial_pos_shape": [64, 32]}, 2048),
        ({"model_type": "llama", "max_position_embeddings": 4096}, None),
        ({"model_type": "t5", "n_positions": 512}, None),
        ({"model_type": "esm", "max_position_embeddings": 1026}, None),
        ({}, None),
    ],
)
def test_the_last_position(config: dict[str, Any], expected: int | None) -> None:
    assert positions(config) == expected
