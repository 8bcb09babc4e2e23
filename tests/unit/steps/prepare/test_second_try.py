"""Which quarantined artifacts are tried again: those whose cause may be gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from handful import layout
from handful.experiment.context import Experiment
from handful.layout import Layout
from handful.progress import Silent
from handful.settings import Settings
from handful.steps.prepare import quarantine
from handful.steps.prepare.quarantine import Quarantined
from handful.steps.prepare.second_try import list_unread_twice, worth_a_second_try
from handful.storage.local.store import LocalStore

UNREAD = "OSError: [Errno 5] Input/output error"
CONTENT = "ValueError: no text"


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    store = LocalStore(tmp_path / "store")
    settings: Settings = None  # type: ignore[assignment]  # nothing here asks for one
    return Experiment(tmp_path, settings, store, Layout("full_dataset"), Silent(), tmp_path)


def set_aside(experiment: Experiment, *found: Quarantined, twice: tuple[str, ...] = ()) -> None:
    key = f"{experiment.layout.encoded('bert')}/{layout.QUARANTINE}"
    experiment.store.write(key, quarantine.as_parquet(found, twice))


def one(name: str, error: str, **sizes: int) -> Quarantined:
    files = {name.replace("_", "."): size for name, size in sizes.items()}
    return Quarantined(name, "label", error, "", tuple(files), tuple(files.values()))


def put(experiment: Experiment, name: str, file: str, size: int) -> None:
    experiment.store.write(layout.artifact_file(name, file), b"x" * size)


def test_what_stands_as_it_did_is_not_tried_again(experiment: Experiment) -> None:
    put(experiment, "a", "text.txt", 5)
    set_aside(experiment, one("a", CONTENT, text_txt=5))
    assert worth_a_second_try(experiment.store, experiment.layout.encoded("bert")) == []


def test_a_file_of_another_size_is_tried_again(experiment: Experiment) -> None:
    put(experiment, "a", "text.txt", 10)
    put(experiment, "b", "text.txt", 5)
    set_aside(experiment, one("a", CONTENT, text_txt=5), one("b", CONTENT, text_txt=5))
    assert worth_a_second_try(experiment.store, experiment.layout.encoded("bert")) == ["a"]


def test_a_file_that_was_missing_and_is_there_is_tried_again(experiment: Experiment) -> None:
    put(experiment, "a", "text.txt", 5)
    put(experiment, "b", "text.txt", 5)
    put(experiment, "b", "more.txt", 1)
    missing = "missing input: more.txt"
    set_aside(experiment, one("a", missing, text_txt=5), one("b", missing, text_txt=5))
    assert worth_a_second_try(experiment.store, experiment.layout.encoded("bert")) == ["b"]


def test_what_could_not_be_read_is_tried_once_more_and_no_more(experiment: Experiment) -> None:
    put(experiment, "a", "text.txt", 5)
    set_aside(experiment, one("a", UNREAD, text_txt=5))
    assert worth_a_second_try(experiment.store, experiment.layout.encoded("bert")) == ["a"]
    twice = list_unread_twice(
        experiment.store, experiment.layout.encoded("bert"), {"a": UNREAD, "b": UNREAD}
    )
    assert twice == ["a"]
    set_aside(experiment, one("a", UNREAD, text_txt=5), twice=tuple(twice))
    assert worth_a_second_try(experiment.store, experiment.layout.encoded("bert")) == []


def test_what_an_earlier_build_could_not_read_stays(experiment: Experiment) -> None:
    import io

    import pyarrow.parquet as pq

    put(experiment, "a", "text.txt", 5)
    table = pq.read_table(io.BytesIO(quarantine.as_parquet([one("a", UNREAD, text_txt=5)])))
    file = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(None), file)
    key = f"{experiment.layout.encoded('bert')}/{layout.QUARANTINE}"
    experiment.store.write(key, file.getvalue())
    assert worth_a_second_try(experiment.store, experiment.layout.encoded("bert")) == []


def test_one_that_is_damaged_or_gone_gives_nothing(experiment: Experiment) -> None:
    assert worth_a_second_try(experiment.store, experiment.layout.encoded("bert")) == []
    experiment.store.write(f"{experiment.layout.encoded('bert')}/{layout.QUARANTINE}", b"PAR1")
    assert worth_a_second_try(experiment.store, experiment.layout.encoded("bert")) == []
