"""compare: all models and seeds on the same test artifacts, ranked, with a verdict in words."""

from __future__ import annotations

import json

from handful.evaluation.test_access_log import looks_so_far
from handful.experiment.context import Experiment
from handful.records import Compared, Fingerprint, Prepared, Tested, Trained
from handful.records.moments import current_moment
from handful.steps.compare.baselines import baseline_files


def compare(
    experiment: Experiment,
    prepared: Prepared,
    trained: Trained,
    tested: Tested,
    *,
    made_from: Fingerprint,
) -> Compared:
    """Write `comparison.json`, from what `test` and the baselines wrote; evaluates nothing.

    After the verdict the winner's answers judge the labels of the test split (label_review.csv).

    The winner is chosen on validation; the test split only says whether differences are real.
    Raises `DataError` for predictions that cannot be compared, `UserError` for a METRIC that was
    not measured.
    """
    from handful.steps.compare import evidence, telling
    from handful.steps.compare.findings import Question, find
    from handful.steps.compare.labels import judge_test_labels
    from handful.steps.compare.written import as_json, tell

    settings, store, mine = experiment.settings, experiment.store, experiment.layout
    labels = tuple(sorted(prepared.label2id, key=prepared.label2id.__getitem__))
    question = Question(
        settings.train.METRIC, settings.train.METRIC_GOAL, labels, settings.experiment.SEED
    )
    simple = baseline_files(store, mine, settings.train.MODEL_NAMES)
    contestants = evidence.models(store, mine, prepared.label2id, trained, tested)
    contestants += evidence.baselines(store, mine, prepared.label2id, simple)
    findings = find(contestants, question)
    seen = looks_so_far(store, mine)
    looks = telling.Looks(len(seen), sum(bool(look.get("after_verdict")) for look in seen))
    whole = as_json(findings, question, looks)
    text = json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False)
    store.write(mine.comparison, f"{text}\n".encode())
    tell(experiment.progress, whole)
    judge_test_labels(store, mine, experiment.progress, labels, findings.winner)
    return Compared(
        winner=findings.winner.name,
        verdict=whole["verdict"],
        ranking=tuple(each.name for each in findings.ranked),
        beats_baseline=whole["beats_baseline"],
        artifacts=findings.artifacts,
        looks_after_verdict=looks.after_verdict,
        made_from=made_from,
        finished_at=current_moment(),
    )
