"""From the evidence to what comparison.json holds: ranking, pairs, winner and verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from handful.errors import UserError
from handful.evaluation.metrics.arrays import Floats
from handful.evaluation.metrics.bootstrap import (
    RESAMPLES,
    Answers,
    compute_answer_metrics,
    resample_answer_metrics,
)
from handful.evaluation.significance.gain import Gain, gain
from handful.evaluation.significance.pairs import Pair, compare_model_pairs, every_two
from handful.evaluation.significance.verdict import Verdict, beats, judge_model_pair
from handful.steps.compare.evidence import (
    Answered,
    Contestant,
    common,
    finite,
    select_evidence_rows,
)
from handful.steps.compare.values import gain_as_json, pair_as_json, with_interval

FEW_EXAMPLES = 10
"""Below this the interval of a mean over labels is too narrow: `bench/truth.py intervals`."""


@dataclass(frozen=True)
class Question:
    """What is asked of the evidence."""

    metric: str
    goal: str
    """max or min."""
    labels: tuple[str, ...]
    """By id."""
    seed: int
    """Of the bootstrap's draws."""
    resamples: int = RESAMPLES


@dataclass(frozen=True)
class Judged:
    """A pair with its verdict."""

    pair: Pair
    verdict: Verdict


@dataclass(frozen=True)
class Findings:
    """All that the comparison found."""

    artifacts: int
    """Those that all contestants were tested on."""
    ranked: tuple[Contestant, ...]
    """The best on validation first."""
    validation: Mapping[str, float | None]
    """Contestant → mean of the metric over its seeds."""
    values: Mapping[str, Floats]
    """Metric → [M], of each contestant's first seed on test, in the order of `ranked`."""
    draws: Mapping[str, Floats]
    """Metric → [M, R]."""
    spread: Mapping[str, Mapping[str, Sequence[float]]]
    """Contestant → metric → one value for each seed, on test."""
    judged: tuple[Judged, ...]
    winner: Contestant
    best_baseline: Contestant | None
    """Of all baselines, probes included."""
    best_simple_baseline: Contestant | None
    """Of those that are no probes."""
    given: Mapping[str, int]
    """Contestant → how many labels its first seed gave at all."""
    without_examples: tuple[str, ...]
    """Labels that no common test artifact bears."""
    rare: tuple[str, ...]
    """Labels that fewer than `FEW_EXAMPLES` of them bear, but at least one."""

    @property
    def probes(self) -> Mapping[str, Contestant]:
        """Model → its probe."""
        return {each.probe_of: each for each in self.ranked if each.probe_of}

    def bar(self, name: str) -> Contestant | None:
        """The baseline that it has to beat; None if there is none."""
        probes = {each.name for each in self.probes.values()}
        return self.best_simple_baseline if name in probes else self.best_baseline

    def against(self, first: str, second: str) -> Judged | None:
        """The pair of these two, in either order."""
        wanted = {first, second}
        return next((j for j in self.judged if {j.pair.first, j.pair.second} == wanted), None)


def find(contestants: Sequence[Contestant], question: Question) -> Findings:
    """Compare them; `DataError` if they have no artifact in common, `UserError` for the metric."""
    ids = common(contestants)
    validation = {each.name: _mean_validation(each, question.metric) for each in contestants}
    _check_metric(contestants, validation, question.metric)
    ranked = _rank_contestants(contestants, validation, question.goal)
    tables = {each.name: [select_evidence_rows(r.table, ids) for r in each.runs] for each in ranked}
    answers = _answers([tables[each.name][0] for each in ranked], len(question.labels))
    values = compute_answer_metrics(answers)
    draws = resample_answer_metrics(answers, seed=question.seed, resamples=question.resamples)
    pairs = compare_model_pairs(
        [each.name for each in ranked], answers, _which(ranked), values, draws
    )
    support = dict(
        zip(
            question.labels,
            np.bincount(answers.references, minlength=len(question.labels)).tolist(),
            strict=True,
        )
    )
    return Findings(
        artifacts=len(ids),
        ranked=ranked,
        validation=validation,
        values=values,
        draws=draws,
        spread={name: _over_seeds(each, len(question.labels)) for name, each in tables.items()},
        judged=tuple(Judged(p, judge_model_pair(p, question.metric, question.goal)) for p in pairs),
        winner=_winner(ranked),
        best_baseline=_best_baseline(ranked),
        best_simple_baseline=_best_simple_baseline(ranked),
        given={
            each.name: len(np.unique(one))
            for each, one in zip(ranked, answers.predictions, strict=True)
        },
        without_examples=tuple(label for label, count in support.items() if not count),
        rare=tuple(label for label, count in support.items() if 0 < count < FEW_EXAMPLES),
    )


