"""The pairs of the contrastive stage, and their loss."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import torch

from handful.training.model.contrastive import pair_batches, pair_loss


def test_the_loss_is_the_mean_over_pairs_of_either_kind() -> None:
    torch.manual_seed(0)
    vectors, labels = torch.randn(7, 5), torch.tensor([0, 0, 1, 2, 1, 0, 2])
    errors: dict[bool, list[float]] = {True: [], False: []}
    for one, two in itertools.combinations(range(7), 2):
        cosine = torch.nn.functional.cosine_similarity(vectors[one], vectors[two], dim=0)
        same = bool(labels[one] == labels[two])
        errors[same].append((float(cosine) - float(same)) ** 2)
    wanted = (np.mean(errors[True]) + np.mean(errors[False])) / 2
    assert float(pair_loss(vectors, labels)) == pytest.approx(wanted, rel=1e-5)


def test_a_batch_of_one_kind_of_pairs_has_their_loss() -> None:
    vectors = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
    assert float(pair_loss(vectors, torch.tensor([4, 4]))) == pytest.approx(1)
    assert float(pair_loss(vectors, torch.tensor([4, 5]))) == pytest.approx(0)


@pytest.mark.parametrize(
    ("counts", "size", "labels", "each"),
    [((8, 8), 16, 2, 8), ((5, 9, 40), 12, 3, 4), ((6,) * 20, 16, 8, 2), ((3, 3), 1, 2, 2)],
)
def test_batches_have_several_documents_of_several_labels(
    counts: tuple[int, ...], size: int, labels: int, each: int
) -> None:
    references = np.repeat(np.arange(len(counts)), counts)
    for batch in itertools.islice(pair_batches(references, size, seed=0), 50):
        assert len(set(batch.tolist())) == len(batch), "no document twice"
        assert Counter(references[batch].tolist()).most_common() == [
            (label, each) for label, _ in Counter(references[batch].tolist()).most_common()
        ]
        assert len(batch) == labels * each


def test_each_label_and_each_document_of_it_comes_as_often() -> None:
    references = np.repeat(np.arange(5), (7, 1, 3, 20, 2))
    seen: Counter[int] = Counter()
    drawn: Counter[int] = Counter()
    for batch in itertools.islice(pair_batches(references, 8, seed=3), 700):
        seen.update(batch.tolist())
        drawn.update(set(references[batch].tolist()))
    assert set(seen) == set(range(len(references)))
    assert max(drawn.values()) - min(drawn.values()) <= 1
    for label in range(5):
        times = [seen[row] for row in np.flatnonzero(references == label).tolist()]
        assert max(times) - min(times) <= 1


def test_batches_are_the_seeds_own() -> None:
    references = np.repeat(np.arange(3), 9)
    first, again, other = (
        np.concatenate(list(itertools.islice(pair_batches(references, 12, seed), 20)))
        for seed in (1, 1, 2)
    )
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()
