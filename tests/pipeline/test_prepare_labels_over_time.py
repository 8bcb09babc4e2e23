"""Labels that come and go: ids, splits and rows, against a computation that is not ours."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from handful.errors import DataError, UserError
from handful.experiment.context import Experiment
from handful.records import Prepared
from handful.steps.empty_split import empty_split
from tests.support.preparing import FUNCTIONS, Bench, bench

MERGED = {"prepare_LABEL_ALIASES": "letter = report"}


def prepare(made: Bench, *, redo: bool = False, **settings: Any) -> Prepared:
    """Without a look for near-duplicates, which takes longer than all the rest."""
    return made.prepare(redo=redo, prepare_NEAR_DUPLICATES="ignore", **settings)


def empty_split_of(experiment: Experiment, split: str) -> str:
    mine = experiment.layout
    return str(empty_split(experiment.store, mine, experiment.settings, "tiny", split))


def labels_of(made: Bench) -> dict[str, int]:
    """label2id.json, which id2label.json agrees with."""
    found: dict[str, int] = made.json("label2id.json")
    names = made.json("id2label.json")
    assert names == {str(number): label for label, number in found.items()}
    return found


def test_a_label_that_goes_leaves_no_id_and_no_output(tmp_path: Path) -> None:
    made = bench(tmp_path)
    whole = prepare(made)
    assert labels_of(made) == {"invoice": 0, "letter": 1, "report": 2}
    assert made.told.warnings == []
    merged = prepare(made, **MERGED)
    assert labels_of(made) == merged.label2id == {"invoice": 0, "report": 1}
    (told,) = made.told.warnings
    assert "no artifact has letter any more, and report got another id" in told
    assert "KEEP_LABEL_IDS" in told
    assert {row["labels"] for row in made.all_rows().values()} == {0, 1}
    for knob in ({"prepare_IGNORED_LABELS": "invoice"}, {"prepare_NUM_LABELS_THRESHOLD": 2}):
        made.add("once", "a letter of its own")
        prepare(made, **knob)
        assert "a letter of its own" in labels_of(made) or "NUM_LABELS" in str(knob)
        del made.artifacts["once"]
    assert labels_of(made) == {"invoice": 0, "letter": 1, "report": 2}
    undone = prepare(made)
    assert undone.label2id == whole.label2id
    assert undone.data_hash == whole.data_hash, "so that nothing has to be trained again"


@pytest.mark.slow
def test_a_merge_from_the_beginning_is_undone_without_a_trace(tmp_path: Path) -> None:
    never, merged = bench(tmp_path / "never"), bench(tmp_path / "merged")
    prepare(never)
    prepare(merged, prepare_LABEL_ALIASES="invoice = z\nletter = z")
    assert labels_of(merged) == {"report": 0, "z": 1}
    for made in (never, merged):
        made.add("new-1", "appendix")
        made.add("new-2", "appendix")
    prepare(never)
    prepare(merged)
    assert labels_of(never) == labels_of(merged)
    assert labels_of(never) == {"invoice": 0, "letter": 1, "report": 2, "appendix": 3}


@pytest.mark.slow
def test_ids_are_kept_for_good_where_that_is_asked_for(tmp_path: Path) -> None:
    made = bench(tmp_path)
    keep: dict[str, Any] = {"prepare_KEEP_LABEL_IDS": "true"}
    first = prepare(made, **keep)
    prepare(made, **keep, **MERGED)
    assert labels_of(made) == {"invoice": 0, "letter": 1, "report": 2}
    assert made.told.warnings == ["labels that keep their id although no artifact has them: letter"]
    made.add("new", "appendix")
    assert prepare(made, **keep, **MERGED).label2id["appendix"] == 3
    del made.artifacts["new"]
    assert prepare(made, prepare_KEEP_LABEL_IDS="false").data_hash == first.data_hash


@pytest.mark.slow
def test_another_name_for_the_same_ids_is_other_data(tmp_path: Path) -> None:
    """Or a trained model would answer with the name of old."""
    made = bench(tmp_path)
    before = prepare(made)
    after = prepare(made, prepare_LABEL_ALIASES="letter = lettre")
    assert after.label2id == {"invoice": 0, "report": 1, "lettre": 2}
    last = prepare(made, prepare_LABEL_ALIASES="letter = lettre2")
    assert last.label2id == {"invoice": 0, "report": 1, "lettre2": 2}
    assert len({one.data_hash["tiny"] for one in (before, after, last)}) == 3
    assert prepare(made).data_hash == before.data_hash


@pytest.mark.slow
def test_data_of_an_earlier_build_keeps_its_hash_while_its_label_map_stands(tmp_path: Path) -> None:
    made = bench(tmp_path)
    new = prepare(made).data_hash["tiny"]
    ours = rows_hash(made)
    assert new != ours, "the label map is in it"
    record = prepare(made)
    with made.open() as experiment:
        old = Prepared(**{**vars(record), "data_hash": {"tiny": ours}})
        experiment.store.write(experiment.layout.prepared_record, old.to_json())
    assert prepare(made, redo=True).data_hash["tiny"] == ours
    assert prepare(made, redo=True, **MERGED).data_hash["tiny"] not in (ours, new)


def rows_hash(made: Bench) -> str:
    """As 5ebf7ed had it: the hashes of the splits' Arrow files, one after the other."""
    import hashlib

    splits = [made.prepared / "tiny" / split for split in ("train", "validation", "test")]
    each = [
        hashlib.sha256(b"".join(p.read_bytes() for p in sorted(folder.glob("*.arrow")))).hexdigest()
        for folder in splits
    ]
    return hashlib.sha256("".join(each).encode()).hexdigest()


