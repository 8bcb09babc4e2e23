"""What is read is compared with what the records say, and a record forgets what is replaced."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from handful import layout
from handful.errors import Absent, Damaged, Locked
from handful.files import checksums
from handful.layout import Layout
from handful.storage.checked import CheckedStore, Rules
from handful.storage.local.store import LocalStore

MINE = Layout("full_dataset")
SPLIT = MINE.encoded_split("bert", "train")
RULES = Rules(
    layout.checksum_record_keys,
    layout.checks_itself,
    lambda key: layout.remedy_for(key, "EXP-0001"),
)


@pytest.fixture
def bare(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def opened(bare: LocalStore) -> CheckedStore:
    """As another process opens it: it knows nothing but what the records say."""
    return CheckedStore(bare, RULES)


@pytest.fixture
def store(bare: LocalStore, tmp_path: Path) -> CheckedStore:
    """With a label map, a split, and the record that names them."""
    mine = opened(bare)
    mine.write(MINE.label2id, b'{"a": 0, "b": 1}')
    folder = tmp_path / "split"
    folder.mkdir()
    (folder / "data.arrow").write_bytes(b"rows of the split")
    (folder / "state.json").write_bytes(b"{}")
    mine.send_tree(folder, SPLIT, last="state.json")
    record = {"made_from": {}, "files": checksums.to_json(mine.written())}
    mine.write(MINE.prepared_record, json.dumps(record).encode())
    return opened(bare)


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [flipped, truncated, emptied, Path.unlink])
def test_damage_names_the_file_and_what_makes_it_again(
    store: CheckedStore, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    reading: dict[str, Callable[[str], object]] = {
        MINE.label2id: store.read,
        f"{SPLIT}/data.arrow": lambda _: store.fetch_tree(SPLIT, tmp_path),
        f"{SPLIT}/state.json": lambda key: store.fetch(key, tmp_path / "fetched"),
    }
    for key, read in reading.items():
        read(key)
        whole = Path(store.url, key).read_bytes()
        harm(Path(store.url, key))
        with pytest.raises(Damaged, match="is damaged") as told:
            read(key)
        assert told.value.fault.where == f"{store.url}/{key}"
        assert told.value.exit_status == 1
        assert "handful run EXP-0001 --redo prepare" in told.value.fault.remedy
        Path(store.url, key).write_bytes(whole)


@pytest.mark.parametrize("harm", [flipped, truncated, emptied])
def test_a_damaged_record_is_found_too(store: CheckedStore, harm: Callable[[Path], None]) -> None:
    harm(Path(store.url, MINE.prepared_record))
    for key in (MINE.prepared_record, MINE.label2id):
        with pytest.raises(Damaged, match=r"prepared\.json"):
            store.read(key)


def test_every_byte_of_what_checks_itself_counts(bare: LocalStore) -> None:
    mine = opened(bare)
    mine.write(MINE.prepared_record, json.dumps({"made_from": {"a": "b"}, "n": 12}).encode())
    path = Path(bare.url, MINE.prepared_record)
    whole = path.read_bytes()
    assert json.loads(whole)["n"] == 12
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            found = json.loads(mine.read(MINE.prepared_record))
        except Damaged:
            continue
        # What is left as good is what it said: only the name of the checksum was hit.
        assert {name: found[name] for name in ("made_from", "n")} == {
            "made_from": {"a": "b"},
            "n": 12,
        }


def test_records_without_checksums_are_taken_as_they_are(bare: LocalStore) -> None:
    bare.write(MINE.prepared_record, b'{"made_from": {}}')
    bare.write(MINE.label2id, b"{}")
    assert opened(bare).read(MINE.label2id) == b"{}"
    assert opened(bare).read(MINE.prepared_record) == b'{"made_from": {}}'
    with pytest.raises(Absent):
        opened(bare).read(MINE.splits)


def test_whoever_is_killed_after_a_write_leaves_nothing_that_seems_damaged(
    store: CheckedStore, bare: LocalStore, tmp_path: Path
) -> None:
    """The record names the old file until just before; then it forgets that one alone."""
    store.write(MINE.label2id, b'{"c": 0}')
    later = opened(bare)
    assert later.read(MINE.label2id) == b'{"c": 0}'
    files = json.loads(later.read(MINE.prepared_record))["files"]
    assert [*files] == [f"{SPLIT}/data.arrow", f"{SPLIT}/state.json"]
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "state.json").write_bytes(b"{}")
    store.send_tree(tmp_path / "new", SPLIT, last="state.json")
    later = opened(bare)
    later.fetch_tree(SPLIT, tmp_path)
    assert [*json.loads(later.read(MINE.prepared_record))["files"]] == [f"{SPLIT}/state.json"]
    store.delete([f"{SPLIT}/state.json"])
    assert "files" in json.loads(opened(bare).read(MINE.prepared_record))
    with pytest.raises(Absent):
        opened(bare).read(f"{SPLIT}/state.json")


def test_the_same_content_changes_no_record(store: CheckedStore) -> None:
    before = Path(store.url, MINE.prepared_record).read_bytes()
    store.write(MINE.label2id, b'{"a": 0, "b": 1}')
    assert Path(store.url, MINE.prepared_record).read_bytes() == before


def test_what_others_write_is_taken_as_they_tell(store: CheckedStore, bare: LocalStore) -> None:
    store.overlook([MINE.label2id])
    bare.write(MINE.label2id, b'{"other": 0}')
    assert store.read(MINE.label2id) == b'{"other": 0}'
    store.note({MINE.label2id: checksums.of_bytes(b"told")})
    with pytest.raises(Damaged):
        store.read(MINE.label2id)


def test_what_a_damaged_record_names_can_be_made_again(store: CheckedStore) -> None:
    truncated(Path(store.url, MINE.prepared_record))
    store.distrust(MINE.prepared_record)
    store.write(MINE.label2id, b"{}")
    assert store.read(MINE.label2id) == b"{}"


class Lost:
    """The fence of somebody who has lost the lock."""

    token, key, above = "mine", "lock/000001.json", "lock/000002.json"

    def to_json(self) -> Mapping[str, Any]:
        return {}

    def check(self) -> None:
        raise Locked("lost")

    check_now = check


def test_a_fenced_one_knows_the_same(store: CheckedStore) -> None:
    mine = store.fenced(Lost())
    with pytest.raises(Locked, match="lost"):
        mine.write(MINE.id2label, b"{}")
    flipped(Path(store.url, MINE.label2id))
    with pytest.raises(Damaged):
        mine.read(MINE.label2id)
    assert isinstance(pickle.loads(pickle.dumps(store)), LocalStore)  # noqa: S301


def test_what_belongs_to_which_step() -> None:
    assert layout.checksum_record_keys(layout.LISTING) == (layout.RECONCILED, layout.SNAPSHOT)
    assert layout.checksum_record_keys(layout.LEDGER) == (layout.RECONCILED,)
    assert layout.checksum_record_keys(MINE.metrics("bert", 0)) == (MINE.tested_record,)
    assert layout.checksum_record_keys(MINE.comparison) == (MINE.compared_record,)
    assert layout.checksum_record_keys(MINE.report) == (MINE.reported_record,)
    assert layout.checksum_record_keys(f"{MINE.tuning('bert')}/{layout.BEST}") == (
        MINE.tuned_record,
    )
    assert layout.checksum_record_keys(MINE.metrics_log("bert", 0)) == (MINE.trained_record,)
    for key in (
        layout.artifact_file("id", "text.txt"),
        layout.STORE,
        MINE.label_review,
        f"{layout.LOCK}/000001.json",
        f"{MINE.final('bert', 0)}/model.safetensors",
        f"{MINE.checkpoints('bert', 0)}/step-1/run.json",
        f"{MINE.encoded('bert')}/shards/x/000000.arrow",
    ):
        assert layout.checksum_record_keys(key) == ()
    for key, words in {
        layout.LISTING: "`handful run E --refresh`",
        layout.artifact_file("id", "f"): "`handful run E --redo reconcile`",
        f"{MINE.final('bert', 0)}/x": "`handful run E --redo train`",
        MINE.looks: "`handful run E --redo test`",
    }.items():
        assert words in layout.remedy_for(key, "E")


def test_an_empty_object_stays_what_it_is() -> None:
    """A comma before its first member would have made it no JSON at all."""
    for text in (b"{}", b"{}\n", b"{ }"):
        assert checksums.seal(text) == text
        assert json.loads(checksums.seal(text)) == {}
        assert checksums.fault_of_json(checksums.seal(text)) == ""
