"""A file of the store that is not as it was written: found, named, and made again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handful import layout
from handful.errors import Damaged
from handful.experiment.context import Experiment, open_experiment
from handful.experiment.step_files import check_files, files_of
from handful.files import checksums
from handful.pipeline.run import run
from handful.pipeline.step import Choice, Records, Step
from handful.pipeline.step_status import load_step_record, look, states
from handful.pipeline.steps import STEPS
from handful.progress import Silent
from handful.records import Record
from tests.support.first_stores import WHOLE, contents, handful, unpack

Harm = Callable[[bytes], bytes | None]
HARMS: dict[str, Harm] = {
    "flipped": lambda data: (
        data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
    ),
    "truncated": lambda data: data[: len(data) - 1 - len(data) // 3],
    "emptied": lambda _: b"",
    "removed": lambda _: None,
}


def opened(root: Path, scratch: Path) -> Experiment:
    return open_experiment(root / WHOLE, (), Silent(), scratch)


def name_files(experiment: Experiment) -> None:
    """Give the records of an older build what they would say of their files."""
    store = experiment.store
    for final in Path(store.url).glob("results/*/models/*/*/final"):
        record = json.loads((final / layout.FINAL_RECORD).read_bytes())
        files = checksums.of_folder(final, but=layout.FINAL_RECORD)
        record[checksums.FILES] = checksums.to_json(files)
        data = checksums.seal(json.dumps(record, indent=2).encode())
        (final / layout.FINAL_RECORD).write_bytes(data)
    for step in STEPS:
        record = load_step_record(experiment.store, step.kept_at(experiment), step)
        assert record is not None
        named = replace(record, files=files_of(store, experiment.layout, record, {}))
        store.write(step.kept_at(experiment), named.to_json())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A store and records that name all of it. Each test puts back what it harms."""
    folder = tmp_path_factory.mktemp("damage")
    (folder / "scratch").mkdir()
    experiment = opened(unpack(folder), folder / "scratch")
    name_files(experiment)
    return opened(folder, folder / "scratch")


class Harmed:
    """The file at `key` is harmed during the body; then it is as it was, time stamp and all."""

    def __init__(self, experiment: Experiment, key: str, harm: Harm) -> None:
        self.path, self.harm = Path(experiment.store.url, key), harm

    def __enter__(self) -> None:
        self.whole, self.status = self.path.read_bytes(), self.path.stat()
        new = self.harm(self.whole)
        if new is None:
            self.path.unlink()
        else:
            self.path.write_bytes(new)

    def __exit__(self, *_: object) -> None:
        import os

        self.path.write_bytes(self.whole)
        os.utime(self.path, ns=(self.status.st_atime_ns, self.status.st_mtime_ns))


def record_of(experiment: Experiment, step: Step) -> Record:
    found = load_step_record(experiment.store, step.kept_at(experiment), step)
    assert found is not None
    return found


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_each_file_that_a_record_names_is_told(whole: Experiment, step: Step, harm: str) -> None:
    """By its size alone, but for what is flipped: that takes --verify, or who reads it."""
    record = record_of(whole, step)
    assert record.files or step.name == "tune"
    fresh = opened(whole.directory.parent, whole.scratch)
    keys = [*record.files]
    for final in Path(whole.store.url).glob("results/*/models/*/*/final"):
        if step.name == "train":
            names = checksums.of_folder(final, but=layout.FINAL_RECORD)
            keys += [f"{final.relative_to(whole.store.url)}/{name}" for name in names]
    for key in keys:
        with Harmed(whole, key, HARMS[harm]):
            outputs = step.outputs(whole, record)
            gone, sizes = check_files(whole.store, record, outputs)
            _, contents = check_files(whole.store, record, outputs, verify=whole.progress)
            if harm == "removed" and key in outputs:
                assert gone == [key]  # as ever: the step makes it again by itself
                continue
            assert [one.fault.where for one in contents] == [f"{whole.store.url}/{key}"]
            assert (sizes == []) == (harm == "flipped")
            again = "--refresh" if key in layout.SNAPSHOT_FILES else f"--redo {step.name}"
            again = "--refresh" if key == layout.STATS else again
            assert contents[0].fault.remedy.endswith(f"run {whole.directory} {again}`")
            if layout.checksum_record_keys(key):
                with pytest.raises(Damaged):
                    fresh.store.read(key)


