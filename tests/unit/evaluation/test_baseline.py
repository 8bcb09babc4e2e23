"""The baseline's parts alone: what it chooses, reads, learns and suspects."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from datasets import Array2D, Array3D, Dataset, Features, List, Value

from handful.evaluation.baseline import linear
from handful.evaluation.baseline.choosing import Numbers, Tokens, Unusable, choose
from handful.evaluation.baseline.linear import Read, fit, fit_best, majority, read
from handful.evaluation.baseline.numbers import Pools, pools
from handful.evaluation.baseline.suspects import out_of_sample, suspects
from handful.evaluation.baseline.tokens import TokenCounts

IDS = List(Value("int32"))


def rows(features: dict[str, Any], columns: dict[str, Any]) -> Dataset:
    return Dataset.from_dict(columns, features=Features(features)).with_format("arrow")


def accuracy(logits: Any, references: Any) -> float:
    return float((logits.argmax(axis=1) == references).mean())


def texts(count: int, seed: int, labels: int = 3) -> tuple[Dataset, Any]:
    """Ragged token ids; half of them from the label's own ten."""
    chance = np.random.default_rng(seed)
    references = chance.integers(0, labels, count)
    ids = [
        [
            *(30 + chance.integers(0, 20, 12)).tolist(),
            *(10 * label + chance.integers(0, 10, int(chance.integers(6, 12)))).tolist(),
        ]
        for label in references
    ]
    return rows({"input_ids": IDS}, {"input_ids": ids}), references


# --- which feature -------------------------------------------------------------------------------


def test_input_ids_come_before_a_longer_sequence_and_masks_never() -> None:
    names = ["attention_mask", "token_type_ids", "other", "input_ids"]
    data = rows(
        dict.fromkeys(names, IDS),
        {n: [[1] * (9 if n != "input_ids" else 2)] * 2 for n in names},
    )
    assert choose(data) == Tokens("input_ids", "attention_mask")
    assert choose(data.remove_columns("input_ids")) == Tokens("other", "attention_mask")


def test_without_input_ids_the_longest_integer_sequence_counts() -> None:
    data = rows({"a": IDS, "b": IDS}, {"a": [[1, 2], [3]], "b": [[1, 2, 3], [3, 4]]})
    assert choose(data) == Tokens("b", None)


def test_arrays_and_numbers_are_taken_together() -> None:
    data = rows(
        {"pixels": Array2D((2, 2), "float32"), "width": Value("float64"), "labels": Value("int64")},
        {"pixels": [[[0, 1], [2, 3]]], "width": [1.5], "labels": [0]},
    )
    assert choose(data) == Numbers(("pixels", "width"))


def test_text_alone_is_refused_with_the_reason() -> None:
    found = choose(rows({"text": Value("string")}, {"text": ["a"]}))
    assert isinstance(found, Unusable)
    assert "text (string)" in found.reason


# --- reading -------------------------------------------------------------------------------------


def test_padding_is_no_term() -> None:
    features = {"input_ids": IDS, "attention_mask": List(Value("int8"))}
    padded = rows(
        features,
        {"input_ids": [[5, 7, 0, 0], [5, 5, 7, 0]], "attention_mask": [[1, 1, 0, 0], [1, 1, 1, 0]]},
    )
    bare = rows({"input_ids": IDS}, {"input_ids": [[5, 7], [5, 5, 7]]})
    for bigrams in (False, True):
        with_mask = TokenCounts(Tokens("input_ids", "attention_mask"), bigrams).read(padded)
        without = TokenCounts(Tokens("input_ids", None), bigrams).read(bare)
        assert (with_mask != without).nnz == 0
        assert without[1, 5] == 2


def test_bigrams_do_not_reach_over_documents() -> None:
    one = TokenCounts(Tokens("input_ids", None), bigrams=True)
    found = one.read(rows({"input_ids": IDS}, {"input_ids": [[1, 2], [3], [], [2, 1]]}))
    assert found.sum(axis=1).ravel().tolist()[0] == [3.0, 1.0, 0.0, 3.0]
    assert (found[0] != found[3]).nnz == 2  # (1, 2) is not (2, 1)


