"""A trained model that a newer one replaces is kept, told of, listed, and can be asked again."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from handful import Classifier
from handful.backends.base import Job
from handful.backends.inline import Inline
from handful.errors import UserError
from handful.experiment.context import Experiment
from handful.experiment.kept_models import ModelStore, TrainedModel
from handful.jobs.arguments import TrainArgs, TrialArgs
from handful.layout import FINAL_RECORD
from handful.records import Best, Trained, Tuned
from handful.settings import list_counted_model_settings, read_settings
from handful.steps.train import Anew
from handful.steps.train import train as run_train
from tests.support import tiny
from tests.support.encoded import FUNCTIONS, Encoded, make
from tests.support.progress import Recording
from tests.support.tiny import Tiny

pytestmark = pytest.mark.slow
"""Minutes; what a kill may do to the old model is tested in small in test_kept_models_killed."""

ROWS = {"train": 24, "validation": 6}
RUN = "results/full_dataset/models/model/seed-0"
BY_CHANCE = (
    FUNCTIONS
    + """

def load_model(model_name, label2id, id2label):
    import os, torch
    from transformers import BertForSequenceClassification

    torch.manual_seed(int(os.environ.get("CHANCE", "0")))
    more = {"label2id": label2id, "id2label": id2label, "ignore_mismatched_sizes": True}
    return BertForSequenceClassification.from_pretrained(model_name, **more)
"""
)


def models_of(experiment: Experiment) -> ModelStore:
    return ModelStore(experiment.store, experiment.layout)


def replaced_models(experiment: Experiment) -> list[TrainedModel]:
    return models_of(experiment).list_replaced()


def train(
    one: Encoded, scratch: Path, anew: Anew = Anew.WHAT_CHANGED, **keys: str
) -> tuple[Trained, Recording]:
    one.settings(**{"EPOCHS": "1", **keys})
    told = Recording()
    experiment = one.open(scratch, told)
    return run_train(experiment, one.prepared, Inline(), made_from={}, anew=anew), told


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def kept(one: Encoded) -> list[str]:
    folder = one.store / RUN / "kept"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


# --- what changed -> what is kept ----------------------------------------------------------------


def other_functions(one: Encoded) -> Encoded:
    one.functions(BY_CHANCE.removeprefix(FUNCTIONS))
    return one


def other_data(one: Encoded) -> Encoded:
    return replace(one, prepared=replace(one.prepared, data_hash={"model": "2" * 64}))


def other_labels(one: Encoded) -> Encoded:
    labels = {"invoice": 0, "letter": 1, "report": 2, "form": 3}
    path = one.store / "data/prepared_data/full_dataset/label2id.json"
    path.write_text(json.dumps(labels))
    prepared = replace(one.prepared, label2id=labels, data_hash={"model": "3" * 64})
    return replace(one, prepared=prepared)


def other_checkpoint(one: Encoded) -> Encoded:
    (one.directory / "model" / "NOTES").write_text("another model to start from")
    return one


def nothing(one: Encoded) -> Encoded:
    return one


@pytest.mark.parametrize(
    ("change", "keys"),
    [
        (nothing, {"EPOCHS": "2"}),
        (nothing, {"LEARNING_RATE": "1e-3"}),
        (nothing, {"METRIC": "accuracy"}),
        (nothing, {"FINAL_DTYPE": "bf16"}),
        (other_functions, {}),
        (other_data, {}),
        (other_labels, {}),
        (other_checkpoint, {}),
    ],
    ids=["epochs", "rate", "metric", "dtype", "load_model", "data", "labels", "checkpoint"],
)
def test_whatever_changed_the_old_model_is_kept_whole_and_told_of(
    tmp_path: Path, change: Callable[[Encoded], Encoded], keys: dict[str, str]
) -> None:
    one = make(tmp_path / "EXP-1", ROWS)
    train(one, tmp_path / "s1")
    before = contents(one.store / RUN / "final")
    one = change(one)
    _, told = train(one, tmp_path / "s2", **keys)
    (name,) = kept(one)
    assert contents(one.store / RUN / "kept" / name) == before
    assert contents(one.store / RUN / "final") != before
    assert [note for note in told.notes if f"--run {name}`" in note and "kept" in note]
    experiment = one.open(tmp_path / "s3")
    assert [(m.fingerprint == name, m.kept) for m in replaced_models(experiment)] == [
        (False, False),
        (True, True),
    ]


def test_what_is_up_to_date_moves_nothing(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1", ROWS)
    train(one, tmp_path / "s1")
    train(one, tmp_path / "s2", EPOCHS="2")
    before = contents(one.store)
    _, told = train(one, tmp_path / "s3", EPOCHS="2")
    assert contents(one.store) == before
    assert told.notes == ["train: model seed 0: up to date"]


def test_done_again_to_the_same_weights_nothing_is_kept(tmp_path: Path) -> None:
    """Bit for bit the same model, made from the same: nothing is lost."""
    one = make(tmp_path / "EXP-1", ROWS)
    first, _ = train(one, tmp_path / "s1")
    second, _ = train(one, tmp_path / "s2", Anew.EVERYTHING)
    assert second.runs[0].weights_hash == first.runs[0].weights_hash
    assert kept(one) == []
    assert replaced_models(one.open(tmp_path / "s3")) == []


def test_done_again_to_other_weights_the_old_ones_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although both are made from the same."""
    one = make(tmp_path / "EXP-1", ROWS, functions=BY_CHANCE.removeprefix(FUNCTIONS))
    train(one, tmp_path / "s1")
    before = contents(one.store / RUN / "final")
    monkeypatch.setenv("CHANCE", "1")
    _, told = train(one, tmp_path / "s2", Anew.EVERYTHING)
    (name,) = kept(one)
    assert contents(one.store / RUN / "kept" / name) == before
    assert any(name in note for note in told.notes)