@pytest.mark.parametrize("harm", ["flipped", "truncated", "emptied"])
def test_each_record_and_marker_is_told(whole: Experiment, harm: str) -> None:
    records: Records = {step.name: record_of(whole, step) for step in STEPS}
    for step in STEPS:
        before = {name: records[name] for name in list(records)[: STEPS.index(step)]}
        keys = [step.kept_at(whole)]
        keys += [k for k in step.outputs(whole, records[step.name]) if layout.checks_itself(k)]
        for key in keys:
            if key == layout.SNAPSHOT:  # of a build that wrote no checksum into it
                continue
            with Harmed(whole, key, HARMS[harm]):
                fresh = opened(whole.directory.parent, whole.scratch)
                state = look(fresh, step, before)
                assert [one.fault.where for one in state.damage] == [f"{whole.store.url}/{key}"]
                assert f"--redo {step.name}" in state.damage[0].fault.remedy


def test_whole_it_is_up_to_date_and_a_run_changes_no_byte(whole: Experiment) -> None:
    before = contents(Path(whole.store.url))
    assert [state.up_to_date for state in states(whole, STEPS, verify=True)] == [True] * 7
    run(opened(whole.directory.parent, whole.scratch), Choice(verify=True))
    assert contents(Path(whole.store.url)) == before


def test_a_run_on_what_is_damaged_stops_before_it_does_anything(whole: Experiment) -> None:
    splits = whole.layout.splits
    before = contents(Path(whole.store.url))
    with Harmed(whole, splits, HARMS["truncated"]):
        for choice in (Choice(), Choice(first="train"), Choice(last="report")):
            fresh = opened(whole.directory.parent, whole.scratch)
            with pytest.raises(Damaged, match=r"splits\.parquet: is damaged: it has"):
                run(fresh, choice)
    flipped = whole.layout.comparison
    with Harmed(whole, flipped, HARMS["flipped"]):
        fresh = opened(whole.directory.parent, whole.scratch)
        with pytest.raises(Damaged, match=r"comparison\.json: is damaged: its content"):
            run(fresh, Choice(verify=True))
    assert contents(Path(whole.store.url)) == before


def test_status_tells_it_and_ends_with_1(whole: Experiment) -> None:
    root, key = whole.directory.parent, whole.layout.metrics("bag", 0)
    assert Path(whole.store.url, key).is_file()
    with Harmed(whole, key, HARMS["flipped"]):
        assert "damaged" not in handful(root, "status", WHOLE)
        told = handful(root, "status", WHOLE, "--verify", status=1)
    assert f"{key} is damaged: its content is not what was written" in " ".join(told.split())
    assert f"handful run {whole.directory} --redo test" in told


@pytest.mark.slow
def test_a_record_without_checksums_gets_them_with_the_next_write(tmp_path: Path) -> None:
    root = unpack(tmp_path)
    (tmp_path / "scratch").mkdir()
    experiment = opened(root, tmp_path / "scratch")
    run(experiment, Choice(first="compare", redo=frozenset({"compare"})))
    told: dict[str, Any] = json.loads(
        Path(experiment.store.url, experiment.layout.compared_record).read_bytes()
    )
    assert experiment.layout.comparison in told["files"]
    assert told["checksum"]
    # Whatever was not written stays as it was.
    record = Path(experiment.store.url, experiment.layout.tested_record).read_bytes()
    assert b'"files": {' not in record
