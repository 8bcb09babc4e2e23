"""To what length a model was trained, told by `encode_data` or seen by the rows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from handful.training.data.lengths import EncodedLengths, find_text_token_limit, look_cut

CUT = np.array([64] * 5 + [60, 41, 22, 13])
WHOLE = np.array([64, 63, 61, 60, 60, 41, 22, 13])


@pytest.mark.parametrize(
    ("lengths", "cut"),
    [
        (CUT, True),
        (WHOLE, False),
        (np.array([64] * 4 + [63] * 5 + [20]), False),  # short texts of a kind
        (np.array([64, 64, 9]), False),  # two may be a chance
        (np.full(9, 16), True),
        (np.array([], np.int64), False),
    ],
)
def test_rows_that_were_cut_pile_up_at_the_longest(lengths: np.ndarray, cut: bool) -> None:
    assert look_cut(lengths) == cut


@pytest.mark.parametrize(
    ("encoded", "lengths", "expected"),
    [
        # encode_data tells how long documents were: that counts, whatever the rows look like.
        (EncodedLengths({"test": [("d1", 64)]}, cut=True, measured=True), WHOLE, 64),
        (EncodedLengths({"test": [("d1", 64)]}, cut=False, measured=True), CUT, 512),
        # It returns what the tokenizer has cut, and tells nothing.
        (EncodedLengths({"test": [("d1", 64)]}), CUT, 64),
        (EncodedLengths({"test": [("d1", 64)]}), WHOLE, 512),
        (EncodedLengths(), CUT, 64),  # of an earlier prepare
    ],
)
def test_the_trained_length(encoded: EncodedLengths, lengths: np.ndarray, expected: int) -> None:
    tokenizer = SimpleNamespace(model_max_length=512)
    assert find_text_token_limit(torch.nn.Linear(1, 1), tokenizer, encoded, lengths) == expected
