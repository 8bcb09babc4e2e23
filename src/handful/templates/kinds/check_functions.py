"""Do the functions work? `pytest` runs them on three artifacts.

They are the experiment's own as soon as `handful reconcile` has copied some, and small documents
that are made here until then.
"""

from pathlib import Path

import pytest
from sample import write_document
from transformers import AutoConfig

import handful
from handful.errors import UserError
from handful.functions import load_functions

HERE = Path(__file__).parent
DOCUMENT = "document"  # as in MODEL_INPUT_FILES
FILE = "document"  # a file of this name
MODEL = "model"  # one of MODEL_NAMES
WORDS = ("the invoice is due", "dear sir or madam", "the mean of all figures")


@pytest.fixture
def model_name():
    name = str(HERE / MODEL) if (HERE / MODEL).is_dir() else MODEL
    try:
        AutoConfig.from_pretrained(name)
    except OSError as error:
        pytest.skip(f"{MODEL} cannot be had here: {error}")
    return name


@pytest.fixture
def instances(tmp_path):
    """What encode_data is given, of three artifacts."""
    try:
        return handful.Experiment.open(HERE).instances(3, folder=tmp_path)
    except UserError:  # nothing has been reconciled yet
        return [small_instance(tmp_path / str(place), words) for place, words in enumerate(WORDS)]


def small_instance(folder, words):
    path = folder / FILE
    path.parent.mkdir(parents=True)
    write_document(path, words)
    return {DOCUMENT: path}


def encode(instance, **menu):
    try:
        return load_functions(HERE).call("encode_data", instance=instance, **menu)
    except Exception as error:  # noqa: BLE001 - a broken document costs that document only
        return error


def test_artifacts_become_rows_of_the_features(instances, model_name):
    menu = {"model_name": model_name, "label2id": {"one": 0, "other": 1}}
    features = load_functions(HERE).call("get_dataset_features", **menu)
    results = [encode(instance, **menu) for instance in instances]
    rows = [getattr(result, "features", result) for result in results if result is not None]
    rows = [row for row in rows if not isinstance(row, Exception)]
    assert rows, f"none of {len(results)} could be encoded: {results}"
    for row in rows:
        saved = features.encode_example({"labels": 0, **row})
        assert set(saved) == set(features)
        assert all(len(value) > 0 for name, value in saved.items() if name != "labels")
