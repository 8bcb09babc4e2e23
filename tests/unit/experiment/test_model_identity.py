"""A local model is its content: a changed file is another model, a moved folder is the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from handful.experiment.model_identity import encoding_identity, model_identity


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "a-model"
    (folder / "more").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "more/model.safetensors").write_bytes(b"weights")
    return folder


def test_weights_count_for_training_only(model: Path) -> None:
    whole, encoding = model_identity(str(model)), encoding_identity(str(model))
    (model / "more/model.safetensors").write_bytes(b"other weights")
    assert model_identity(str(model)) != whole
    assert encoding_identity(str(model)) == encoding


def test_a_changed_tokenizer_counts_for_both(model: Path) -> None:
    whole, encoding = model_identity(str(model)), encoding_identity(str(model))
    (model / "tokenizer.json").write_text('{"truncation": null}')
    assert model_identity(str(model)) != whole
    assert encoding_identity(str(model)) != encoding


def test_a_moved_model_is_the_same_and_a_renamed_file_is_not(model: Path, tmp_path: Path) -> None:
    whole = model_identity(str(model))
    moved = tmp_path / "moved"
    shutil.move(model, moved)
    link = tmp_path / "link"
    link.symlink_to(moved, target_is_directory=True)
    assert model_identity(str(moved)) == model_identity(str(link)) == whole
    (moved / "config.json").rename(moved / "settings.json")
    assert model_identity(str(moved)) != whole


def test_other_models_are_their_names() -> None:
    for name in ("org/model", "s3://bucket/model"):
        assert model_identity(name) == encoding_identity(name) == name