def test_a_label_of_which_nothing_is_encoded_is_told(tmp_path: Path) -> None:
    functions = FUNCTIONS + (
        "\n\nencode_anything = encode_data\n\n\ndef encode_data(instance):\n"
        "    return None if instance.label == 'letter' else encode_anything(instance)\n"
    )
    made = bench(tmp_path, functions=functions)
    prepare(made)
    assert made.told.warnings == ["tiny: no instance of these labels could be encoded: letter"]


@pytest.mark.slow
def test_a_knob_may_name_a_label_that_is_gone_but_none_that_never_was(tmp_path: Path) -> None:
    made = bench(tmp_path)
    knobs: dict[str, Any] = {
        "prepare_LABEL_ALIASES": "letter = report",
        "prepare_IGNORED_LABELS": "junk",
    }
    with pytest.raises(UserError, match="no artifact has the label 'junk'"):
        prepare(made, **knobs)
    made.add("worthless", "junk")
    prepare(made, **knobs)
    del made.artifacts["worthless"]
    for one in made.artifacts.values():
        one["label"] = one["label"].replace("letter", "report")
    prepare(made, **knobs)
    assert any("no artifact has any more: letter, junk" in one for one in made.told.warnings)
    with pytest.raises(UserError, match="no artifact has the label 'lettre'"):
        prepare(made, prepare_IGNORED_LABELS="lettre")
    with pytest.raises(UserError, match="no artifact has the label 'junk'"):
        prepare(made, redo=True, **knobs | {"prepare_LABEL_ALIASES": ""})


# --- many labels with few documents --------------------------------------------------------------


