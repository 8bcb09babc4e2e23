"""Which changes make a job another work, and which do not: two tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from handful.backends.base import Job
from handful.errors import StepError
from handful.experiment.context import open_experiment
from handful.jobs.arguments import ARGUMENTS, ModelArgs, PrepareArgs, TrainArgs, TrialArgs
from handful.progress import Silent
from handful.sagemaker.jobs.requests.plan import Plan, plan
from handful.settings import travelling_text

INI = """
[experiment]
NAME = EXP-1
STORE = s3://research/experiments
[production]
DATABASE_URL = sqlite:///labels.sqlite
LABEL_QUERY = SELECT artifact_id, label FROM labels
FILES_URL = files
FILES_FROM_PROD = text.txt
[reconcile]
COPY_CONCURRENCY = 64
[prepare]
NUM_LABELS_THRESHOLD = 3
[train]
MODEL_NAMES = bert-base-uncased, roberta-base
EPOCHS = 2
LEARNING_RATE = 1e-4
[train:bert-base-uncased]
WARMUP = 0.2
[train:roberta-base]
WARMUP = 0.3
[tune]
TRIALS = 4
LEARNING_RATE = log 1e-5 1e-3
[user]
POOLING = cls
[compute]
BACKEND = sagemaker
[sagemaker]
TRAIN_INSTANCE_TYPE = ml.m5.xlarge
PREPARE_INSTANCE_TYPE = ml.m5.large
TEST_INSTANCE_TYPE = ml.m5.large
REGION = eu-central-1
ROLE_ARN = arn:aws:iam::123456789012:role/handful
IMAGE_URI = 123456789012.dkr.ecr.eu-central-1.amazonaws.com/handful:1
[report]
SHOW_DOCUMENTS = true
"""
FUNCTIONS = """
import words

def load_model(model_name):
    return words.SIZE  # as it is
