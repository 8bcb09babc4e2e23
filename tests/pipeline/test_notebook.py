"""`handful.Experiment`, and the notebook of the examples, run whole."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import handful
from handful.errors import UserError
from handful.user_functions.load import load_functions
from tests.support.progress import Recording
from tests.support.tiny import Tiny, make

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "python.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def finished(tiny: Tiny) -> handful.Experiment:
    experiment = handful.Experiment.open(
        tiny.experiment, overrides={"train.EPOCHS": 2}, progress=Recording()
    )
    with pytest.raises(UserError, match=r"(?s)reconcile has not been done yet.*run\(until="):
        experiment.ledger()
    return experiment.run()


def test_the_command_line_finds_what_python_has_done(
    tiny: Tiny, finished: handful.Experiment
) -> None:
    done = tiny.handful("run", "--set", "train.EPOCHS=2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("up to date") == 7
    assert finished.status()["up_to_date"].all()


def test_a_few_artifacts_are_there_to_try_encode_data_on(
    tiny: Tiny, finished: handful.Experiment
) -> None:
    found = finished.instances(4)
    assert {one.label for one in found} == {"invoice", "letter", "report"}
    assert len({one.id for one in found}) == 4
    for one in found:
        path = one["text.txt"]
        assert isinstance(path, Path)
        assert path.read_bytes() == (tiny.files / one.id / "text.txt").read_bytes()
        encoded = load_functions(tiny.experiment).call(
            "encode_data", instance=one, label2id={one.label: 0}, model_name=tiny.root / "model"
        )
        assert len(encoded.features["input_ids"]) > 0


def test_the_tables_are_those_of_the_store(tiny: Tiny, finished: handful.Experiment) -> None:
    assert finished.ledger().equals(
        pl.read_parquet(tiny.store / "data/reconciliation/ledger.parquet")
    )
    drawn = dict(finished.splits()["split"].value_counts().rows())
    assert drawn == {"train": 36, "validation": 12, "test": 12}
    predictions = finished.predictions(model="model", seed=0)
    evaluated = tiny.store / "results/full_dataset/evaluation/model/seed-0"
    kept = pl.read_parquet(evaluated / "predictions.parquet")
    assert predictions.drop("model", "seed").equals(kept)
    assert set(finished.predictions()["model"]) >= {"model", "baseline-tfidf", "baseline-majority"}
    with pytest.raises(UserError, match="no predictions of other"):
        finished.predictions("other")


def test_the_comparison_is_a_table(tiny: Tiny, finished: handful.Experiment) -> None:
    told = json.loads((tiny.store / "results/full_dataset/comparison.json").read_text())
    table = finished.comparison()
    assert table["model"].to_list() == [one["model"] for one in told["ranking"]]
    first = table.row(0, named=True)
    assert first["macro_f1"] == told["ranking"][0]["metrics"]["macro_f1"]["value"]
    assert first["macro_f1_low"] <= first["macro_f1"] <= first["macro_f1_high"]
    assert finished.verdict() == "\n".join(told["sentences"])


def test_what_is_made_of_a_dataset_stays_out_of_the_store(
    tiny: Tiny, finished: handful.Experiment
) -> None:
    before = sorted(path for path in tiny.store.rglob("*"))
    found = finished.dataset("train")
    assert found.num_rows == 36
    short = found.filter(lambda row: row["length"] < 20)
    assert 0 < short.num_rows < 36
    assert short.cache_files
    assert sorted(path for path in tiny.store.rglob("*")) == before


def test_the_report_shows_itself(finished: handful.Experiment, tmp_path: Path) -> None:
    page = finished.report()
    assert page.save(tmp_path / "report.html").read_text() == page.html
    assert page._repr_html_().startswith("<iframe sandbox=")


def test_what_happens_is_told(finished: handful.Experiment, tiny: Tiny) -> None:
    heard = Recording()
    handful.Experiment.open(tiny.experiment, overrides={"train.EPOCHS": 2}, progress=heard).run(
        until="prepare"
    )
    assert any("prepare: up to date" in note for note in heard.notes)


def test_the_page_of_the_documentation_runs(
    tiny: Tiny, finished: handful.Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path(shutil.copytree(tiny.root, tmp_path / "home", symlinks=True))
    (home / tiny.experiment.name).rename(home / "EXP-0007-mine")
    shutil.rmtree(home / "store")
    monkeypatch.chdir(home)
    (home / "page.py").write_text("\n\n".join(BLOCKS))
    done = subprocess.run(
        [sys.executable, "page.py"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (home / "store/EXP-0008-small/data/prepared_data").is_dir()


CELLS = (
    """
import dataclasses
import xml.etree.ElementTree

from torch import nn


@dataclasses.dataclass(frozen=True)
class Size:
    wide: int = 7


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(1, 1)
""",
    """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(Size().wide, 2)


def load_model(model_name):
    return Net()


def get_dataset_features():
    return {}


def encode_data(instance):
    return {"x": xml.etree.ElementTree.fromstring("<a>5</a>").text}
""",
    """
from handful.user_functions.write_source import format_functions

print(format_functions([load_model, get_dataset_features, encode_data]))
""",
)


def test_classes_and_submodules_of_cells_are_written_as_they_were_defined_last(
    tmp_path: Path,
) -> None:
    import nbformat
    from nbclient import NotebookClient

    cells = [nbformat.v4.new_code_cell(cell) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    (output,) = notebook.cells[-1].outputs
    (tmp_path / "functions.py").write_text(output["text"])

    functions = load_functions(tmp_path)
    assert functions.call("load_model", model_name="x").out.in_features == 7
    assert functions.call("encode_data", instance={}) == {"x": "5"}


def test_the_notebook_of_the_examples_runs(tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    for name in ("build_reviews.py", "build_business.py", "get_model.py", "reviews.ipynb"):
        shutil.copy(ROOT / "examples" / name, tmp_path / name)
    notebook = nbformat.read(tmp_path / "reviews.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs are not committed"
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    client = NotebookClient(
        notebook,
        timeout=280,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute(env=env)

    shown = json.dumps(notebook.cells)
    assert "artifact_id='a-new-one', label='" in shown
    assert " is chosen: the best of 1 model and 1 probe" in shown
    assert "<iframe sandbox=" in shown
    store = tmp_path / "store/EXP-0003-notebook/results/partial_dataset"
    assert (store / "report.html").is_file()
