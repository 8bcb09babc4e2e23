"""From Arrow rows to padded tensors."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from handful.errors import DataError
from handful.training.data.collate import Collator


def test_ragged_lists_are_padded_by_feature() -> None:
    rows = pa.table(
        {
            "input_ids": pa.array([[5, 6, 7], [8], []], pa.list_(pa.int32())),
            "attention_mask": pa.array([[1, 1, 1], [1], []], pa.list_(pa.int8())),
            "labels": pa.array([2, 0, 1], pa.int64()),
        }
    )
    batch = Collator({"input_ids": 9})(rows)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9], [9, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]
    assert batch["labels"].tolist() == [2, 0, 1]
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


def test_boxes_and_images_keep_their_shape() -> None:
    boxes = [[[1, 2, 3, 4], [5, 6, 7, 8]], [[9, 9, 9, 9]]]
    images = np.arange(2 * 3 * 2 * 2, dtype=np.float32).reshape(2, 3, 2, 2)
    fixed = pa.list_(pa.list_(pa.list_(pa.float32(), 2), 2), 3)
    rows = pa.table(
        {
            "bbox": pa.array(boxes, pa.list_(pa.list_(pa.int64(), 4))),
            "pixel_values": pa.array(images.tolist(), fixed),
        }
    )
    batch = Collator({})(rows)
    assert batch["bbox"].tolist() == [boxes[0], [boxes[1][0], [0, 0, 0, 0]]]
    assert torch.equal(batch["pixel_values"], torch.from_numpy(images))


def test_raggedness_at_two_levels() -> None:
    rows = pa.table({"pages": pa.array([[[1, 2, 3], [4]], [[5]], []])})
    assert Collator({"pages": -1})(rows)["pages"].tolist() == [
        [[1, 2, 3], [4, -1, -1]],
        [[5, -1, -1], [-1, -1, -1]],
        [[-1, -1, -1], [-1, -1, -1]],
    ]


def test_slices_chunks_and_fixed_shapes_of_datasets() -> None:
    """Rows as `datasets` gives them: slices of larger buffers, several chunks, Array2D."""
    from datasets import Array2D, Dataset, Features, List, Value, concatenate_datasets

    features = Features({"ids": List(Value("int64")), "grid": Array2D((2, 2), "float64")})
    parts = [
        Dataset.from_dict(
            {"ids": [[n] * n for n in range(5)], "grid": [[[n, 0], [0, n]] for n in range(5)]},
            features=features,
        )
        for _ in range(2)
    ]
    rows = concatenate_datasets(parts).with_format("arrow")
    batch = Collator({"ids": 7})(rows[[3, 9, 1]])
    assert batch["ids"].tolist() == [[3, 3, 3, 7], [4, 4, 4, 4], [1, 7, 7, 7]]
    assert batch["grid"].dtype == torch.float32
    assert batch["grid"][1].tolist() == [[4, 0], [0, 4]]
    whole = Collator({"ids": 0})(rows[2:4])
    assert whole["ids"].tolist() == [[2, 2, 0], [3, 3, 3]]


def test_booleans_and_floats() -> None:
    rows = pa.table({"is": pa.array([True, False]), "much": pa.array([0.5, 1.5], pa.float64())})
    batch = Collator({})(rows)
    assert batch["is"].tolist() == [True, False]
    assert batch["much"].dtype == torch.float32


def test_a_tensor_can_be_written_without_touching_the_data() -> None:
    column = pa.array([1, 2, 3], pa.int64())
    tensor = Collator({})(pa.table({"labels": column}))["labels"]
    tensor.add_(10)
    assert column.to_pylist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("column", "says"),
    [
        (pa.array(["a", "b"]), "'text' holds string"),
        (pa.array([[1, None], [2]]), "'text' holds nulls"),
        (pa.array([None, [2]], pa.list_(pa.int64())), "'text' holds nulls"),
        (pa.array([["a"], ["b"]]), "'text' holds string"),
    ],
)
def test_what_cannot_become_a_tensor_is_named(column: pa.Array, says: str) -> None:
    with pytest.raises(DataError, match=says):
        Collator({})(pa.table({"text": column}))