def ranking(findings: Findings, question: Question) -> list[dict[str, Any]]:
    """The rows of the ranking, as JSON values; the best on validation first."""
    return [
        _finding_row(findings, question, rank, each)
        for rank, each in enumerate(findings.ranked, start=1)
    ]


def pairs(findings: Findings) -> list[dict[str, Any]]:
    """The pairs, as JSON values."""
    return [pair_as_json(one.pair, one.verdict) for one in findings.judged]


def beats_baseline(findings: Findings, name: str) -> bool | None:
    """Does the model beat the best baseline, or a probe the best of the others, beyond chance?

    None if there is none.
    """
    return _beats(findings, name, findings.bar(name))


def over_probe(findings: Findings, name: str, metric: str) -> Gain | None:
    """What fine-tuning adds over the model's probe, of its first seed; None if it has none."""
    probe = findings.probes.get(name)
    one = findings.against(name, probe.name) if probe else None
    return gain(one.pair, one.verdict, name, metric) if one else None


def _beats(findings: Findings, name: str, other: Contestant | None) -> bool | None:
    one = findings.against(name, other.name) if other else None
    return beats(one.pair, one.verdict, name) if one else None


def _winner(ranked: Sequence[Contestant]) -> Contestant:
    return next(each for each in ranked if each.can_win)


def _best_baseline(ranked: Sequence[Contestant]) -> Contestant | None:
    return next((each for each in ranked if each.baseline), None)


def _best_simple_baseline(ranked: Sequence[Contestant]) -> Contestant | None:
    return next((each for each in ranked if not each.can_win), None)


def _which(ranked: Sequence[Contestant]) -> list[tuple[int, int]]:
    """All pairs of models, each with the best baseline, the best that is no probe, its own probe.

    A probe that wins is paired with every model, and with the best that is no probe. The fewer the
    pairs, the less the correction costs each of them.
    """
    bars = [each for each in (_best_baseline(ranked), _best_simple_baseline(ranked)) if each]

    def needs_comparison(one: Contestant, other: Contestant) -> bool:
        if one.baseline and other.baseline:
            return _winner(ranked) in (one, other) and _best_simple_baseline(ranked) in (one, other)
        if not one.baseline and not other.baseline:
            return True
        model, baseline = (other, one) if one.baseline else (one, other)
        return baseline in bars or baseline.probe_of == model.name or baseline is _winner(ranked)

    return [(a, b) for a, b in every_two(len(ranked)) if needs_comparison(ranked[a], ranked[b])]


def _mean_validation(each: Contestant, metric: str) -> float | None:
    found = [run.validation.get(metric) for run in each.runs]
    values = [value for value in found if value is not None and np.isfinite(value)]
    return float(np.mean(values)) if len(values) == len(found) else None


def _check_metric(
    contestants: Sequence[Contestant], validation: Mapping[str, float | None], metric: str
) -> None:
    for each in contestants:
        if not each.baseline and validation[each.name] is None:
            there = ", ".join(sorted(each.runs[0].validation))
            raise UserError(
                f"{each.name} has no {metric!r} on validation, so no winner can be chosen",
                where="[train] METRIC",
                remedy=f"write one that training gave ({there}), and train with it",
            )


