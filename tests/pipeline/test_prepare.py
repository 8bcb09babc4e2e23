"""prepare, from a ledger to datasets that the library opens."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import datasets
import pytest

from handful.errors import DataError, Full, FunctionsError, UserError
from handful.steps.prepare.encoding import shards
from tests.support.faults import Request, faulty
from tests.support.preparing import FUNCTIONS, Bench, bench


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SIZE", 8)


def test_what_it_leaves(tmp_path: Path) -> None:
    made = bench(tmp_path)
    record = made.prepare()
    assert record.rows == {"tiny": {"train": 18, "validation": 6, "test": 6}}
    assert record.label2id == {"invoice": 0, "letter": 1, "report": 2}
    assert made.json("label2id.json") == record.label2id
    assert made.json("id2label.json") == {"0": "invoice", "1": "letter", "2": "report"}
    split_of = {i: row["split"] for i, row in made.splits().items()}
    for split in ("train", "validation", "test"):
        rows = made.rows(split)
        assert {split_of[row["artifact_id"]] for row in rows} == {split}
        found = datasets.load_from_disk(str(made.prepared / "tiny" / split))
        assert list(found.features) == [
            "input_ids",
            "attention_mask",
            "labels",
            "artifact_id",
            "length",
        ]
        assert found.features["labels"].dtype == "int64"
        assert found.features["length"].dtype == "int32"
        assert found.cache_files, "it is not memory-mapped"
        for row in rows:
            assert row["length"] == len(row["input_ids"]) == 60
            label = made.artifacts[row["artifact_id"]]["label"]
            assert record.label2id[label] == row["labels"]
    counts = made.json("split_metadata.json")
    assert counts["artifacts"] == {"train": 18, "validation": 6, "test": 6}
    assert counts["labels"]["test"] == {"invoice": 2, "letter": 2, "report": 2}
    assert made.quarantine() == []
    assert "gone" not in split_of
    assert not (made.prepared / "tiny/shards").exists()


def test_the_rows_are_those_of_one_plain_map(tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.prepare()
    space: dict[str, object] = {}
    exec(FUNCTIONS, space)
    ids = sorted(made.artifacts)
    features = space["get_dataset_features"]()  # type: ignore[operator]
    plain = datasets.Dataset.from_dict(
        {
            "raw_text.json": [
                str(made.store / "data/reconciled_artifacts" / i / "raw_text.json") for i in ids
            ]
        }
    ).map(
        lambda row: space["encode_data"]({k: Path(v) for k, v in row.items()}),  # type: ignore[operator]
        features=features,
        remove_columns=["raw_text.json"],
    )
    found = made.all_rows()
    assert [{k: found[i][k] for k in features} for i in ids] == list(plain)


def test_two_workers_make_the_same_bytes_as_one(tmp_path: Path) -> None:
    one, two = bench(tmp_path / "one", 50), bench(tmp_path / "two", 50)
    first = one.prepare(prepare_NUM_PROCESSES=1)
    second = two.prepare(prepare_NUM_PROCESSES=2)
    assert first.data_hash == second.data_hash
    assert first.splits_hash == second.splits_hash
    ours, theirs = one.bytes(), two.bytes()
    del ours["tiny/encoded.json"], theirs["tiny/encoded.json"]
    assert ours == theirs
    assert "tiny/train/data-00000-of-00001.arrow" in ours


def test_an_empty_split_opens(tmp_path: Path) -> None:
    made = bench(tmp_path, 0)
    made.fill(3, ("invoice", "letter"))
    record = made.prepare()
    assert record.rows["tiny"] == {"train": 2, "validation": 0, "test": 1}
    assert made.rows("validation") == []
    found = datasets.load_from_disk(str(made.prepared / "tiny/validation"))
    assert found.features["labels"].dtype == "int64"
    assert any("the validation split has no row" in warning for warning in made.told.warnings)


def test_instances_that_are_left_out_and_truncated_are_counted(tmp_path: Path) -> None:
    source = FUNCTIONS.replace(
        "    return {", "    return None if instance.id.endswith('7') else handful.Encoded({"
    ).replace("[1] * len(ids)}", "[1] * len(ids)}, full_length=full)")
    source = source.replace(
        'ids = numbers(instance["raw_text.json"])',
        'ids = numbers(instance["raw_text.json"]); full = len(ids)\n'
        "    ids = ids[:45] if instance.label == 'letter' else ids",
    )
    made = bench(tmp_path, functions=f"import handful\n{source}")
    record = made.prepare()
    assert record.left_out == {"tiny": 3}
    assert not {i for i in made.all_rows() if i.endswith("7")}
    report = made.json("tiny/truncation.json")
    assert report["labels"]["letter"]["share_of_tokens_unseen"] == pytest.approx(0.25)
    assert report["labels"]["letter"]["truncated"] == report["labels"]["letter"]["instances"]
    assert report["labels"]["report"]["share_of_tokens_unseen"] == 0
    assert report["overall"]["instances"] == 27


def test_without_full_lengths_nothing_is_claimed(tmp_path: Path) -> None:
    made = bench(tmp_path, 12)
    made.prepare()
    overall = made.json("tiny/truncation.json")["overall"]
    assert overall["measured"] == 0
    assert overall["share_of_tokens_unseen"] is None


@pytest.mark.slow
def test_nothing_is_encoded_again_for_a_second_model(tmp_path: Path) -> None:
    source = FUNCTIONS.replace(
        "def encode_data(instance):",
        "def encode_data(instance, model_name):\n"
        f"    open({str(tmp_path / 'calls')!r}, 'a').write(model_name + '\\n')",
    )
    made = bench(tmp_path, functions=source)
    made.prepare()
    first = made.bytes()["tiny/train/data-00000-of-00001.arrow"]
    record = made.prepare(train_MODEL_NAMES="tiny, other")
    calls = (tmp_path / "calls").read_text().split()
    assert calls.count("tiny") < calls.count("other") + 12
    assert set(record.rows) == {"tiny", "other"}
    assert record.data_hash["tiny"] == record.data_hash["other"]
    assert made.bytes()["tiny/train/data-00000-of-00001.arrow"] == first
    before = len(calls)
    made.functions(source.replace("% 1000", "% 999"))
    made.prepare()
    assert len((tmp_path / "calls").read_text().split()) >= before + 30


def test_preparing_again_leaves_nothing_stale(tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.prepare()
    for artifact_id in [i for i in made.artifacts if i > "artifact-0015"]:
        del made.artifacts[artifact_id]
    shutil_target = made.prepared / "tiny/train/data-00000-of-00002.arrow"
    shutil_target.write_bytes(b"stale")
    record = made.prepare()
    assert sum(record.rows["tiny"].values()) == len(made.all_rows()) == 16
    assert not shutil_target.exists()
    assert set(made.splits()) == set(made.artifacts)


# --- labels and splits ---------------------------------------------------------------------------


def test_later_labels_are_appended_and_nobody_moves(tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.prepare()
    before = {i: row["split"] for i, row in made.splits().items()}
    for number in range(10):
        made.add(f"new-{number}", "appendix")
    record = made.prepare()
    assert record.label2id == {"invoice": 0, "letter": 1, "report": 2, "appendix": 3}
    after = {i: row["split"] for i, row in made.splits().items()}
    assert {i: after[i] for i in before} == before
    assert (
        sorted(after[f"new-{n}"] for n in range(10))
        == ["test"] * 2 + ["train"] * 6 + ["validation"] * 2
    )
    assert made.prepare(redo=True).label2id["appendix"] == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("prepare_SPLIT", "0.5/0.25/0.25"),
        ("experiment_SEED", "7"),
        pytest.param("prepare_GROUP_BY", "owner", marks=pytest.mark.slow),
        pytest.param("prepare_NEAR_DUPLICATES", "ignore", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_what_would_move_artifacts_is_refused(tmp_path: Path, key: str, value: str) -> None:
    made = bench(tmp_path)
    for one in made.artifacts.values():
        one["row"] = {"owner": one["label"]}
    made.prepare()
    before = made.bytes()
    with pytest.raises(UserError, match="--redo prepare") as raised:
        made.prepare(**{key: value})
    assert key.split("_", 1)[1] in str(raised.value)
    assert made.bytes() == before
    made.prepare(redo=True, **{key: value})
    assert made.json("split_metadata.json")["drawn_with"][key.split("_", 1)[1]] is not None


@pytest.mark.slow
def test_groups_and_near_duplicates_stay_together(tmp_path: Path) -> None:
    made = bench(tmp_path, 40)
    ids = sorted(made.artifacts)
    for number, artifact_id in enumerate(ids):
        made.artifacts[artifact_id]["row"] = {"owner": f"o{number // 4}" if number < 20 else None}
    text = json.loads(made.artifacts[ids[30]]["files"]["raw_text.json"])["text"]
    for number in range(4):
        words = text.split()
        words[number] = "changed"
        made.add(f"twin-{number}", "letter", " ".join(words))
    made.add("copy", "report", json.loads(made.artifacts[ids[1]]["files"]["raw_text.json"])["text"])
    made.prepare(prepare_GROUP_BY="owner")
    rows = made.splits()
    for start in range(0, 20, 4):
        members = [rows[i] for i in ids[start : start + 4]]
        assert len({m["split"] for m in members}) == 1
        assert len({m["group"] for m in members}) == 1
    assert {rows[f"twin-{n}"]["group"] for n in range(4)} == {ids[30]}
    assert rows["copy"]["group"] == rows[ids[1]]["group"]
    assert rows["copy"]["split"] == rows[ids[1]]["split"]
    assert len({row["group"] for row in rows.values()}) == 5 + 20
    assert made.json("split_metadata.json")["groups"] == {"of several artifacts": 6, "largest": 5}
    leaked = made.json("leakage.json")
    assert (leaked["pairs"], leaked["artifacts"], leaked["not_compared"]) == (11, 7, 0)
    assert leaked["after_grouping"]["pairs"] == 0
    assert leaked["before_grouping"]["pairs"] == len(leaked["examples"]) > 0
    shares = [one["likeness"] for one in leaked["examples"]]
    assert shares == sorted(shares, reverse=True)
    for one in leaked["examples"]:
        assert one["likeness"] >= 0.8
        assert one["after"] == [rows[i]["split"] for i in one["artifacts"]]
        assert one["before"][0] != one["before"][1]
        assert one["after"][0] == one["after"][1]
    assert any(note.startswith("near-duplicates: 11 pairs") for note in made.told.notes)
    made.prepare(redo=True, prepare_NEAR_DUPLICATES="ignore")
    assert made.json("leakage.json")["looked_for"] is False


def test_one_that_would_tie_two_splits_together_is_left_out_alone(tmp_path: Path) -> None:
    made = bench(tmp_path)
    for artifact_id, one in made.artifacts.items():
        one["row"] = {"owner": artifact_id}
    made.prepare(prepare_GROUP_BY="owner")
    rows = made.splits()
    train = next(i for i, row in rows.items() if row["split"] == "train")
    test = next(i for i, row in rows.items() if row["split"] == "test")
    text = json.loads(made.artifacts[test]["files"]["raw_text.json"])["text"]
    made.add("bridge", "letter", text, row={"owner": train})
    made.add("friend", "letter", row={"owner": train})
    record = made.prepare(prepare_GROUP_BY="owner")
    after = made.splits()
    assert after["bridge"]["split"] == "left_out"
    assert "test and train" in after["bridge"]["reason"]
    assert after["friend"]["split"] == "train"
    assert {i: after[i]["split"] for i in rows} == {i: row["split"] for i, row in rows.items()}
    assert sum(record.rows["tiny"].values()) == 31
    again = made.prepare(prepare_GROUP_BY="owner")
    assert again.data_hash == record.data_hash
    assert made.splits()["bridge"]["reason"] == after["bridge"]["reason"]


@pytest.mark.slow
def test_a_partial_datasets_test_set_is_part_of_the_full_ones(tmp_path: Path) -> None:
    made = bench(tmp_path, 90)
    made.prepare()
    more = {"prepare_ENCODED_DATA_DIR": "partial", "prepare_MAX_ARTIFACTS": 30}
    before = made.bytes()
    record = made.prepare(**more)
    assert made.bytes() == before
    full, partial = made.splits(), made.splits("partial")
    used = {i: row for i, row in partial.items() if row["split"] != "left_out"}
    assert len(used) == 30 == sum(record.rows["tiny"].values())
    assert all(full[i]["split"] == row["split"] for i, row in used.items())
    counts = made.json("split_metadata.json", "partial")
    assert counts["artifacts"] == {"train": 18, "validation": 6, "test": 6}
    made.prepare(prepare_ENCODED_DATA_DIR="partial", prepare_MAX_ARTIFACTS=60)
    larger = {i for i, row in made.splits("partial").items() if row["split"] != "left_out"}
    assert set(used) < larger


def test_the_knobs(tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.add("rare-0", "rare")
    made.add("old-0", "bill")
    record = made.prepare(
        prepare_LABEL_ALIASES="bill = invoice",
        prepare_IGNORED_LABELS="letter",
        prepare_NUM_LABELS_THRESHOLD=2,
    )
    assert record.label2id == {"invoice": 0, "report": 1}
    rows = made.splits()
    assert rows["old-0"]["label"] == "invoice"
    assert rows["rare-0"]["split"] == "left_out"
    assert "NUM_LABELS_THRESHOLD" in rows["rare-0"]["reason"]
    left_out = made.json("split_metadata.json")["left_out"]
    assert left_out["its label is one of IGNORED_LABELS"] == 10
    with pytest.raises(UserError, match="did you mean 'letter'"):
        made.prepare(prepare_IGNORED_LABELS="leter")
    with pytest.raises(UserError, match="did you mean 'report'"):
        made.prepare(prepare_LABEL_ALIASES="Report = invoice")
    with pytest.raises(DataError, match="only the label 'invoice' is left"):
        made.prepare(prepare_IGNORED_LABELS="letter, report, rare, bill")


def test_rare_labels_are_named(tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.add("rare-0", "rare")
    made.add("rare-1", "rare")
    made.prepare()
    rows = made.splits()
    assert {rows["rare-0"]["split"], rows["rare-1"]["split"]} == {"train", "test"}
    assert any("rare (train 1, validation 0, test 1)" in w for w in made.told.warnings)
    assert list(made.json("split_metadata.json")["rare_labels"]) == ["rare"]


def test_an_unknown_group_column_names_the_nearest(tmp_path: Path) -> None:
    made = bench(tmp_path, 6)
    for one in made.artifacts.values():
        one["row"] = {"owner": "x"}
    with pytest.raises(UserError, match="did you mean 'owner'"):
        made.prepare(prepare_GROUP_BY="ownr")


# --- files ---------------------------------------------------------------------------------------


def test_globs_and_missing_files(tmp_path: Path) -> None:
    source = FUNCTIONS.replace(
        "    ids =",
        "    pages = instance['page_*.txt']\n"
        "    assert [p.name for p in pages] == sorted(p.name for p in pages)\n"
        "    assert list(instance) == ['raw_text.json', 'page_*.txt']\n"
        "    ids = [len(pages)] +",
    )
    made = bench(tmp_path, 24, source)
    for number, one in enumerate(made.artifacts.values()):
        for page in range(number % 3 + 1):
            one["files"][f"page_{page}.txt"] = f"page {number} {page}".encode()
        one["files"]["other.bin"] = b"\0"
    ids = sorted(made.artifacts)
    for name in list(made.artifacts[ids[0]]["files"]):
        if name.startswith("page_"):
            del made.artifacts[ids[0]]["files"][name]
    large = made.artifacts[ids[1]]["files"]
    large["raw_text.json"] = json.dumps({"text": "word " * 10_000}).encode()
    wanted = "raw_text.json, page_*.txt"
    record = made.prepare(
        reconcile_FILES_ON_RESEARCH=wanted,
        prepare_MAX_INSTANCE_BYTES="20kB",
        production_FILES_FROM_PROD=wanted,
    )
    assert record.quarantined == {"tiny": 2}
    found = {one["artifact_id"]: one for one in made.quarantine()}
    assert found[ids[0]]["error"] == "missing input: page_*.txt"
    assert "more than MAX_INSTANCE_BYTES" in found[ids[1]]["error"]
    assert found[ids[1]]["files"] == ["page_0.txt", "page_1.txt", "raw_text.json"]
    assert found[ids[1]]["file_sizes"][2] > 50_000
    assert made.all_rows()[ids[5]]["input_ids"][0] == 3


def test_a_store_on_s3(tmp_path: Path, s3_server, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    for name, value in s3_server.owner.environment().items():
        monkeypatch.setenv(name, value)
    far = Bench(tmp_path / "far", url=s3_server.place(), endpoint_url=s3_server.endpoint_url)
    far.settings()
    far.functions(FUNCTIONS)
    far.fill(20)
    for one in far.artifacts.values():
        one["files"]["other.bin"] = b"nobody asks for it"
    with monkeypatch.context() as small:
        usage = SimpleNamespace(free=(256 << 20) + 1000)
        small.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(Full, match="the input files take") as full:
            far.prepare()
        assert "set MAX_ARTIFACTS" in str(full.value)
    assert not [task for task, *_ in far.told.advances if "fetching" in task], "it began anyway"
    near = bench(tmp_path / "near", 20)
    record = far.prepare(prepare_NUM_PROCESSES=2)
    assert record.data_hash == near.prepare().data_hash
    fetched = {total for task, _, total, *_ in far.told.advances if "fetching" in task}
    assert fetched == {20}, "only MODEL_INPUT_FILES, and each once"
    with far.open() as experiment:
        folder = experiment.store.fetch_tree(
            experiment.layout.encoded_split("tiny", "train"), tmp_path / "fetched"
        )
        assert len(datasets.load_from_disk(str(folder))) == record.rows["tiny"]["train"]
        assert not list(experiment.store.list("data/prepared_data/full_dataset/tiny/shards"))


def test_shards_are_encoded_while_later_files_are_still_on_their_way(
    tmp_path: Path,
    s3_server,  # type: ignore[no-untyped-def]
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shards, "SIZE", 4)
    for name, value in s3_server.owner.environment().items():
        monkeypatch.setenv(name, value)
    seen: list[str] = []

    def rule(request: Request) -> str:
        """The last file cannot be had before the first shard is whole in the store."""
        is_marker = request.method == "PUT" and request.path.endswith("/000000.json")
        is_last = request.method == "GET" and "artifact-0039" in request.path
        seen.extend(["shard"] * is_marker + ["last file"] * is_last)
        return "503" if is_last and "shard" not in seen else "pass"

    with faulty(s3_server.endpoint_url, rule) as proxy:
        far = Bench(tmp_path, url=s3_server.place(), endpoint_url=proxy.endpoint_url)
        far.settings()
        far.functions(FUNCTIONS)
        far.fill(40)
        record = far.prepare()
    print(f"what came when: {seen}")
    assert seen[0] == "last file", "it was not even asked for ahead of its shard"
    assert seen[-1] == "last file"
    assert record.data_hash == bench(tmp_path / "near", 40).prepare().data_hash


def test_a_first_time_encodes_before_it_compares_all_documents(tmp_path: Path) -> None:
    made = bench(tmp_path)
    made.prepare()
    assert _order(made) == ["encoding for tiny", "reading documents"]
    made.told.advances.clear()
    made.fill(36)
    made.prepare()
    assert _order(made) == ["reading documents", "encoding for tiny"], "who is left out is drawn"
    made.told.advances.clear()
    made.fill(42)
    made.prepare(redo=True, prepare_MAX_ARTIFACTS=20)
    assert _order(made) == ["reading documents", "encoding for tiny"], "the sample is by split"


def _order(made: Bench) -> list[str]:
    return list(dict.fromkeys(task for task, *_ in made.told.advances))


# --- what the functions promise ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('"input_ids": ids,', '"input_id": ids,'), "field input_ids: expected .*, found missing"),
        (('"input_ids": ids,', '"input_ids": [ids],'), "field input_ids: .*one level too deep"),
        (
            ('"input_ids": ids,', '"input_ids": [1.5],'),
            "expected list of int32, found list of float",
        ),
        (('"input_ids": ids,', '"labels": 9, "input_ids": ids,'), "9, which is outside label2id"),
        (("    return {", "    return [{"), "found list"),
    ],
)
@pytest.mark.slow
def test_a_schema_fault_is_named_before_the_long_run(
    tmp_path: Path, change: tuple[str, str], told: str
) -> None:
    source = FUNCTIONS.replace(*change)
    if change[1].endswith("[{"):
        source = source.replace("* len(ids)}", "* len(ids)}]")
    made = bench(tmp_path, 12, source)
    with pytest.raises(DataError, match=told) as raised:
        made.prepare()
    assert "artifact-00" in str(raised.value)
    assert not (made.prepared / "tiny").exists()


def test_a_label_that_is_not_the_ledgers_is_an_error(tmp_path: Path) -> None:
    """And a first run that fails freezes neither labels nor splits."""
    source = FUNCTIONS.replace('"input_ids": ids,', '"labels": 1, "input_ids": ids,')
    made = bench(tmp_path, 12, source)
    with pytest.raises(DataError, match="another label than the ledger's"):
        made.prepare()
    made.functions(FUNCTIONS)
    record = made.prepare(prepare_LABEL_ALIASES="letter = invoice", prepare_SPLIT="0.5/0.25/0.25")
    assert record.label2id == {"invoice": 0, "report": 1}


@pytest.mark.parametrize(
    ("features", "told"),
    [
        ("{'a': 1}", "returned dict"),
        ("Features({'length': Value('int32')})", "'length'"),
        ("Features({'labels': Value('float32')})", "not int64"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
@pytest.mark.slow
def test_features_that_cannot_be_saved_are_refused(
    tmp_path: Path, features: str, told: str
) -> None:
    source = FUNCTIONS.replace("    return Features({", f"    return {features}\n    ({{")
    made = bench(tmp_path, 6, source)
    with pytest.raises(FunctionsError, match=told):
        made.prepare()


def test_a_fault_of_functions_py_is_told_as_such(tmp_path: Path) -> None:
    made = bench(tmp_path, 6, FUNCTIONS.replace("def encode_data(instance)", "def encode_data(it)"))
    with pytest.raises(FunctionsError, match="'it', which is not on its menu"):
        made.prepare()


def test_arrays_and_nested_features_are_kept(tmp_path: Path) -> None:
    source = FUNCTIONS.replace('Sequence(Value("int8"))', "Array2D((2, 3), 'float32')").replace(
        "[1] * len(ids)", "np.ones((2, 3), np.float32)"
    )
    source = source.replace("    ids = ", "    ids = np.array(").replace(
        '["raw_text.json"])', '["raw_text.json"]), np.int32)'
    )
    made = bench(tmp_path, 12, f"import numpy as np\nfrom datasets import Array2D\n{source}")
    made.prepare()
    row = made.rows("train")[0]
    assert row["attention_mask"] == [[1.0] * 3] * 2
    assert row["length"] == 60
