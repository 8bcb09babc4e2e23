"""What the tests between two models mean, in words; "no real difference" is a verdict too.

McNemar's test decides who is right more often. The metric that the experiment is about may tell
another story (macro-F1 cares for rare labels, the test does not): its paired interval stands
beside the test, and where the two disagree, at a stricter level, the words say so.
"""

from __future__ import annotations

from dataclasses import dataclass

from handful.evaluation.significance.pairs import Difference, Pair

ALPHA = 0.05


@dataclass(frozen=True)
class Verdict:
    """Who is better, by what, and the sentence for people."""

    better: str | None
    """The model that is right more often, and not worse by the metric; None: no real difference."""
    better_by_metric: str | None
    """The model whose metric is better, beyond chance; None: no real difference."""
    words: str


def judge_model_pair(pair: Pair, metric: str, goal: str = "max", alpha: float = ALPHA) -> Verdict:
    """The verdict on `pair`; `metric` is the experiment's, better when `goal` is reached.

    A difference is real where the corrected p is below `alpha`, 0 to 1.
    """
    right = _right_more_often(pair, alpha)
    found = pair.differences.get(metric)
    by_metric = _better_by(pair, found, goal)
    better = None if by_metric and right and by_metric != right else right
    return Verdict(better, by_metric, _describe_pair_verdict(pair, metric, right, by_metric))


def beats(pair: Pair, verdict: Verdict, name: str, alpha: float = ALPHA) -> bool:
    """Is `name` the better of the two, beyond chance?

    It is if it is right more often by McNemar's test, or if it is not worse by that test and the
    metric's difference is in its favour.
    """
    favour = {verdict.better, verdict.better_by_metric}
    return name in favour and _right_more_often(pair, alpha) in (None, name)


def format_p_value(p: float) -> str:
    """A probability as people read it. `p`: 0 to 1."""
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}" if p < 0.01 else f"p = {p:.2f}"


def _right_more_often(pair: Pair, alpha: float) -> str | None:
    if pair.p_holm >= alpha:
        return None
    return pair.first if pair.test.only_first > pair.test.only_second else pair.second


def _better_by(pair: Pair, found: Difference | None, goal: str) -> str | None:
    sign = found.sign * (1 if goal == "max" else -1) if found else 0
    return {1: pair.first, -1: pair.second}.get(sign)


def _describe_pair_verdict(
    pair: Pair, metric: str, right: str | None, by_metric: str | None
) -> str:
    first, second = pair.first, pair.second
    if right is None and by_metric is None:
        return f"No real difference between {first} and {second}: {_figures(pair, metric)}."
    if right is None:
        return (
            f"{first} and {second} are right equally often, but {by_metric} has the better "
            f"{metric}: {_figures(pair, metric)}."
        )
    if by_metric is not None and by_metric != right:
        return (
            f"{right} is right more often, but {by_metric} has the better {metric}: "
            f"{_figures(pair, metric)}."
        )
    other = second if right == first else first
    return f"{right} is better than {other}: {_figures(pair, metric)}."


def _figures(pair: Pair, metric: str) -> str:
    test = pair.test
    total = test.both + test.neither + test.only_first + test.only_second
    raw, after = format_p_value(test.p), format_p_value(pair.p_holm)
    corrected = f", {after} corrected" if after != raw else ""
    text = (
        f"of {total:,} artifacts {pair.first} alone is right on {test.only_first:,} and "
        f"{pair.second} alone on {test.only_second:,} (McNemar {raw}{corrected})"
    )
    found = pair.differences.get(metric)
    if found is None:
        return text
    return (
        f"{text}; {metric} of {pair.first} less that of {pair.second} is {found.value:+.3f} "
        f"(95 % interval {found.low:+.3f} to {found.high:+.3f})"
    )