def _rank_contestants(
    contestants: Sequence[Contestant], validation: Mapping[str, float | None], goal: str
) -> tuple[Contestant, ...]:
    """The best on validation first; a baseline without the metric last.

    Ties by name; a probe stands behind what it is no better than.
    """
    sign = -1.0 if goal == "max" else 1.0

    def place(each: Contestant) -> tuple[bool, float, bool, str]:
        value = validation[each.name]
        return value is None, sign * (value or 0.0), each.probe_of is not None, each.name

    return tuple(sorted(contestants, key=place))


def _answers(tables: Sequence[pl.DataFrame], labels: int) -> Answers:
    return Answers(
        tables[0]["label"].to_numpy(),
        np.stack([table["prediction"].to_numpy() for table in tables]),
        np.stack([finite(table["loss"].to_numpy()) for table in tables]),
        labels,
        np.stack([table["square"].to_numpy() for table in tables]),
    )


def _over_seeds(tables: Sequence[pl.DataFrame], labels: int) -> dict[str, list[float]]:
    found = compute_answer_metrics(_answers(tables, labels))
    return {name: [float(value) for value in values] for name, values in found.items()}


def _finding_row(
    findings: Findings, question: Question, rank: int, each: Contestant
) -> dict[str, Any]:
    number = rank - 1
    first = each.runs[0]
    by_seed = [(run.seed, run.validation.get(question.metric)) for run in each.runs]
    validation = {str(seed): value for seed, value in by_seed if value is not None}
    has_bar = not each.baseline or each is findings.winner
    return {
        "rank": rank,
        "model": each.name,
        "baseline": each.baseline,
        "winner": each is findings.winner,
        "seeds": [run.seed for run in each.runs],
        "validation": {**_summary(list(validation.values())), "by_seed": validation},
        "metrics": {
            name: with_interval(float(values[number]), findings.draws[name][number])
            for name, values in findings.values.items()
        }
        | _from_test(findings, first),
        "own_metrics": _select_own_metrics(first, findings.values),
        "spread": {name: _summary(values) for name, values in findings.spread[each.name].items()},
        "artifacts_tested": first.table.height,
        "labels_given": findings.given[each.name],
        "documents_per_second": _rate(first),
        "parameters": first.parameters,
        "training_seconds": _total([run.training_seconds for run in each.runs]),
        "beats_baseline": beats_baseline(findings, each.name) if has_bar else None,
        **_of_probes(findings, question, each),
    }


def _of_probes(findings: Findings, question: Question, each: Contestant) -> dict[str, Any]:
    """What the row has beside if there are probes."""
    if each.probe_of:
        return {"probe_of": each.probe_of}
    if each.baseline or not findings.probes:
        return {}
    simple = _beats(findings, each.name, findings.best_simple_baseline)
    added = over_probe(findings, each.name, question.metric)
    told = gain_as_json(added) if added else None
    return {"beats_simple_baseline": simple, "over_probe": told}


def _summary(values: Sequence[float]) -> dict[str, float | None]:
    """Mean, standard deviation (of a sample: n - 1), least and greatest."""
    if not values or not np.isfinite(values).all():
        return dict.fromkeys(("mean", "sd", "min", "max"), None)
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "sd": sd, "min": min(values), "max": max(values)}


def _from_test(findings: Findings, run: Answered) -> dict[str, dict[str, float | None]]:
    """Figures with intervals that `test` gave, if they are of the same artifacts."""
    if run.table.height != findings.artifacts:
        return {}
    return {
        name: {end: one[end] for end in ("value", "low", "high")}
        for name, one in run.intervals.items()
        if name not in findings.values
    }


def _select_own_metrics(run: Answered, known: Mapping[str, Any]) -> dict[str, float]:
    """What the test told beside the metrics computed here: the user's own, and those per label."""
    same = {n for n, one in run.intervals.items() if one["value"] == run.told.get(n)}
    return {
        n: v for n, v in run.told.items() if n not in known and n not in same and np.isfinite(v)
    }


def _rate(run: Answered) -> float | None:
    return round(run.table.height / run.test_seconds, 3) if run.test_seconds > 0 else None


def _total(seconds: Sequence[float | None]) -> float | None:
    known = [value for value in seconds if value is not None]
    return round(sum(known), 3) if known else None