@pytest.mark.parametrize("feature", [List(IDS), List(List(Value("int32"), length=2))])
def test_nested_lists_are_pooled_row_by_row(feature: Any) -> None:
    data = rows({"boxes": feature}, {"boxes": [[[1, 2], [3, 4]], [], [[5, 5]]]})
    found = Pools((("boxes", None),)).read(data)
    assert found[0].tolist() == pytest.approx([2.5, np.std([1, 2, 3, 4]), 1, 4])
    assert found[1].tolist() == [0, 0, 0, 0]
    assert found[2].tolist() == [5, 0, 5, 5]


def test_small_arrays_are_flattened_and_large_ones_thinned() -> None:
    small = rows({"x": Array2D((2, 2), "float32")}, {"x": [[[0, 1], [2, 3]]] * 2})
    assert pools(Numbers(("x",)), small).read(small).tolist() == [[0, 1, 2, 3]] * 2
    image = np.zeros((3, 40, 40), dtype="float32")
    image[0, 0, 0] = np.nan
    large = rows({"x": Array3D((3, 40, 40), "float32")}, {"x": [image, image + 2]})
    found = pools(Numbers(("x",)), large).read(large)
    assert found.shape == (2, 260)
    assert found[0].tolist() == [0.0] * 260
    assert found[1, -4:].tolist() == pytest.approx([2, 0, 0, 2], abs=0.1)


# --- learning ------------------------------------------------------------------------------------


def learned(seed: int = 0) -> tuple[Read, dict[str, Any]]:
    found = {name: texts(150, seed + i) for i, name in enumerate(("train", "validation", "test"))}
    splits = {name: data for name, (data, _) in found.items()}
    return read(Tokens("input_ids", None), splits), {n: y for n, (_, y) in found.items()}


def test_it_learns_and_says_the_same_again() -> None:
    answers = []
    for _ in range(2):
        found, references = learned()
        model = fit_best(found, references, 3, accuracy)
        answers.append(model.log_probabilities(found.splits["test"]))
    assert accuracy(answers[0], references["test"]) > 0.95
    assert np.array_equal(answers[0], answers[1])
    assert np.exp(answers[0]).sum(axis=1) == pytest.approx(1.0)


def test_the_strength_is_chosen_on_validation_never_on_test() -> None:
    found, references = learned()
    asked: list[int] = []

    def score(logits: Any, given: Any) -> float:
        assert given is references["validation"]
        asked.append(len(asked))
        return float(len(asked) == 2)  # the second one is the best

    assert fit_best(found, references, 3, score).strength == found.kind.strengths[1]
    assert len(asked) == 3


@pytest.mark.parametrize("known", [[0, 2], [1]])
def test_labels_that_train_lacks_stay_possible(known: list[int]) -> None:
    found, references = learned()
    rows_of = np.flatnonzero(np.isin(references["train"], known))
    part = found.splits["train"][rows_of]
    model = fit(found.kind, part, references["train"][rows_of], 4, 1.0)
    answer = model.log_probabilities(found.splits["test"])
    assert answer.shape == (150, 4)
    assert np.isfinite(answer).all()
    assert set(answer.argmax(axis=1)) <= set(known)