"""
FILES = {
    "functions.py": FUNCTIONS,
    "words.py": "SIZE = 3\n",
    "vocabulary.txt": "a\nb\n",
    "requirements.txt": "nltk==3.9\n",
}
Change = tuple[str, str, str]
"""A file, what is in it, and what stands there instead."""
TASKS = ("reconcile", "prepare", "tune", "train", "test")


def planned(folder: Path, changes: list[Change], *overrides: str) -> dict[str, Plan]:
    """The plan of each task."""
    directory = folder / "EXP-1"
    directory.mkdir(parents=True, exist_ok=True)
    files = {"settings.ini": INI, **FILES}
    for name, old, new in changes:
        before = files.get(name, "")
        assert old in before
        files[name] = before.replace(old, new, 1) if old else before + new
    for name, text in files.items():
        (directory / name).write_text(text)
    (folder / "scratch").mkdir(exist_ok=True)
    experiment = open_experiment(directory, overrides, Silent(), folder / "scratch")
    found = {}
    for task in TASKS:
        kind = ARGUMENTS[task]
        of_one = ("bert-base-uncased", 0) if issubclass(kind, ModelArgs) else ()
        found[task] = plan(experiment, Job(kind(*of_one), str(directory), overrides))
    return found


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Plan]:
    return planned(tmp_path_factory.mktemp("before"), [])


SAME: list[tuple[str, list[Change], tuple[str, ...]]] = [
    ("nothing", [], ()),
    ("--set of [sagemaker]", [], ("sagemaker.MAX_RUNTIME=2h",)),
    (
        "two of them, in any order",
        [],
        ("sagemaker.VOLUME_SIZE_GB=50", "sagemaker.USE_SPOT=true"),
    ),
    ("--set of BACKEND", [], ("compute.BACKEND=sagemaker",)),
    ("a key of [sagemaker]", [("settings.ini", "ml.m5.xlarge", "ml.g5.xlarge")], ()),
    ("--set of what stands there", [], ("train.EPOCHS=2",)),
    ("another spelling", [("settings.ini", "1e-4", "0.0001")], ()),
    ("a default, written out", [("settings.ini", "EPOCHS = 2", "EPOCHS = 2\nBATCH_SIZE = 32")], ()),
    ("a default by --set", [], ("train.BATCH_SIZE=32",)),
    ("a comment", [("settings.ini", "EPOCHS = 2", "# few\nEPOCHS = 2")], ()),
    ("blank lines", [("settings.ini", "EPOCHS = 2", "\n\nEPOCHS  =  2")], ()),
    (
        "the order of keys",
        [("settings.ini", "EPOCHS = 2\nLEARNING_RATE = 1e-4", "LEARNING_RATE = 1e-4\nEPOCHS = 2")],
        (),
    ),
    (
        "the order of sections",
        [
            ("settings.ini", "[user]\nPOOLING = cls\n", ""),
            ("settings.ini", "[experiment]", "[user]\nPOOLING = cls\n[experiment]"),
        ],
        (),
    ),
    ("the report", [("settings.ini", "SHOW_DOCUMENTS = true", "SHOW_DOCUMENTS = false")], ()),
    ("a comment in the functions", [("functions.py", "# as it is", "# as it was")], ()),
    ("their form", [("functions.py", "(model_name):", "(\n        model_name,\n):")], ()),
    ("a comment in a helper", [("words.py", "3", "3  # three")], ()),
    ("a comment for pip", [("requirements.txt", "==3.9", "==3.9  # words")], ()),
]


@pytest.mark.parametrize(
    ("changes", "overrides"), [row[1:] for row in SAME], ids=[row[0] for row in SAME]
)
def test_what_decides_nothing_leaves_the_work_as_it_is(
    changes: list[Change], overrides: tuple[str, ...], before: dict[str, Plan], tmp_path: Path
) -> None:
    for task, after in planned(tmp_path, changes, *overrides).items():
        assert after.is_work_of(before[task].note)
        assert before[task].is_work_of(after.note)
        assert after.stem == before[task].stem


OF_STEPS: list[tuple[str, list[Change], set[str]]] = [
    ("the query", [("settings.ini", "SELECT", "select")], {"reconcile"}),
    ("the database", [("settings.ini", "labels.sqlite", "l.sqlite")], {"reconcile"}),
    ("copying", [("settings.ini", "= 64", "= 65")], {"reconcile", "prepare"}),
    ("the files", [("settings.ini", "= files", "= other")], {"reconcile", "prepare"}),
    ("labels", [("settings.ini", "THRESHOLD = 3", "THRESHOLD = 4")], set(TASKS) - {"reconcile"}),
    ("trials", [("settings.ini", "TRIALS = 4", "TRIALS = 5")], {"tune"}),
    ("a range", [("settings.ini", "log 1e-5", "log 1e-6")], {"tune"}),
    ("epochs", [("settings.ini", "EPOCHS = 2", "EPOCHS = 3")], set(TASKS) - {"reconcile"}),
    ("for it", [("settings.ini", "WARMUP = 0.2", "WARMUP = 0.1")], set(TASKS) - {"reconcile"}),
    ("for another", [("settings.ini", "WARMUP = 0.3", "WARMUP = 0.1")], {"prepare", "test"}),
    ("models", [("settings.ini", ", roberta-base", ", roberta-base, gpt2")], {"prepare", "test"}),
    ("a key of one's own", [("settings.ini", "= cls", "= mean")], set(TASKS)),
    ("a new one", [("settings.ini", "= cls", "= cls\nWORDS = 3")], set(TASKS)),
    ("processes", [("settings.ini", "BACKEND", "TRAIN_PROCESSES = 2\nBACKEND")], set(TASKS)),
    ("the functions", [("functions.py", "words.SIZE", "words.SIZE + 1")], set(TASKS)),
    ("a docstring, which can be read", [("words.py", "SIZE", '"""Words."""\nSIZE')], set(TASKS)),
    ("a helper", [("words.py", "3", "4")], set(TASKS)),
    ("a file of data", [("vocabulary.txt", "b\n", "c\n")], set(TASKS)),
    ("blanks in it", [("vocabulary.txt", "b\n", "b \n")], set(TASKS)),
    ("a new file", [("more.txt", "", "x")], set(TASKS)),
    ("a library", [("requirements.txt", "3.9", "3.8")], set(TASKS)),
    ("broken code", [("words.py", "3\n", "3 # (\n)")], set(TASKS)),
]


@pytest.mark.parametrize(
    ("changes", "works"), [row[1:] for row in OF_STEPS], ids=[row[0] for row in OF_STEPS]
)
def test_another_work_is_another_for_those_that_read_what_changed(
    changes: list[Change], works: set[str], before: dict[str, Plan], tmp_path: Path
) -> None:
    after = planned(tmp_path, changes)
    others = {task for task, one in after.items() if not one.is_work_of(before[task].note)}
    assert others == works


def test_arguments_and_tasks_are_works_of_their_own(before: dict[str, Plan]) -> None:
    assert len({one.work for one in before.values()}) == len(TASKS)
    for task, one in before.items():
        assert [name for name, other in before.items() if other.is_work_of(one.note)] == [task]


OF_ONE = '"label2id": {"a": 0, "b": 1}, "rows": {"train": 8, "validation": 4}, '
TEXTS = {
    "train": f'{{"model": "m", "seed": 0, {OF_ONE}"data_hash": "00", "made_from": {{"x": "y"}}, '
    '"processes": 2, "resume_anyway": false}',
    "tune": f'{{"model": "m", "seed": 0, {OF_ONE}"data_hash": "00", "made_from": {{"x": "y"}}, '
    '"processes": 2}',
    "test": '{"label2id": {"a": 0, "b": 1}, "runs": [{"model": "m", "seed": 0, "weights_hash": '
    '"00", "rows": {"validation": 4, "test": 4}, "values": {}}], "baseline_rows": {"m": '
    '{"train": 8, "validation": 4, "test": 4}}, "data_hash": {"m": "00"}, "best_run": 0, "look": '
    '{"runs": [{"model": "m", "seed": 0, "weights_hash": "00"}], "settings": {}}}',
    "prepare": '{"made_from": {"x": "y"}}',
    "reconcile": '{"made_from": {"x": "y"}, "refresh": false, "prune": true, "redo": false}',
}
"""What the steps' jobs were told by builds whose job files had no number of their format."""


