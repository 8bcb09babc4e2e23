"""The whole path, from labels to the report, as a user runs it."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from handful.layout import LOCK, Layout
from handful.storage.lock import EXPIRES, Holder, hold_lock
from handful.storage.open import open_store
from handful.system.machine import ProcessIdentity, this_process
from tests.support.tiny import Tiny, make


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    tiny = make(tmp_path_factory.mktemp("finished"))
    done = tiny.handful("run")
    assert done.returncode == 0, done.stdout + done.stderr
    return tiny


@pytest.fixture
def copy(finished: Tiny, tmp_path: Path) -> Tiny:
    """The finished experiment, to be changed."""
    return Tiny(Path(shutil.copytree(finished.root, tmp_path / "copy")))


READS = """

def compute_metrics(predictions, references, settings):
    right = sum(p == r for p, r in zip(predictions, references))
    return {"macro_f1": right / len(references) + settings.user.BONUS}
"""


def test_a_key_of_the_user_redoes_the_steps_whose_functions_read_it(tmp_path: Path) -> None:
    tiny = make(tmp_path / "reads")
    with (tiny.experiment / "functions.py").open("a") as file:
        file.write(READS)
    keys = ("--set", "user.BONUS=0.5", "--set", "user.OTHER=1")
    done = tiny.handful("run", *keys, "--set", "train.EPOCHS=1")
    assert done.returncode == 0, done.stdout + done.stderr

    def told(*changed: str) -> str:
        done = tiny.handful("run", *keys, "--set", "train.EPOCHS=1", *changed)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    metrics = tiny.store / "results/full_dataset/evaluation/model/seed-0/metrics.json"
    before = json.loads(metrics.read_text())["metrics"]["macro_f1"]
    found = told("--set", "user.OTHER=2")
    assert "report: up to date" in found
    assert "train: up to date" in found
    found = told("--set", "user.BONUS=0.25")
    for step in ("reconcile", "prepare"):
        assert f"{step}: up to date" in found
    assert "[user] BONUS changed from 0.5 to 0.25" in found
    assert json.loads(metrics.read_text())["metrics"]["macro_f1"] == pytest.approx(before - 0.25)


def test_check_tells_of_a_key_of_the_user_that_nobody_reads(copy: Tiny) -> None:
    with (copy.experiment / "functions.py").open("a") as file:
        file.write(READS)
    done = copy.handful("check", "--offline", "--set", "user.BONUS=0", "--set", "user.WITDH=2")
    assert done.returncode == 0, done.stdout + done.stderr
    told = "[user] WITDH is read by none of the functions, so it changes nothing"
    assert told in done.stdout + done.stderr
    assert "BONUS is read" not in done.stdout + done.stderr


def test_every_file_of_the_layout_is_there(finished: Tiny) -> None:
    for name in (
        "store.json",
        "settings.ini",
        "functions.py",
        "data/unique_labels_and_counts.json",
        "data/reconciliation/labels.parquet",
        "data/reconciliation/listing.parquet",
        "data/reconciliation/ledger.parquet",
        "data/reconciliation/summary.json",
        "data/reconciled_artifacts/artifact-0000/text.txt",
        "data/reconciled_artifacts/artifact-0000/label.json",
        "data/prepared_data/full_dataset/label2id.json",
        "data/prepared_data/full_dataset/id2label.json",
        "data/prepared_data/full_dataset/splits.parquet",
        "data/prepared_data/full_dataset/split_metadata.json",
        "data/prepared_data/full_dataset/model/quarantine.parquet",
        "data/prepared_data/full_dataset/model/truncation.json",
        "results/full_dataset/models/model/seed-0/final/model.safetensors",
        "results/full_dataset/models/model/seed-0/metrics.jsonl",
        "results/full_dataset/evaluation/model/seed-0/predictions.parquet",
        "results/full_dataset/evaluation/model/seed-0/metrics.json",
        "results/full_dataset/evaluation/model/seed-0/confusion_matrix.csv",
        "results/full_dataset/evaluation/looks.jsonl",
        "results/full_dataset/report.html",
    ):
        assert (finished.store / name).is_file(), name


def test_the_datasets_open_with_the_library_alone(finished: Tiny) -> None:
    from datasets import load_from_disk

    prepared = finished.store / "data/prepared_data/full_dataset"
    splits = pl.read_parquet(prepared / "splits.parquet")
    for split in ("train", "validation", "test"):
        rows = load_from_disk(str(prepared / "model" / split))
        expected = splits.filter(pl.col("split") == split)["artifact_id"].to_list()
        assert sorted(rows["artifact_id"]) == sorted(expected)
        assert {"input_ids", "attention_mask", "labels", "length"} <= set(rows.column_names)


def test_it_learned_and_the_predictions_say_the_same_as_the_metrics(finished: Tiny) -> None:
    evaluation = finished.store / "results/full_dataset/evaluation/model/seed-0"
    predictions = pl.read_parquet(evaluation / "predictions.parquet")
    metrics = json.loads((evaluation / "metrics.json").read_text())
    right = (predictions["label"] == predictions["prediction"]).mean()
    assert right == pytest.approx(metrics["metrics"]["accuracy"], abs=1e-12)
    # Twelve artifacts of three labels say little of how well; the loss tells whether.
    assert right > 1 / 3
    log = finished.store / "results/full_dataset/models/model/seed-0/metrics.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert sum(losses[-5:]) < 0.75 * sum(losses[:5])


def test_final_opens_with_from_pretrained_and_knows_the_labels(finished: Tiny) -> None:
    from transformers import AutoModelForSequenceClassification

    final = finished.store / "results/full_dataset/models/model/seed-0/final"
    model = AutoModelForSequenceClassification.from_pretrained(final)
    assert set(model.config.label2id) == {"invoice", "letter", "report"}


def test_a_second_run_does_nothing_and_says_why(copy: Tiny) -> None:
    before = {p: p.stat().st_mtime_ns for p in copy.store.rglob("*") if p.name != "settings.ini"}
    done = copy.handful("run")
    assert done.returncode == 0, done.stderr
    for step in ("reconcile", "prepare", "train", "test", "report"):
        assert f"{step}: up to date" in done.stdout
    assert "production as of" in done.stdout
    kept = {p: t for p, t in before.items() if p.is_file() and p.name != "functions.py"}
    assert all(path.stat().st_mtime_ns == moment for path, moment in kept.items())


@pytest.mark.slow
def test_what_runs_is_kept_only_by_whoever_holds_the_lock(copy: Tiny) -> None:
    """Two at once: the second stops at the first's lock, and has replaced nothing of it."""
    kept = [copy.store / name for name in ("store.json", "settings.ini", "functions.py")]
    before = [path.read_text() for path in kept]
    (copy.experiment / "functions.py").write_text(f"# a remark\n{before[2]}")
    with hold_lock(open_store(str(copy.store)), Layout("full_dataset").results_lock, "the first"):
        second = copy.handful("run", "--set", "train.EPOCHS=1")
    assert second.returncode == 1
    assert "one at a time: the first" in second.stderr
    assert [path.read_text() for path in kept] == before

    done = copy.handful("run", "--set", "train.EPOCHS=1", "--until", "train")
    assert done.returncode == 0, done.stderr
    assert "EPOCHS = 1\n" in kept[1].read_text()
    assert kept[2].read_text() == f"# a remark\n{before[2]}"


