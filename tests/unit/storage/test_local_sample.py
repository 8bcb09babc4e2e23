"""A directory is sampled at random places, and no folder of millions is read whole."""

from __future__ import annotations

import os
import time
from pathlib import Path
from random import Random

import pytest

from handful.errors import Absent, Denied
from handful.storage.local import sample
from handful.storage.local.store import LocalSource
from handful.storage.sampling import KeyCollector, names_a_file, run_length


def taken(root: Path, most: int = 10_000, seconds: float = 30, seed: int = 0) -> KeyCollector:
    into = KeyCollector(most, Random(seed), time.monotonic() + seconds)
    LocalSource(root).sample(into)
    return into


def fill(root: Path, keys: list[str]) -> None:
    for key in keys:
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_small_tree_is_taken_whole(tmp_path: Path) -> None:
    keys = [f"{n % 7}/{n}/text.txt" for n in range(200)]
    fill(tmp_path, keys)
    (tmp_path / "0" / "0" / "text.txt").write_bytes(b"12345")
    found = taken(tmp_path)
    assert found.is_all
    assert set(found.sizes) == set(keys)
    assert found.sizes["0/0/text.txt"] == 5
    assert not found.edges


def test_a_deep_tree_is_sampled_in_most_folders(tmp_path: Path) -> None:
    months = [f"{year}/{month:02}" for year in (23, 24) for month in (1, 2)]
    days = [f"{month}/{day:02}" for month in months for day in range(1, 20)]
    fill(tmp_path, [f"{day}/{n:02}/{name}" for day in days for n in range(10) for name in "abc"])
    found = taken(tmp_path, most=600)
    assert not found.is_all
    assert len(found.sizes) == 600
    assert len({key[:8] for key in found.sizes}) >= 0.8 * len(days)
    whole = [key for key in found.sizes if key.endswith("a")]
    assert all({f"{key[:-1]}b", f"{key[:-1]}c"} <= set(found.sizes) for key in whole[:100])


def fill_flat(root: Path, artifacts: int) -> Path:
    """A folder of two names for each artifact."""
    for number in range(artifacts):
        for name in "ab":
            os.close(os.open(root / f"{number:06}_{name}.png", os.O_CREAT | os.O_WRONLY))
    return root


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 20,000 names."""
    return fill_flat(tmp_path_factory.mktemp("flat"), 10_000)


def check_flat(found: KeyCollector, most: int) -> None:
    assert not found.is_all
    assert len(found.sizes) == most
    both = sum(f"{key[:7]}b.png" in found.sizes for key in found.sizes if "_a" in key)
    assert both > 0.9 * most / 2


def test_a_flat_folder(flat: Path) -> None:
    found = taken(flat, most=4_000)
    check_flat(found, 4_000)
    assert len({key[:3] for key in found.sizes}) == 10


@pytest.mark.slow
def test_a_flat_folder_of_200_000_names(tmp_path: Path) -> None:
    fill_flat(tmp_path, 100_000)
    began = time.monotonic()
    found = taken(tmp_path)
    assert time.monotonic() - began < 20
    check_flat(found, 10_000)
    assert len({key[:2] for key in found.sizes}) == 10


def test_a_folder_is_read_no_further_than_the_bound(
    flat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "MOST_NAMES", 3_000)
    seen = 0
    scandir = os.scandir

    class Counting:
        def __init__(self, path: str) -> None:
            self.found = scandir(path)

        def __enter__(self) -> Counting:
            return self

        def __exit__(self, *_: object) -> None:
            self.found.close()

        def __iter__(self) -> Counting:
            return self

        def __next__(self) -> os.DirEntry[str]:
            nonlocal seen
            seen += 1
            return next(self.found)

    monkeypatch.setattr(sample.os, "scandir", Counting)
    found = taken(flat, most=1_000)
    assert seen <= 3_001
    assert len(found.sizes) == 1_000
    assert found.edges == set(found.sizes)  # of none of them it is known what stands beside


def test_the_time_is_kept(flat: Path) -> None:
    began = time.monotonic()
    found = taken(flat, seconds=0)
    assert time.monotonic() - began < 1
    assert not found.is_all


def test_no_link_leads_out(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    fill(outside, ["secret.txt", "deep/secret.txt"])
    fill(root, [f"{n:03}/text.txt" for n in range(30)])
    (root / "out.txt").symlink_to(outside / "secret.txt")
    (root / "deep").symlink_to(outside / "deep")
    (root / "round").symlink_to(root)
    (root / "in.txt").symlink_to(root / "000" / "text.txt")
    (root / "broken.txt").symlink_to(root / "nothing")
    listed = {key for batch in LocalSource(root).list() for key in batch["key"].to_pylist()}
    assert set(taken(root).sizes) == listed
    assert "in.txt" in listed
    for seed in range(10):
        assert set(taken(root, most=25, seed=seed).sizes) <= listed


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    fill(tmp_path, ["a/b.txt"])
    assert set(taken(tmp_path).sizes) == {"a/b.txt"}


def test_hostile_names_are_harmless(tmp_path: Path) -> None:
    fill(tmp_path, ["good/a.txt", "line\nbreak.txt", "b" * 250 + ".tx", ".handful-tmp/x"])
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).touch()
    found = set(taken(tmp_path).sizes)
    assert found == {"good/a.txt", "b" * 250 + ".tx", "\\xff.txt"}


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Absent):
        taken(tmp_path / "nothing")
    (tmp_path / "file").touch()
    with pytest.raises(Absent, match="not a directory"):
        taken(tmp_path / "file")


def test_a_root_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(sample.os, "scandir", refuse)
    with pytest.raises(Denied):
        taken(tmp_path)


def test_a_folder_that_may_not_be_read_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, [f"{top}/{n}.txt" for top in ("open", "shut") for n in range(20)])
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(sample.os, "scandir", refuse)
    found = taken(tmp_path)
    assert set(found.sizes) == {f"open/{n}.txt" for n in range(20)}
    assert not found.is_all


@pytest.mark.parametrize(
    ("key", "size", "is_one"),
    [
        ("a/b.txt", 0, True),
        ("a/", 0, False),
        ("a/", 3, False),
        ("a_$folder$", 0, False),
        ("a_$folder$", 3, True),
        ("../a", 1, False),
        ("a//b", 1, False),
        (".handful-tmp/a", 1, False),
        ("", 1, False),
    ],
)
def test_what_names_a_file(key: str, size: int, is_one: bool) -> None:
    assert names_a_file(key, size) is is_one


@pytest.mark.parametrize(
    ("keys", "length"),
    [
        ([f"{n:04}.pdf" for n in range(500)], 40),
        ([f"{n:04}/{m:02}.png" for n in range(40) for m in range(25)], 75),
        ([f"a/{n:04}/{m:03}.png" for n in range(10) for m in range(60)], 120),
        ([f"2024/01/{n:04}/{m}.png" for n in range(300) for m in range(3)], 40),
        ([], 40),
    ],
)
def test_runs_hold_some_whole_artifacts(keys: list[str], length: int) -> None:
    assert run_length(keys, 10_000) == length