@pytest.mark.parametrize("task", TASKS)
def test_a_job_reads_as_before_and_is_known_by_the_same_text(task: str) -> None:
    """Else a driver of today would pay for a second job beside one that runs."""
    text = (
        f'{{"task": "{task}", "experiment": "", "overrides": ["a.B=1"], '
        f'"arguments": {TEXTS[task]}, "processes": 2}}'
    )
    job = Job.from_json(text)
    assert type(job.arguments) is ARGUMENTS[task]
    assert json.dumps(job.content()) == text
    assert list(json.loads(job.to_json())) == ["format", *json.loads(text)]
    assert Job.from_json(job.to_json()) == job


def test_a_trial_and_whose_it_is_come_through_a_job_file() -> None:
    trial = TrialArgs(3, {"EPOCHS": "2"}, before=[[0.5, 0.75]], given_up=[[0.25]])
    job = Job(TrainArgs("m", 0, owner="it-1", trial=trial), "EXP", lock={"token": "x"})
    assert Job.from_json(job.to_json()) == job


def test_a_job_of_a_later_build_is_refused() -> None:
    told = {**json.loads(Job(PrepareArgs(), "EXP").to_json()), "format": 2, "more": 1}
    with pytest.raises(StepError, match="format 2, and 1 is the last one known"):
        Job.from_json(json.dumps(told))


def test_a_job_of_an_earlier_build_is_known_again(before: dict[str, Plan], tmp_path: Path) -> None:
    """Its note has the hash of all bytes alone, with a comment for each override that stayed."""
    flags = ("sagemaker.USE_SPOT=true", "compute.BACKEND=sagemaker", "train.EPOCHS=3")
    one = planned(tmp_path, [], *flags)["train"]
    assert one.content != one.content_before(), "the comments are gone"
    assert one.is_work_of({"content": one.content_before(), "operation": "CreateTrainingJob"})
    assert not one.is_work_of({"content": "0" * 64, "operation": "CreateTrainingJob"})
    assert not one.is_work_of({})
    assert before["train"].content == before["train"].content_before()


def test_an_override_that_stays_leaves_no_trace_and_the_bundle_is_the_same(
    before: dict[str, Plan], tmp_path: Path
) -> None:
    flags = ("sagemaker.TRAIN_INSTANCE_TYPE=ml.g5.xlarge", "sagemaker.USE_SPOT=true")
    assert planned(tmp_path, [], *flags)["train"].bundle.digest == before["train"].bundle.digest
    text = travelling_text(tmp_path / "EXP-1", (*flags, "train.EPOCHS=3"), {})
    assert text.count("# by --set:\n") == 4, "of EPOCHS, NAME, STORE and MODEL_NAMES"