def test_of_too_many_rows_the_same_sample_of_each_label_is_fitted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, references = learned()
    raw, given = found.splits["train"], references["train"].copy()
    given[:4] = 3
    monkeypatch.setattr(linear, "MOST_WORK", raw.nnz * 4 // 2)
    monkeypatch.setattr(linear, "LEAST_ROWS", 4)
    one, two = (fit(found.kind, raw, given, 4, 1.0) for _ in range(2))
    assert 70 <= one.rows <= 85
    assert one.seen.tolist() == [0, 1, 2, 3]
    answers = [each.log_probabilities(found.splits["test"]) for each in (one, two)]
    assert np.array_equal(*answers)
    assert accuracy(answers[0], references["test"]) > 0.9


def test_arrays_are_learned_by_a_linear_model() -> None:
    chance = np.random.default_rng(0)
    splits, references = {}, {}
    for name in ("train", "validation", "test"):
        given = chance.integers(0, 2, 80)
        pictures = chance.normal(given[:, None, None], 0.5, (80, 4, 4)).astype("float32")
        splits[name] = rows({"x": Array2D((4, 4), "float32")}, {"x": list(pictures)})
        references[name] = given
    found = read(choose(splits["train"]), splits)  # type: ignore[arg-type]
    model = fit_best(found, references, 2, accuracy)
    assert accuracy(model.log_probabilities(found.splits["test"]), references["test"]) > 0.9


def test_the_majority_is_always_answered() -> None:
    answer = majority(np.array([1, 1, 1, 0]), 3, 2)
    assert np.exp(answer).tolist() == [pytest.approx([2 / 7, 4 / 7, 1 / 7])] * 2


# --- suspecting ----------------------------------------------------------------------------------


def noisy(flips: int = 12) -> tuple[Read, Any, Any, Any]:
    found, references = learned()
    labels = np.concatenate([references["train"], references["validation"]])
    planted = np.random.default_rng(1).choice(len(labels), flips, replace=False)
    given = labels.copy()
    given[planted] = (given[planted] + 1) % 3
    return found, labels, given, planted


def test_planted_wrong_labels_are_found_with_the_right_one() -> None:
    found, labels, given, planted = noisy()
    raw = [found.splits["train"], found.splits["validation"]]
    groups = [str(i) for i in range(300)]
    answer = out_of_sample(found.kind, raw, given, groups, 10.0, seed=0)
    judged = suspects(given, answer)
    assert judged.judged == 300
    hits = [one for one in judged.suspects if one.row in planted]
    assert len(hits) >= 9
    assert len(judged.suspects) <= 20
    assert all(one.suggested == labels[one.row] for one in hits)
    scores = [one.score for one in judged.suspects]
    assert scores == sorted(scores)
    again = suspects(given, out_of_sample(found.kind, raw, given, groups, 10.0, seed=0))
    assert again == judged


def test_a_group_is_never_judged_by_its_own_members() -> None:
    """A copy with the same wrong label would vouch for the first one."""
    found, _, given, planted = noisy()
    twice = [found.splits["train"], found.splits["validation"]] * 2
    groups = [str(i) for i in range(300)] * 2
    grouped = out_of_sample(found.kind, twice, np.tile(given, 2), groups, 100.0, seed=0)
    alone = [str(i) for i in range(600)]
    vouched = out_of_sample(found.kind, twice, np.tile(given, 2), alone, 100.0, seed=0)
    of_given = np.tile(given, 2)[planted]
    assert grouped[planted, of_given].mean() < vouched[planted, of_given].mean() - 0.5


def test_too_few_examples_are_told_not_judged() -> None:
    logits = np.zeros((6, 2))
    few = suspects(np.array([0, 0, 0, 0, 0, 1]), logits)
    assert (few.suspects, few.judged) == ((), 0)
    assert "fewer than two labels" in few.reason
    found, references = learned()
    part, given = [found.splits["train"][:4]], references["train"][:4]
    with pytest.raises(ValueError, match="too few for 5 folds"):
        out_of_sample(found.kind, part, given, ["a", "b", "b", "a"], 1.0, 0)


def test_a_rare_label_is_left_out_and_told() -> None:
    given = noisy()[2]
    answer = np.pad(np.eye(3)[given] * 4.0, ((0, 1), (0, 1)))
    judged = suspects(np.append(given, 3), answer)
    assert judged.judged == 300
    assert "1 labels with fewer than 5" in judged.reason


def test_no_torch() -> None:
    code = (
        "import sys; from handful.evaluation.baseline import linear, review, suspects;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
