"""comparison.json, and the same told on the screen."""

from __future__ import annotations

from typing import Any

from handful.evaluation.significance.verdict import ALPHA
from handful.progress import Progress
from handful.steps.compare import telling
from handful.steps.compare.findings import Findings, Question, beats_baseline, pairs, ranking
from handful.steps.compare.words import table_rows

FORMAT = 1


def as_json(findings: Findings, question: Question, looks: telling.Looks) -> dict[str, Any]:
    """What comparison.json holds; what is not defined is None."""
    told = telling.sentences(findings, question)
    best, simple = findings.best_baseline, findings.best_simple_baseline
    # Without a probe the two are one, and the file is as it was before there were probes.
    more = {"best_simple_baseline": simple.name if simple else None} if findings.probes else {}
    return {
        "format": FORMAT,
        "winner": findings.winner.name,
        "verdict": " ".join(told),
        "sentences": told,
        "remarks": telling.remarks(findings, question, looks),
        "beats_baseline": beats_baseline(findings, findings.winner.name),
        "best_baseline": best.name if best else None,
        **more,
        "artifacts": findings.artifacts,
        "metric": question.metric,
        "goal": question.goal,
        "alpha": ALPHA,
        "resamples": question.resamples,
        "labels_without_examples": list(findings.without_examples),
        "looks": {"count": looks.count, "after_verdict": looks.after_verdict},
        "ranking": ranking(findings, question),
        "pairs": pairs(findings),
        "runs": _runs(findings),
    }


def tell(progress: Progress, whole: dict[str, Any]) -> None:
    """The ranking as a table, the verdict, the remarks; loud if a baseline is not beaten."""
    columns, rows = table_rows(whole["ranking"], whole["metric"])
    progress.table(f"Ranking on {whole['artifacts']:,} test artifacts", columns, rows)
    for sentence in whole["sentences"]:
        (progress.warn if telling.is_loud(sentence) else progress.note)(sentence)
    for remark in whole["remarks"]:
        progress.note(remark)


def _runs(findings: Findings) -> list[dict[str, Any]]:
    """What the verdict is about: a later look at anything else is marked."""
    return [
        {"model": each.name, "seed": run.seed, "weights_hash": run.weights_hash}
        for each in findings.ranked
        if not each.baseline
        for run in each.runs
    ]