def test_a_store_of_a_later_format_is_not_touched(copy: Tiny) -> None:
    (copy.store / "store.json").write_text('{"format": 99}')
    before = (copy.store / "settings.ini").read_text()
    done = copy.handful("run", "--set", "train.EPOCHS=1")
    assert done.returncode == 2
    assert "the store has format 99" in done.stderr
    assert (copy.store / "settings.ini").read_text() == before


@pytest.mark.slow
def test_production_is_not_asked_again(copy: Tiny) -> None:
    """Without the database and the file store, a finished experiment still runs."""
    (copy.root / "labels.sqlite").unlink()
    shutil.rmtree(copy.files)
    done = copy.handful("run", "--set", "train.EPOCHS=1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "prepare: up to date" in done.stdout
    assert "EPOCHS changed from" in done.stdout


def test_an_edited_function_redoes_what_depends_on_it(copy: Tiny) -> None:
    path = copy.experiment / "functions.py"
    text = path.read_text()
    path.write_text("# a remark\n" + text)
    assert "prepare: up to date" in copy.handful("status").stdout.replace("  ", " ") or (
        "to do" not in copy.handful("status").stdout
    )
    path.write_text(text.replace("[:64]", "[:32]"))
    told = copy.handful("status").stdout
    assert "encode_data in functions.py changed" in told
    assert "prepare has to run first" in told


@pytest.mark.slow
def test_a_store_that_lost_its_results_makes_them_again(copy: Tiny) -> None:
    shutil.rmtree(copy.store / "results")
    done = copy.handful("run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "prepare: up to date" in done.stdout
    assert (copy.store / "results/full_dataset/report.html").is_file()


@pytest.mark.slow
def test_from_and_until_and_redo(copy: Tiny) -> None:
    done = copy.handful("run", "--from", "test", "--redo", "test")
    assert done.returncode == 0, done.stderr
    assert "asked to do it again" in done.stdout
    looks = (copy.store / "results/full_dataset/evaluation/looks.jsonl").read_text()
    assert len(looks.splitlines()) == 2
    assert figures_told(copy) in done.stdout
    assert "looked at 2 times" in done.stdout
    done = copy.handful("run", "--until", "prepare")
    assert "train" not in done.stdout


@pytest.mark.slow
def test_two_models_and_two_seeds(tmp_path: Path) -> None:
    tiny = make(tmp_path / "tiny", artifacts=45)
    shutil.copytree(tiny.root / "model", tiny.root / "other")
    tiny.settings(MODEL_NAMES="../model, ../other", EPOCHS="1")
    done = tiny.handful("run", "--set", "train.SEEDS=0, 1", "--set", "train:../other.EPOCHS=2")
    assert done.returncode == 0, done.stdout + done.stderr
    evaluation = tiny.store / "results/full_dataset/evaluation"
    found = sorted(str(p.parent.relative_to(evaluation)) for p in evaluation.rglob("metrics.json"))
    probes = ["baseline-probe--model/seed-0", "baseline-probe--other/seed-0"]
    baselines = ["baseline-majority/seed-0", *probes, "baseline-tfidf/seed-0"]
    models = ["model/seed-0", "model/seed-1", "other/seed-0", "other/seed-1"]
    assert found == baselines + models
    assert len((evaluation / "looks.jsonl").read_text().splitlines()) == 1


def test_a_run_with_nothing_to_do_imports_nothing_heavy(copy: Tiny) -> None:
    import subprocess

    script = (
        "import sys, handful.cli\n"
        "sys.argv = ['handful', 'run', sys.argv[1]]\n"
        "try:\n    handful.cli.main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "print('\\n'.join(sorted({m.split('.')[0] for m in sys.modules})), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(copy.experiment)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "report: up to date" in done.stdout
    assert not set(done.stderr.split()) & {"torch", "transformers", "evaluate", "datasets"}


@pytest.mark.slow
def test_inside_production_what_only_reads_still_works(copy: Tiny) -> None:
    """A store that was put there when nobody looked: see `test_check_production`."""
    inside = copy.files / "store"
    shutil.move(copy.root / "store", inside)
    settings, functions = copy.experiment / "settings.ini", copy.experiment / "functions.py"
    settings.write_text(f"[experiment]\nSTORE = {inside}\n{settings.read_text()}")
    for command in ("status", "test", "compare", "report"):
        done = copy.handful(command)
        assert done.returncode == 0, done.stderr
        assert "up to date" in done.stdout
    assert copy.handful("run").returncode == 2
    assert copy.handful("report", "--redo").returncode == 2  # it would write there
    functions.write_text(functions.read_text().replace(', "labels": label2id[label]}', "}"))
    done = copy.handful("predict", str(copy.files / "artifact-0000"))
    assert done.returncode == 0, done.stderr
    assert '"artifact-0000"' in done.stdout


def states_told(text: str) -> dict[str, list[str]]:
    """Step → its lines, out of what `status --json` says."""
    found: dict[str, list[str]] = {}
    (table,) = (json.loads(line) for line in text.splitlines())
    assert table["event"] == "status"
    for step, _, state in table["rows"]:
        found.setdefault(step or list(found)[-1], []).append(state)
    return found


def test_status_lists_every_reason(copy: Tiny) -> None:
    functions = copy.experiment / "functions.py"
    functions.write_text(functions.read_text().replace("[:64]", "[:32]"))
    for gone in ("comparison.json", "evaluation/model/seed-0/predictions.parquet"):
        (copy.store / "results/full_dataset" / gone).unlink()
    changed = "prepare.SPLIT=0.7/0.2/0.1", "train.EPOCHS=1", "train.WARMUP=0.2"
    words = [word for one in changed for word in ("--set", one)]
    told = states_told(copy.handful("status", "--json", *words).stdout)
    evaluation = "results/full_dataset/evaluation/model/seed-0"
    assert told == {
        "reconcile": ["up to date"],
        "prepare": [
            "to do: [prepare] SPLIT changed from 0.6, 0.2, 0.2 to 0.7, 0.2, 0.1",
            "to do: encode_data in functions.py changed",
        ],
        "tune": ["to do: prepare has to run first"],
        "train": [
            "to do: tune has to run first",
            "to do: [train] EPOCHS changed from 6.0 to 1.0",
            "to do: [train] WARMUP changed from 0.1 to 0.2",
        ],
        "test": [
            "to do: train has to run first",
            f"to do: {evaluation}/predictions.parquet is gone from the store",
        ],
        "compare": [
            "to do: test has to run first",
            "to do: results/full_dataset/comparison.json is gone from the store",
        ],
        "report": ["to do: compare has to run first"],
    }
    shown = copy.handful("run", "--dry-run", *words, "--redo", "train").stdout
    assert "asked to do it again" in shown
    assert "WARMUP changed from 0.1 to 0.2" in shown


def test_status_tells_who_is_at_work_and_who_was(copy: Tiny) -> None:
    store, layout = open_store(str(copy.store)), Layout("full_dataset")
    now, far = datetime.now(UTC), "another machine"
    began = (now - timedelta(seconds=630)).isoformat()

    def left(folder: str, doing: str, process: ProcessIdentity, silent: float) -> None:
        beat = (now - timedelta(seconds=silent)).isoformat()
        holder = Holder("t", doing, "there", process, began, beat)
        store.write(f"{folder}/000003.json", holder.to_json())

    gone = ProcessIdentity(2**22, this_process().machine, "1")
    left(LOCK, "reconcile of X", gone, 1.0)
    for worker, silent in ((0, 1.0), (1, 2 * EXPIRES)):
        doing = f"prepare, worker {worker} of 3, of X"
        left(f"{layout.prepared_lock}-worker-{worker}", doing, ProcessIdentity(7, far, "1"), silent)
    with hold_lock(store, layout.results_lock, "train of X"):
        told = states_told(copy.handful("status", "--json").stdout)
    ago = "(began 10 minutes ago)"
    assert told["reconcile"] == [
        "up to date",
        f"cut off: process 4194304 on there is gone {ago}; the same command goes on where it was",
    ]
    assert told["prepare"] == [
        "up to date",
        f"in progress: process 7 on there, worker 0 of 3 {ago}",
        f"perhaps cut off: process 7 on there {ago} was last heard of 3 minutes ago",
    ]
    assert told["train"][0] == "up to date"
    assert told["train"][1].startswith(f"in progress: process {this_process().pid} on ")
    assert [step for step, lines in told.items() if len(lines) == 1] == [
        *("tune", "test", "compare", "report")
    ]


def figures_told(tiny: Tiny) -> str:
    """How `test` tells the macro_f1 of the model."""
    folder = tiny.store / "results/full_dataset/evaluation/model/seed-0"
    metrics = json.loads((folder / "metrics.json").read_text())
    value, found = metrics["metrics"]["macro_f1"], metrics["intervals"]["macro_f1"]
    return f"{value:.3f} ({found['low']:.3f} to {found['high']:.3f})"


@pytest.mark.slow
def test_test_and_compare_that_are_up_to_date_tell_their_numbers(copy: Tiny) -> None:
    told = copy.handful("test").stdout
    assert "test: up to date" in told
    (line,) = [one for one in told.splitlines() if "model seed 0  " in one]
    assert figures_told(copy) in line
    assert "baseline-tfidf" in told
    assert "Ranking on" in copy.handful("compare").stdout


@pytest.mark.slow
def test_report_compares_what_was_tested_and_trains_nothing(copy: Tiny) -> None:
    results = copy.store / "results/full_dataset"
    for name in ("compared.json", "comparison.json", "report.html", "reported.json"):
        (results / name).unlink()
    left = {p: p.read_bytes() for p in results.rglob("*") if p.is_file() and "lock" not in p.parts}
    done = copy.handful("report", "--set", "train.EPOCHS=1")
    assert done.returncode == 0, done.stderr
    assert "compare: not done yet" in done.stdout
    assert "train is taken as it stands, although [train] EPOCHS changed" in done.stdout
    assert "is chosen" in done.stdout or "There is one model" in done.stdout
    assert 'id="ranking"' in (results / "report.html").read_text()
    assert {path: path.read_bytes() for path in left} == left


@pytest.mark.slow
def test_report_without_predictions_says_what_to_do(copy: Tiny) -> None:
    results = copy.store / "results/full_dataset"
    (results / "evaluation/model/seed-0/predictions.parquet").unlink()
    (results / "reported.json").unlink()
    for gone in ("reported.json", "compared.json"):  # with a verdict, and without
        (results / gone).unlink(missing_ok=True)
        done = copy.handful("report")
        assert done.returncode == 1, done.stdout
        assert "predictions.parquet" in done.stderr
        assert "it is gone" in done.stderr
        assert "--redo test" in done.stderr
    (results / "tested.json").unlink()
    done = copy.handful("report")
    assert done.returncode == 2
    assert "test has not been done yet" in done.stderr
    assert not (results / "reported.json").exists()