@pytest.mark.parametrize("most", [0, 1, 2])
def test_so_many_stay_the_last_ones(tmp_path: Path, most: int) -> None:
    one = make(tmp_path / "EXP-1", ROWS)
    names = []
    for epochs in ("1", "2", "3", "4"):
        _, told = train(one, tmp_path / epochs, EPOCHS=epochs, MODELS_KEPT=str(most))
        found = models_of(one.open(tmp_path / "s")).list_trained()
        names.append(found[0].fingerprint)
        # In one second they would seem to be of one time.
        path = one.store / RUN / "final" / FINAL_RECORD
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "finished_at": f"2026-01-0{epochs}T00:00:00+00:00"}))
    assert kept(one) == sorted(names[:-1][len(names) - 1 - most :])
    if not most:
        assert any(f"({names[2]}) is replaced, and not kept" in note for note in told.notes)
    elif most == 1:
        assert any(f"{names[1]}, replaced earlier, is removed" in note for note in told.notes)


def test_back_to_what_is_kept_it_is_in_use_again(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1", ROWS)
    train(one, tmp_path / "s1")
    before = contents(one.store / RUN / "final")
    train(one, tmp_path / "s2", EPOCHS="2")
    (first,) = kept(one)
    train(one, tmp_path / "s3")
    (second,) = kept(one)
    assert second != first
    now = contents(one.store / RUN / "final")
    assert now["model.safetensors"] == before["model.safetensors"]


def test_a_lower_number_is_obeyed_by_the_next_training_step(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1", ROWS)
    train(one, tmp_path / "s1")
    train(one, tmp_path / "s2", EPOCHS="2")
    (name,) = kept(one)
    _, told = train(one, tmp_path / "s3", EPOCHS="2", MODELS_KEPT="0")
    assert kept(one) == []
    assert any(f"{name}, replaced earlier, is removed" in note for note in told.notes)


def test_each_seed_keeps_its_own(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1", ROWS)
    train(one, tmp_path / "s1", SEEDS="0, 1")
    train(one, tmp_path / "s2", SEEDS="0, 1", EPOCHS="2")
    found = replaced_models(one.open(tmp_path / "s3"))
    assert [(m.seed, m.kept) for m in found] == [(0, False), (0, True), (1, False), (1, True)]


def test_a_trial_keeps_nothing(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1", ROWS)
    for epochs in ("1", "2"):
        one.settings(EPOCHS=epochs)
        arguments: dict[str, Any] = {
            "model": "./model",
            "seed": 0,
            "label2id": dict(one.prepared.label2id),
            "rows": ROWS,
            "data_hash": "0" * 64,
            "made_from": {"[train] EPOCHS": epochs},
            "trial": TrialArgs(0, {}),
        }
        arguments["model"] = str(one.directory / "model")
        Inline().run(Job(TrainArgs(**arguments), str(one.directory)), Recording())
    names = {path.name for path in one.store.rglob("*")}
    assert "trial.json" in names
    assert not {"kept", "final"} & names


def test_the_key_is_in_no_fingerprint(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1", ROWS)
    found = []
    for most in ("1", "5"):
        one.settings(MODELS_KEPT=most)
        found.append(list_counted_model_settings(read_settings(one.directory), "./model"))
    assert found[0] == found[1]
    assert not any("MODELS_KEPT" in entry for entry in found[0])


DRIVER = """
import os, signal, sys, tempfile
from pathlib import Path
from handful.backends.inline import Inline
from handful.experiment.context import open_experiment
from handful.progress import Silent
from handful.records import Prepared
from handful.steps.train import train

def hook(event, arguments):
    if event == "os.rename" and "/kept/" in str(arguments[1]):
        hook.moved = True
    elif event == "os.rename" and "/final/" in str(arguments[1]) and hook.moved:
        os.kill(os.getpid(), signal.SIGKILL)

hook.moved = False
sys.addaudithook(hook)
with tempfile.TemporaryDirectory() as scratch:
    experiment = open_experiment(Path(sys.argv[1]), (), Silent(), Path(scratch))
    train(experiment, Prepared.from_json(Path(sys.argv[2]).read_bytes()), Inline(), made_from={})
"""


def test_a_training_killed_in_the_middle_of_it_goes_on_and_the_old_model_answers(
    tmp_path: Path,
) -> None:
    straight, one = make(tmp_path / "EXP-0", ROWS), make(tmp_path / "EXP-1", ROWS)
    train(straight, tmp_path / "s0", EPOCHS="2")
    train(one, tmp_path / "s1")
    before = contents(one.store / RUN / "final")
    one.settings(EPOCHS="2")
    (tmp_path / "prepared.json").write_bytes(one.prepared.to_json())
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(one.directory), str(tmp_path / "prepared.json")],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert not (one.store / RUN / "final" / FINAL_RECORD).exists()
    (name,) = kept(one)
    assert contents(one.store / RUN / "kept" / name) == before
    _, told = train(one, tmp_path / "s2", EPOCHS="2")
    assert any("goes on from the checkpoint" in note for note in told.notes)
    assert contents(one.store / RUN / "kept" / name) == before
    ended, wanted = (contents(x.store / RUN / "final") for x in (one, straight))
    assert ended["model.safetensors"] == wanted["model.safetensors"]


# --- asked again ---------------------------------------------------------------------------------

SCALED = (
    tiny.FUNCTIONS.replace(
        """
    label = json.loads(instance["label.json"].read_text())["label"]
    features = {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": label2id[label]}
""",
        """
    features = {"input_ids": ids, "attention_mask": [1] * len(ids)}
""",
    )
    + """

def load_model(model_name, label2id, id2label, settings):
    from transformers import BertForSequenceClassification

    class Scaled(BertForSequenceClassification):
        def forward(self, input_ids, attention_mask, labels=None):
            found = super().forward(input_ids, attention_mask)
            found.logits = found.logits * settings.user.SCALE
            if labels is not None:
                import torch
                found.loss = torch.nn.functional.cross_entropy(found.logits, labels)
            return found

    more = {"label2id": label2id, "id2label": id2label, "ignore_mismatched_sizes": True}
    return Scaled.from_pretrained(model_name, **more)
"""
)


@dataclass(frozen=True)
class Replaced:
    """An experiment whose model was replaced, and what the old one had said."""

    made: Tiny
    before: list[dict[str, Any]]
    told: str
    """What the second run said."""

    @property
    def run(self) -> str:
        (path,) = (self.made.store / RUN / "kept").iterdir()
        return path.name


def settings(made: Tiny, scale: str, **keys: str) -> None:
    made.settings(**keys)
    path = made.experiment / "settings.ini"
    path.write_text(path.read_text() + f"[user]\nSCALE = {scale}\n")


def answers(made: Tiny, *words: str) -> list[dict[str, Any]]:
    done = made.handful("predict", str(made.files), "--all", *words)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def replaced(tmp_path_factory: pytest.TempPathFactory) -> Replaced:
    """By one with more labels, another temperature, and logits turned by a `[user]` key."""
    assert "label.json" not in SCALED.partition("def encode_data")[2]
    made = tiny.make(tmp_path_factory.mktemp("kept"))
    (made.experiment / "functions.py").write_text(SCALED)
    settings(made, "1", SPLIT="0.6/0.2/0.2\nIGNORED_LABELS = report")
    done = made.handful("run", "--until", "test")
    assert done.returncode == 0, done.stderr
    before = answers(made)
    settings(made, "-1", EPOCHS="3")
    done = made.handful("run", "--until", "test")
    assert done.returncode == 0, done.stderr
    return Replaced(made, before, done.stdout)


def test_the_old_model_answers_as_it_did(replaced: Replaced) -> None:
    made, run = replaced.made, replaced.run
    assert f"`handful predict EXP PATH --run {run}` uses it" in replaced.told
    now = answers(made)
    assert set(now[0]["probabilities"]) == {"invoice", "letter", "report"}
    assert set(replaced.before[0]["probabilities"]) == {"invoice", "letter"}
    assert answers(made, "--run", run[:4].upper()) == replaced.before


@pytest.mark.slow
def test_what_the_call_itself_sets_is_not_undone(replaced: Replaced) -> None:
    made, run = replaced.made, replaced.run
    turned = answers(made, "--run", run, "--set", "user.SCALE=-1")
    assert [one["label"] for one in turned] != [one["label"] for one in replaced.before]


def test_status_lists_it(replaced: Replaced) -> None:
    done = replaced.made.handful("status")
    assert done.returncode == 0, done.stderr
    rows = [
        line.split() for line in done.stdout.splitlines() if re.search(r" (kept|in use) ", line)
    ]
    assert [row[1:4] for row in rows] == [["model", "0", "in"], ["model", "0", "kept"]]
    assert rows[1][0] == replaced.run
    assert "handful predict EXP PATH --run RUN" in done.stdout
    told = replaced.made.handful("status", "--json").stdout.splitlines()
    (steps,) = (json.loads(line) for line in told)
    models = steps["models"]
    assert [row[0] for row in steps["rows"]][:2] == ["reconcile", "prepare"]
    assert models["columns"] == ["run", "model", "seed", "state", "trained", "macro_f1"]
    assert models["rows"][1][:4] == [replaced.run, "model", "0", "kept"]
    metrics = replaced.made.store / RUN / "kept" / replaced.run / FINAL_RECORD
    assert models["rows"][1][5] == json.loads(metrics.read_text())["metrics"]["macro_f1"]


@pytest.mark.slow
def test_the_one_in_use_has_a_fingerprint_too(replaced: Replaced) -> None:
    told = json.loads(replaced.made.handful("status", "--json").stdout)
    run = told["models"]["rows"][0][0]
    assert run != replaced.run
    assert answers(replaced.made, "--run", run) == answers(replaced.made)


@pytest.mark.parametrize("run", ["", "zz", "../../models", "0" * 13])
def test_an_unknown_one_is_an_error_that_lists_those_there_are(
    replaced: Replaced, run: str
) -> None:
    with pytest.raises(UserError, match=re.escape(f"begins with {run!r}")) as error:
        Classifier.load(replaced.made.experiment, run=run)
    assert f"{replaced.run} (model seed 0, kept)" in str(error.value)
    assert "(model seed 0, in use)" in str(error.value)


def test_on_the_command_line_it_is_the_users_fault(replaced: Replaced) -> None:
    done = replaced.made.handful("predict", str(replaced.made.files), "--run", "nothing")
    assert done.returncode == 2
    assert "error: --run: no trained model has a fingerprint that begins with 'nothing'" in (
        done.stderr
    )
    assert replaced.run in done.stderr


def test_a_beginning_of_several_is_an_error_that_lists_them(
    replaced: Replaced, tmp_path: Path
) -> None:
    copy = Tiny(Path(shutil.copytree(replaced.made.root, tmp_path / "copy")))
    (folder,) = (copy.store / RUN / "kept").iterdir()
    record = json.loads((folder / FINAL_RECORD).read_text())
    from handful.experiment.kept_models import fingerprint_of

    digits = set()
    for number in range(40):  # of so many some begin with the same digit
        other = {**record, "weights_hash": f"{number:064d}"}
        name = fingerprint_of(other)
        digits.add(name[0])
        shutil.copytree(folder, folder.with_name(name))
        (folder.with_name(name) / FINAL_RECORD).write_text(json.dumps(other))
    names = [path.name for path in folder.parent.iterdir()]
    several = max(digits, key=lambda digit: sum(name[0] == digit for name in names))
    with pytest.raises(UserError, match="trained models have a fingerprint") as error:
        Classifier.load(copy.experiment, run=several)
    assert all(name in str(error.value) for name in names if name[0] == several)


def test_another_model_or_seed_than_the_runs_is_an_error(replaced: Replaced) -> None:
    with pytest.raises(UserError, match="is another than --model and --seed name"):
        Classifier.load(replaced.made.experiment, run=replaced.run, seed=7)


@pytest.fixture
def copied(replaced: Replaced, tmp_path: Path) -> Path:
    """The kept folder, somewhere else."""
    source = replaced.made.store / RUN / "kept" / replaced.run
    return Path(shutil.copytree(source, tmp_path / "elsewhere"))


def test_a_kept_folder_opens_in_python(replaced: Replaced, copied: Path) -> None:
    for path in (copied, replaced.made.store / RUN / "kept" / replaced.run):
        with Classifier.load(path, experiment=replaced.made.experiment) as classifier:
            found = classifier.predict(replaced.made.files)
            assert classifier.warnings() == []
        assert [json.loads(one.to_json(every_label=True)) for one in found] == replaced.before


@pytest.mark.parametrize("function", ["encode_data", "load_model"])
def test_functions_that_changed_since_are_told_of(
    replaced: Replaced, tmp_path: Path, function: str
) -> None:
    copy = Tiny(Path(shutil.copytree(replaced.made.root, tmp_path / "copy")))
    text = SCALED.replace(f"def {function}(", f"def helper():\n    pass\n\n\ndef {function}(")
    start = text.index(f"def {function}(")
    head, _, body = text[start:].partition(":\n")
    (copy.experiment / "functions.py").write_text(f"{text[:start]}{head}:\n    helper()\n{body}")
    with Classifier.load(copy.experiment, run=replaced.run) as classifier:
        (warning,) = classifier.warnings()
    assert warning.startswith(f"{function} changed since model seed 0 was trained")


def test_what_tune_has_found_is_what_the_model_is_asked_with(
    replaced: Replaced, tmp_path: Path
) -> None:
    """Although settings.ini says another value; a key that tune did not search counts as it is."""
    copy = Tiny(Path(shutil.copytree(replaced.made.root, tmp_path / "copy")))
    settings(copy, "5")
    with Classifier.load(copy.experiment) as classifier:
        assert classifier.experiment.settings.user.values["SCALE"] == 5
    best = Best("model", 0, 0.5, {"user.SCALE": "-1", "LEARNING_RATE": "1e-2"})
    record = Tuned(made_from={}, finished_at="2026-01-01T00:00:00+00:00", best=(best,))
    (copy.store / "results/full_dataset/tuned.json").write_bytes(record.to_json())
    with Classifier.load(copy.experiment) as classifier:
        assert classifier.experiment.settings.user.values["SCALE"] == -1


def test_a_store_that_does_not_say_what_encoded_its_data(
    replaced: Replaced, tmp_path: Path
) -> None:
    """As one that was made before models were kept; its data was encoded anew since."""
    copy = Tiny(Path(shutil.copytree(replaced.made.root, tmp_path / "copy")))
    path = copy.store / RUN / "kept" / replaced.run / FINAL_RECORD
    record = json.loads(path.read_text())
    assert set(record.pop("encoded_by")) == {
        "encode_data in functions.py",
        "get_dataset_features in functions.py",
    }
    del record["finished_at"]
    path.write_text(json.dumps(record))
    with Classifier.load(copy.experiment, run=replaced.run) as classifier:
        assert classifier.warnings() == [
            "whether encode_data is as it was when model seed 0 was trained is not known any more"
        ]
    done = copy.handful("status")
    assert done.returncode == 0, done.stderr
    assert replaced.run in done.stdout


@pytest.mark.slow
def test_export_and_compare_are_of_the_model_in_use(replaced: Replaced, tmp_path: Path) -> None:
    copy = Tiny(Path(shutil.copytree(replaced.made.root, tmp_path / "copy")))
    done = copy.handful("run")
    assert done.returncode == 0, done.stderr
    told = json.loads((copy.store / "results/full_dataset/comparison.json").read_text())
    final = json.loads((copy.store / RUN / "final" / FINAL_RECORD).read_text())
    assert final["weights_hash"] in json.dumps(told)
    assert replaced.run not in json.dumps(told)
    output = tmp_path / "model.onnx"
    done = copy.handful("export", "--onnx", "--output", str(output))
    assert done.returncode == 0, done.stderr
    import onnx

    told = {one.key: one.value for one in onnx.load(output).metadata_props}
    assert told["weights_hash"] == final["weights_hash"]
