"""The findings as sentences: the verdict first, then what should give pause."""

from __future__ import annotations

from dataclasses import dataclass

from handful.evaluation.significance.gain import Gain
from handful.steps.compare.evidence import Contestant
from handful.steps.compare.findings import (
    FEW_EXAMPLES,
    Findings,
    Judged,
    Question,
    beats_baseline,
    over_probe,
)

_NOT_BEATEN = "NOT beat the baseline"
NAMED = 5
FEW_DIFFERENCES = 3
"""So many rivals of the winner are told one by one; the others are in the table of pairs."""


@dataclass(frozen=True)
class Looks:
    """How often the test split was looked at, and how often after a verdict."""

    count: int
    after_verdict: int


def sentences(findings: Findings, question: Question) -> list[str]:
    """The verdict, sentence by sentence; the first names the winner."""
    told = [_describe_compare_winner(findings, question)]
    rivals = [each for each in findings.ranked if not each.baseline and each != findings.winner]
    for rival in rivals[:FEW_DIFFERENCES]:
        one = findings.against(findings.winner.name, rival.name)
        if one is not None:
            told.append(one.verdict.words)
    return told + _over_probe(findings, question) + _baseline(findings)


def remarks(findings: Findings, question: Question, looks: Looks) -> list[str]:
    """What a reader should know before believing it."""
    told = [_describe_test_looks(looks)]
    largest = max(run.table.height for each in findings.ranked for run in each.runs)
    if findings.artifacts < largest:
        told.append(
            f"Compared on the {findings.artifacts:,} artifacts that all were tested on; "
            f"a model was tested on up to {largest:,}."
        )
    if findings.without_examples:
        missing = findings.without_examples
        names = ", ".join(missing[:NAMED]) + (" …" if len(missing) > NAMED else "")
        told.append(
            f"No test artifact bears the label {names}: nothing is known about it, and it counts "
            "in a macro mean only where a model gave it."
        )
    if findings.rare:
        names = ", ".join(findings.rare[:NAMED]) + (" …" if len(findings.rare) > NAMED else "")
        told.append(
            f"Fewer than {FEW_EXAMPLES} test artifacts bear the label {names}: means over labels "
            "(macro, balanced) are less certain than their intervals say."
        )
    told += [
        f"{each.name} gives one label only: every test artifact gets the same answer."
        for each in findings.ranked
        if each.can_win and findings.given[each.name] == 1
    ]
    if question.metric not in findings.draws:
        told.append(
            f"{question.metric} is the experiment's own: it chooses the winner, but it cannot be "
            "computed from single answers, so it has no interval."
        )
    return told


def is_loud(sentence: str) -> bool:
    """Does it say that a model does not beat a baseline?"""
    return _NOT_BEATEN in sentence


def _describe_compare_winner(findings: Findings, question: Question) -> str:
    winner = findings.winner
    seeds = len(winner.runs)
    mean = f", the mean of {seeds} seeds" if seeds > 1 else ""
    value = findings.validation[winner.name]
    models = sum(not each.baseline for each in findings.ranked)
    if winner.probe_of:
        return (
            f"{winner.name} is chosen: the probe of {winner.probe_of} is best on validation by "
            f"{question.metric} ({value:.3f}), and fine-tuning adds nothing there "
            f"({_fine_tuned(findings, winner)})."
        )
    if findings.probes:
        probes = _format_contestant_count(len(findings.probes), "probe")
        field = f"{_format_contestant_count(models, 'model')} and {probes}"
        return (
            f"{winner.name} is chosen: the best of {field} by {question.metric} on validation "
            f"({value:.3f}{mean})."
        )
    if models == 1:
        return (
            f"There is one model, {winner.name} ({question.metric} {value:.3f} on "
            f"validation{mean}), so no choice between models was made."
        )
    return (
        f"{winner.name} is chosen: the best of {models} models by {question.metric} on "
        f"validation ({value:.3f}{mean})."
    )


def _fine_tuned(findings: Findings, probe: Contestant) -> str:
    """How the probe's model fares on validation."""
    found = findings.validation.get(probe.probe_of or "")
    return "it was not tested" if found is None else f"{probe.probe_of} reaches {found:.3f}"


def _format_contestant_count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _over_probe(findings: Findings, question: Question) -> list[str]:
    """What the fine-tuning of the chosen model adds over its probe, on test."""
    model = findings.winner.probe_of or findings.winner.name
    added = over_probe(findings, model, question.metric)
    if added is None:
        return []
    real = {None: "which may be chance", True: "a real gain", False: "a real loss"}[added.better]
    return [
        f"Over its probe, a linear model on its frozen features, fine-tuning brings {model} "
        f"{_describe_fine_tuning_gain(added, question.metric)}: {real}."
    ]


def _describe_fine_tuning_gain(added: Gain, metric: str) -> str:
    if added.value is None:
        return f"a {metric} that has no interval"
    return (
        f"{added.value:+.3f} {metric} on test (95 % interval {added.low:+.3f} to {added.high:+.3f})"
    )


def _baseline(findings: Findings) -> list[str]:
    """The winner against the best baseline, and who else does not beat it."""
    best, bar = findings.best_baseline, findings.bar(findings.winner.name)
    if best is None:
        return []
    told = []
    against = findings.against(findings.winner.name, bar.name) if bar else None
    if against is not None:
        told.append(_against_baseline(findings, against))
    losers = [
        each.name
        for each in findings.ranked
        if not each.baseline
        and each != findings.winner
        and beats_baseline(findings, each.name) is False
    ]
    if losers:
        verb = "does" if len(losers) == 1 else "do"
        which = f", {best.name}" if best.probe_of else ""
        told.append(f"{', '.join(losers)} {verb} {_NOT_BEATEN}{which}.")
    return told


def _against_baseline(findings: Findings, against: Judged) -> str:
    winner, baseline = findings.winner.name, against.verdict.words
    if beats_baseline(findings, winner):
        others = "of the other baselines" if findings.winner.probe_of else "baseline"
        return f"{winner} beats the best {others}. {baseline}"
    return f"{winner} does {_NOT_BEATEN}! {baseline}"


def _describe_test_looks(looks: Looks) -> str:
    times = "once" if looks.count == 1 else f"{looks.count} times"
    told = f"The test split was looked at {times}"
    if not looks.after_verdict:
        return f"{told}, and never at other models after a verdict."
    after = "One look" if looks.after_verdict == 1 else f"{looks.after_verdict} looks"
    return (
        f"{told}. {after} came after a verdict, at other models or weights: the test split has "
        "begun to choose, and its figures are too good."
    )