@pytest.mark.parametrize("each", [5, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_sixty_labels_with_few_documents_are_split_in_the_shares_asked(
    each: int, tmp_path: Path
) -> None:
    made = bench(tmp_path, count=0)
    made.fill(60 * each, tuple(f"label {number:02}" for number in range(60)))
    record = prepare(made, prepare_SPLIT="80/10/10")
    tenth = 6 * each
    assert record.rows["tiny"] == {"train": 8 * tenth, "validation": tenth, "test": tenth}
    train = {row["label"] for row in made.splits().values() if row["split"] == "train"}
    assert len(train) == 60
    sample = prepare(
        made,
        prepare_SPLIT="80/10/10",
        prepare_MAX_ARTIFACTS=120,
        prepare_ENCODED_DATA_DIR="partial",
    )
    assert min(sample.rows["tiny"].values()) > 0
    few = prepare(
        made,
        prepare_SPLIT="80/10/10",
        prepare_MAX_ARTIFACTS=20,
        prepare_ENCODED_DATA_DIR="few",
    )
    assert sorted(few.label2id.values()) == list(range(20)), "no output for what is not there"
    with made.open(prepare_MAX_ARTIFACTS=20, prepare_ENCODED_DATA_DIR="few") as experiment:
        error = empty_split_of(experiment, "test")
    assert "of 20 artifacts with 20 labels none is in it" in error
    assert "take more than MAX_ARTIFACTS = 20" in error


@pytest.mark.slow
def test_what_would_fill_an_empty_split_is_told(tmp_path: Path) -> None:
    made = bench(tmp_path, count=0)
    made.fill(12, tuple(f"label {number:02}" for number in range(12)))
    settings: dict[str, Any] = {"prepare_SPLIT": "80/10/10"}
    prepare(made, **settings)

    def told(**more: Any) -> str:
        with made.open(**{**settings, **more}) as experiment:
            return empty_split_of(experiment, "validation")

    assert "of 12 artifacts with 12 labels none is in it; 12 of the labels have one" in told()
    for word in ("label more", "larger share", "LABEL_ALIASES", "NUM_LABELS_THRESHOLD"):
        assert word in told()
    # As an earlier build has drawn it.
    made.artifacts.clear()
    made.fill(60, tuple(f"label {number:02}" for number in range(12)))
    prepare(made, **settings, redo=True)
    path = made.prepared / "splits.parquet"
    rewritten(path, {"validation": "test"})
    assert "`--redo prepare`: these artifacts are enough" in told()
    prepare(made, **settings, redo=True)
    assert "could be encoded" in told(), "some are in it, so they are lost elsewhere"


def rewritten(path: Path, splits: dict[str, str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    for name in ("split", "drawn"):
        column = pa.array([splits.get(one, one) for one in table[name].to_pylist()])
        table = table.set_column(table.column_names.index(name), name, column)
    pq.write_table(table, path)


# --- random growth -------------------------------------------------------------------------------


@dataclass
class Expected:
    """What an experiment should have become, worked out from its production and knobs alone."""

    seen: list[str] = field(default_factory=list)
    drawn: dict[str, str] = field(default_factory=dict)
    rows: Any = None
    data_hash: str = ""

    def check(
        self, made: Bench, record: Prepared, production: dict[str, str], knobs: dict[str, Any]
    ) -> None:
        for label in sorted({*production.values(), *renamed(production, knobs).values()}):
            if label not in self.seen:
                self.seen.append(label)
        used = used_of(production, knobs)
        live = [label for label in self.seen if label in set(used.values())]
        ids = {label: number for number, label in enumerate(live)}
        assert labels_of(made) == dict(record.label2id) == ids
        splits = made.splits()
        assert {i for i, row in splits.items() if row["split"] != "left_out"} == set(used)
        for i, row in splits.items():
            assert row["split"] in (row["drawn"], "left_out")
            assert self.drawn.get(i, row["drawn"]) == row["drawn"], "nobody moves"
        self.drawn = {i: row["drawn"] for i, row in splits.items()}
        rows = {
            split: {row["artifact_id"]: row["labels"] for row in made.rows(split)}
            for split, count in record.rows["tiny"].items()
            if count
        }
        assert {i: n for part in rows.values() for i, n in part.items()} == {
            i: ids[label] for i, label in used.items()
        }
        for split, part in rows.items():
            assert all(splits[i]["split"] == split for i in part)
        same = (rows, ids) == self.rows
        assert (record.data_hash["tiny"] == self.data_hash) == same
        self.rows, self.data_hash = (rows, ids), record.data_hash["tiny"]


def renamed(production: dict[str, str], knobs: dict[str, Any]) -> dict[str, str]:
    return {i: knobs["aliases"].get(label, label) for i, label in production.items()}


def used_of(production: dict[str, str], knobs: dict[str, Any]) -> dict[str, str]:
    """Artifact → label."""
    named = renamed(production, knobs)
    counts = Counter(named.values())
    return {
        i: label
        for i, label in named.items()
        if label not in knobs["ignored"] and counts[label] >= knobs["threshold"]
    }


def changed(production: dict[str, str], chance: random.Random, number: int) -> None:
    """Some rows go, some get another label, some come."""
    names = [f"l{n}" for n in range(6 + number)]
    for i in chance.sample(sorted(production), min(len(production) - 12, chance.randrange(6))):
        del production[i]
    for i in chance.sample(sorted(production), chance.randrange(6)):
        production[i] = chance.choice(names)
    for n in range(chance.randrange(8)):
        production[f"round-{number:02}-{n}"] = chance.choice(names)


def some_knobs(production: dict[str, str], chance: random.Random) -> dict[str, Any]:
    raw = sorted(set(production.values()))
    old = chance.sample(raw, chance.randrange(3))
    aliases = {one: chance.choice([*(r for r in raw if r not in old), f"new {one}"]) for one in old}
    named = sorted({aliases.get(label, label) for label in production.values()})
    ignored = chance.sample(named, chance.randrange(min(3, len(named))))
    return {"aliases": aliases, "ignored": ignored, "threshold": chance.choice([0, 0, 2, 4])}


def overrides(knobs: dict[str, Any]) -> dict[str, Any]:
    return {
        "prepare_LABEL_ALIASES": "\n".join(f"{a} = {b}" for a, b in knobs["aliases"].items()),
        "prepare_IGNORED_LABELS": ", ".join(knobs["ignored"]),
        "prepare_NUM_LABELS_THRESHOLD": knobs["threshold"],
    }


NO_KNOBS: dict[str, Any] = {"aliases": {}, "ignored": [], "threshold": 0}


def put(made: Bench, production: dict[str, str]) -> None:
    made.artifacts.clear()
    for i, label in sorted(production.items()):
        made.add(i, label, text=f"this is the text of {i}")


@pytest.mark.parametrize(
    ("seed", "rounds"),
    [(0, 3), *(pytest.param(seed, 12, marks=pytest.mark.slow) for seed in range(1, 5))],
)
@pytest.mark.slow
def test_an_experiment_that_grows_by_random_changes(seed: int, rounds: int, tmp_path: Path) -> None:
    chance, made, expected = random.Random(seed), bench(tmp_path, count=0), Expected()
    production = {f"first-{n:02}": f"l{chance.randrange(6)}" for n in range(40)}
    for number in range(rounds):
        changed(production, chance, number)
        knobs = some_knobs(production, chance)
        put(made, production)
        if len(set(used_of(production, knobs).values())) < 2:
            with pytest.raises(DataError, match="at least two labels"):
                prepare(made, **overrides(knobs))
            continue
        expected.check(made, prepare(made, **overrides(knobs)), production, knobs)
    expected.check(made, prepare(made, **overrides(NO_KNOBS)), production, NO_KNOBS)
