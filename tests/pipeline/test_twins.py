"""Near-duplicates are found by their text, whatever else stands in their files and beside them.

Every layout holds the same four documents: a text, its twin (one word of it is another one), and
two strangers. All that is known of an artifact (id, label, hash, columns) differs from one to the
next, as it does in production.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from handful.errors import SettingsError
from handful.experiment.context import Experiment
from handful.records import Reconciled
from handful.steps.prepare.artifacts import Artifact, load_kept_artifacts
from handful.steps.prepare.encoding.inputs import Inputs
from handful.steps.prepare.labels import apply_label_aliases
from handful.steps.prepare.similarity.near_duplicate_index import Reader
from handful.steps.prepare.splitting.group_edges import links_between
from handful.steps.prepare.splitting.groups import Links
from handful.steps.prepare.splitting.union_find import Components
from handful.steps.prepare.workers import workers_of
from tests.support.preparing import Bench, bench
from tests.support.servers import S3Server
from tests.support.tiny import make as make_tiny

WORDS = 25
CHANCE = random.Random(7)
VOCABULARY = [f"{a}{b}{c}" for a in "bdfgklm" for b in "aeiou" for c in ("n", "rt", "st", "lo")]
LABELS = ("invoice", "letter", "report", "memo")
UNREAD = "unread."
PDF, PNG = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


@dataclass(frozen=True)
class Made:
    """One document, and what production knows of it."""

    id: str
    label: str
    text: str
    row: Mapping[str, object]

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.id.encode()).hexdigest()

    @property
    def known(self) -> dict[str, object]:
        return {"artifact_id": self.id, "label": self.label, "file_hash": self.hash, **self.row}

    @property
    def truth(self) -> bytes:
        """What people have process_func write."""
        return json.dumps({"label": self.label, "hash": self.hash, "id": self.id}).encode()

    @property
    def noise(self) -> bytes:
        """What process_func may write as well, and nobody could know."""
        numbers = random.Random(self.id).choices(range(10**6), k=40)
        return f"processed at {numbers[0]} by host {numbers[1]} as run {numbers}".encode()


Files = dict[str, bytes]
Layout = Callable[[Made], tuple[Files, Files]]
"""Production's own files, and those that process_func made."""


def as_json(**values: object) -> bytes:
    return json.dumps(values).encode()


def header(one: Made) -> str:
    return "".join(f"{key}: {value}\n" for key, value in one.known.items())


LAYOUTS: dict[str, Layout] = {
    "a text, and a made label": lambda d: ({"t.txt": d.text.encode()}, {"l.json": d.truth}),
    "a JSON, and a made label": lambda d: ({"t.json": as_json(text=d.text)}, {"l.json": d.truth}),
    "a text, and made noise": lambda d: ({"t.txt": d.text.encode()}, {"noise.txt": d.noise}),
    "one record": lambda d: ({"t.json": as_json(**d.known, text=d.text)}, {}),
    "a record with the text first": lambda d: ({"t.json": as_json(text=d.text, **d.known)}, {}),
    "records in a record": lambda d: ({"t.json": as_json(doc=d.known, body=[d.text])}, {}),
    "a record beside the text": lambda d: (
        {"t.txt": d.text.encode(), "metadata.json": as_json(**d.known)},
        {},
    ),
    "a header": lambda d: ({"t.eml": f"{header(d)}\n{d.text}\n".encode()}, {}),
    "a header of Windows": lambda d: (
        {"t.txt": f"{header(d)}\n{d.text}\n".replace("\n", "\r\n").encode("utf-16")},
        {},
    ),
    "front matter": lambda d: ({"t.md": f"---\n{header(d)}---\n{d.text}\n".encode()}, {}),
    "XML": lambda d: (
        {
            "t.xml": "<doc>{}<text>{}</text></doc>".format(
                "".join(f"<{k}>{v}</{k}>" for k, v in d.known.items()), d.text
            ).encode()
        },
        {},
    ),
    "lines of JSON": lambda d: (
        {"t.jsonl": as_json(**d.known) + b"\n" + as_json(text=d.text) + b"\n"},
        {},
    ),
    "CSV": lambda d: (
        {
            "t.csv": f"{','.join(d.known)},text\n"
            f"{','.join(map(str, d.known.values()))},{d.text}\n".encode()
        },
        {},
    ),
    "the id in a sentence": lambda d: (
        {"t.txt": f"{d.text} See {d.id} or s3://bucket/{d.id}/page.png".encode()},
        {},
    ),
    "the id in another form": lambda d: (
        {"t.json": as_json(id=d.id.replace("-", "").upper(), url=f"x:{{{d.id}}}", text=d.text)},
        {},
    ),
    "a list of words": lambda d: ({"t.json": as_json(**d.known, words=d.text.split())}, {}),
    "a PDF, and its text made": lambda d: (
        {"d.pdf": PDF + d.id.encode()},
        {"t.txt": d.text.encode(), "l.json": d.truth},
    ),
    "a PDF, its record, and its text made": lambda d: (
        {"d.pdf": PDF + d.id.encode(), "m.json": as_json(**d.known, name=f"scan {d.hash[:9]}.pdf")},
        {"t.json": as_json(text=d.text), "l.json": d.truth},
    ),
    "a PDF that is no input, its record, and its text made": lambda d: (
        {f"{UNREAD}pdf": b"", "m.json": as_json(**d.known, title="The report of this year")},
        {"t.txt": d.text.encode(), "l.json": d.truth},
    ),
    "a picture, and its text of production": lambda d: (
        {"p.png": PNG + d.id.encode(), "ocr.txt": d.text.encode()},
        {"l.json": d.truth, "noise.txt": d.noise[:80]},
    ),
    "an empty text, and the text made": lambda d: (
        {"t.txt": b""},
        {"better.txt": d.text.encode(), "l.json": d.truth},
    ),
    "names, and the text made": lambda d: (
        {"m.json": as_json(**d.known, kind="mail", language="en")},
        {"t.json": as_json(text=d.text), "l.json": d.truth},
    ),
    "a header that is no UTF-8": lambda d: (
        {"t.txt": f"{header(d)}\né à {d.text}\n".encode("latin-1")},
        {},
    ),
    "a record that is no UTF-8": lambda d: (
        {
            "t.json": f'{{"customer": "{d.row["customer"]}", "text": "é {d.text}"}}'.encode(
                "latin-1"
            )
        },
        {},
    ),
    "nothing of production": lambda d: ({}, {"t.txt": d.text.encode(), "l.json": d.truth}),
    "a mail with the logo of all": lambda d: (
        {"body.html": f"<p>{d.text}</p>".encode(), "logo.png": PNG},
        {"l.json": d.truth},
    ),
    "a record of the label alone": lambda d: (
        {"l.json": as_json(label=d.label), "t.txt": d.text.encode()},
        {},
    ),
}


def text(words: int = WORDS) -> list[str]:
    return CHANCE.sample(VOCABULARY, words)


def documents(name: str) -> list[Made]:
    """A text, its twin, and two strangers."""
    first = text()
    texts = [first, ["other", *first[1:]], text(), text()]
    found = []
    for number, words in enumerate(texts):
        artifact_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{name} {number}"))
        row = {
            "customer": f"{CHANCE.choice(['Acme GmbH', 'Müller & Sons', 'Ö'])} {number}",
            "uploaded_at": f"2026-0{number + 1}-03T10:00:0{CHANCE.randrange(10)}+00:00",
            "pages": CHANCE.randrange(500),
            "price": CHANCE.randrange(10_000) / 8,
            "urgent": number % 2 == 0,
            "note": None,
        }
        found.append(Made(artifact_id, LABELS[number], " ".join(words), row))
    return found


def links_of(
    experiment: Experiment, reconciled: Reconciled, artifacts: Sequence[Artifact]
) -> Links:
    """Those of `artifacts`, by what their documents hold."""
    store, settings, progress = experiment.store, experiment.settings, experiment.progress
    directory, scratch = experiment.directory, experiment.scratch
    named, most = settings.prepare.MODEL_INPUT_FILES, settings.prepare.MAX_INSTANCE_BYTES
    inputs = Inputs(store, directory, scratch, named, most)
    found = inputs.documents(artifacts)
    with workers_of(directory, settings, scratch, to_encode=False) as workers:
        reader = Reader(inputs, workers, artifacts, found, settings.prepare, progress)
        alike = reader.likeness(store, reconciled.ledger_hash)
        return links_between(artifacts, settings, reader, alike)


def grouped(made: Bench, **settings: str) -> dict[str, set[str]]:
    """Artifact id → all that hang together with it."""
    with made.open(**settings) as experiment:
        reconciled = made.write(experiment)
        artifacts = load_kept_artifacts(experiment.store)
        links = links_of(experiment, reconciled, artifacts)
    components = Components(len(artifacts))
    for number, (shared, family) in enumerate(zip(links.shared, links.family, strict=True)):
        for key in [*shared, *([("family", family)] if family else [])]:
            components.union(number, components.node(key))
    members = components.members(range(len(artifacts)))
    ids = {root: {artifacts[n].id for n in numbers} for root, numbers in members.items()}
    return {one: group for group in ids.values() for one in group}


CAMERA = {"camera": "EOS 5D", "format": "image", "width": 4000}
APART: dict[str, Layout] = {
    "pictures with the same record": lambda d: (
        {"p.png": PNG + d.id.encode(), "m.json": as_json(**CAMERA)},
        {"l.json": d.truth},
    ),
    "pictures with records": lambda d: (
        {"p.png": PNG + d.id.encode(), "m.json": as_json(**d.known, **CAMERA)},
        {"l.json": d.truth},
    ),
    "pictures that nobody reads, with records": lambda d: (
        {"m.json": as_json(**d.known, **CAMERA), f"{UNREAD}tiff": b""},
        {"l.json": d.truth},
    ),
    "pictures with the same few words on them": lambda d: (
        {"p.png": PNG + d.id.encode(), "ocr.txt": b"fragile, this side up"},
        {"l.json": d.truth},
    ),
    "pictures that nothing was made of but a label": lambda d: (
        {"p.jpg": b"\xff\xd8\xff\xe0" + d.id.encode()},
        {"l.json": as_json(label="picture", format="jpeg")},
    ),
    "PDFs without text": lambda d: (
        {"d.pdf": PDF + d.id.encode(), "m.json": as_json(**d.known, producer="Scanner 3")},
        {"t.txt": b"", "l.json": d.truth},
    ),
    "short mails with the logo of all": lambda d: (
        {"body.txt": " ".join(d.text.split()[5:11]).encode(), "logo.png": PNG},
        {"l.json": d.truth},
    ),
    "numbers in columns": lambda d: ({"t.json": as_json(**d.known)}, {"l.json": d.truth}),
    "PDFs with a record, and short texts made": lambda d: (
        {"d.pdf": PDF + d.id.encode(), "m.json": as_json(**CAMERA, title="The yearly report")},
        {"t.txt": " ".join(d.text.split()[5:17]).encode()},
    ),
}
"""Documents that have nothing in common but what all have."""
INPUTS = {"reconcile_FILES_ON_RESEARCH": "*", "prepare_MODEL_INPUT_FILES": "in-*"}


def added(made: Bench, one: Made, own: Files, new: Files) -> None:
    files = {named(name): content for name, content in {**own, **new}.items()}
    more = {"made": list(map(named, new)), "row": one.row, "file_hash": one.hash}
    made.add(one.id, one.label, files=files, **more)


def named(name: str) -> str:
    """As INPUTS asks for, but for a file that is no input."""
    return name if name.startswith(UNREAD) else f"in-{name}"


def test_a_twin_is_seen_in_every_layout_and_strangers_stay_apart(tmp_path: Path) -> None:
    made = Bench(tmp_path)
    made.settings()
    made.functions("")
    each = {name: documents(name) for name in LAYOUTS}
    for name, layout in LAYOUTS.items():
        for one in each[name]:
            added(made, one, *layout(one))
    strangers = {name: [documents(f"{name} {n}")[2] for n in range(4)] for name in APART}
    for name, layout in APART.items():
        for one in strangers[name]:
            added(made, one, *layout(one))
    groups = grouped(made, **INPUTS)
    merged = [name for name in APART if any(len(groups[one.id]) > 1 for one in strangers[name])]
    assert merged == []
    wrong = {}
    for name, (one, twin, *others) in each.items():
        found = {"twin": groups[one.id] == {one.id, twin.id}}
        found["strangers"] = all(groups[other.id] == {other.id} for other in others)
        if not all(found.values()):
            wrong[name] = found
    assert wrong == {}


def test_named_files_are_compared_and_no_others(tmp_path: Path) -> None:
    """The text of `a` and `b` is one, the summary of `b` and `c`; the pictures of `c` and `d`."""
    made = Bench(tmp_path)
    made.settings()
    made.functions("")
    one, other, third = (" ".join(text()).encode() for _ in range(3))
    each = {"a": (one, third), "b": (one, other), "c": (other, other), "d": (third, one)}
    for name, (words, summary) in each.items():
        files = {"t.txt": words, "sum.txt": summary, "p.png": PNG + (name < "c") * name.encode()}
        made.add(name, "letter", files=files, made=["sum.txt"])
    pairs = {"auto": "ab", "t.txt": "ab", "sum.txt": "bc", "p.png": "cd", "s*": "bc"}
    for named_files, pair in pairs.items():
        groups = grouped(
            made,
            reconcile_FILES_ON_RESEARCH="*",
            prepare_MODEL_INPUT_FILES="t.txt",
            prepare_NEAR_DUPLICATE_FILES=named_files,
        )
        assert groups == {name: set(pair) if name in pair else {name} for name in each}
    with pytest.raises(SettingsError, match=r"'x.txt' is not among"):
        grouped(made, prepare_NEAR_DUPLICATE_FILES="x.txt")


def test_a_group_of_a_fifth_of_all_is_doubted(tmp_path: Path) -> None:
    made = Bench(tmp_path)
    made.settings()
    made.functions("")
    for number in range(60):
        files = {"cover.txt": b"from the office, with kind regards", "t.txt": f"{text()}".encode()}
        made.add(f"artifact {number}", "letter", files=files, made=["t.txt"])
    files_named = {"reconcile_FILES_ON_RESEARCH": "*", "prepare_MODEL_INPUT_FILES": "*"}
    grouped(made, **files_named)
    (warning,) = made.told.warnings
    assert warning.startswith("60 of 60 documents hang together")
    assert "[prepare] NEAR_DUPLICATE_FILES" in warning
    made.told.warnings.clear()
    groups = grouped(made, **files_named, prepare_NEAR_DUPLICATE_FILES="t.txt")
    assert made.told.warnings == []
    assert all(len(group) == 1 for group in groups.values())


def test_either_name_of_a_label_is_taken_out(tmp_path: Path) -> None:
    made = Bench(tmp_path)
    made.settings()
    made.functions("")
    words = text(12)
    for number, (label, told) in enumerate([("memo", "memo"), ("letter", "letter")]):
        files = {"raw_text.json": as_json(kind=told, text=" ".join([*words[:-1], str(number)]))}
        made.add(f"artifact {number}", label, files=files)
    with made.open(prepare_LABEL_ALIASES="memo = letter") as experiment:
        reconciled = made.write(experiment)
        artifacts = apply_label_aliases(load_kept_artifacts(experiment.store), {"memo": "letter"})
        links = links_of(experiment, reconciled, artifacts)
    assert links.family == ["artifact 0", "artifact 0"]


def with_twins(root: Path) -> Bench:
    """Twelve letters, each with a twin of another label; what process_func adds hides them."""
    made = bench(root, 12)
    for number, (artifact_id, one) in enumerate(sorted(made.artifacts.items())):
        words = json.loads(one["files"]["raw_text.json"])["text"].split()
        words[number] = "other"
        made.add(f"twin-{artifact_id}", "letter" if number % 2 else "report", " ".join(words))
    for artifact_id, one in made.artifacts.items():
        numbers = " ".join(map(str, random.Random(artifact_id).choices(range(10**6), k=60)))
        one["files"]["noise.txt"] = f"made as {numbers}".encode()
        one["made"] = ["noise.txt"]
    return made


INPUTS_OF_TWINS = {
    "reconcile_FILES_ON_RESEARCH": "raw_text.json, noise.txt",
    "prepare_MODEL_INPUT_FILES": "raw_text.json, noise.txt",
}


@pytest.mark.slow
def test_who_was_split_before_stays_and_the_leak_is_told(tmp_path: Path) -> None:
    made = with_twins(tmp_path)
    first = made.prepare(prepare_NEAR_DUPLICATE_FILES="noise.txt", **INPUTS_OF_TWINS)
    before = made.splits()
    assert made.json("leakage.json")["pairs"] == 0
    assert made.told.warnings == []
    apart = [i for i in before if f"twin-{i}" in before]
    apart = [i for i in apart if before[i]["split"] != before[f"twin-{i}"]["split"]]
    assert len(apart) > 3
    again = made.prepare(**INPUTS_OF_TWINS)
    after = made.splits()
    assert {i: row["split"] for i, row in after.items()} == {
        i: row["split"] for i, row in before.items()
    }
    assert again.rows == first.rows
    leaked = made.json("leakage.json")
    assert leaked["pairs"] == 12
    assert leaked["after_grouping"]["pairs"] == len(apart)
    assert {one["artifacts"][0] for one in leaked["examples"][: len(apart)]} == set(apart)
    warning = f"{len(apart)} pairs of near-duplicates lie in two splits"
    assert any(told.startswith(warning) for told in made.told.warnings)
    # Newcomers: a twin of one that leaks would have to go to both splits, a stranger goes anywhere.
    leaking, *_ = apart
    together = next(i for i in before if f"twin-{i}" in before and i not in apart)
    for artifact_id, like in (("to-both", leaking), ("to-one", together)):
        made.add(artifact_id, "letter", files=made.artifacts[like]["files"], made=["noise.txt"])
    made.prepare(**INPUTS_OF_TWINS)
    rows = made.splits()
    assert rows["to-both"]["split"] == "left_out"
    assert rows["to-one"]["split"] == rows[together]["split"]
    assert {i: rows[i]["split"] for i in before} == {i: before[i]["split"] for i in before}


@pytest.mark.slow
def test_named_files_are_compared_in_a_bucket(tmp_path: Path, s3_server: S3Server) -> None:
    one = make_tiny(tmp_path, artifacts=24)
    twin, other = (one.files / f"artifact-{number:04d}" / "text.txt" for number in (0, 3))
    twin.write_text(" ".join(text(60)))
    other.write_text(f"{twin.read_text()} the")
    place = s3_server.place()
    wanted = ["prepare.NEAR_DUPLICATES=group", "prepare.NEAR_DUPLICATE_FILES=text.txt"]
    in_bucket = [
        f"experiment.STORE={place}",
        f"experiment.S3_ENDPOINT_URL={s3_server.endpoint_url}",
    ]
    for more in ([], in_bucket):
        words = [word for setting in (*wanted, *more) for word in ("--set", setting)]
        done = one.handful("run", "--until", "prepare", *words)
        assert done.returncode == 0, done.stdout + done.stderr
    key = f"{one.experiment.name}/data/prepared_data/full_dataset/splits.parquet"
    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    found = s3_server.client().get_object(Bucket=bucket, Key=f"{prefix}/{key}")["Body"].read()
    assert found == (one.store.parent / key).read_bytes()
    splits = pl.read_parquet(io.BytesIO(found))
    group = dict(splits.select("artifact_id", "group").iter_rows())
    assert group["artifact-0000"] == group["artifact-0003"] != group["artifact-0006"]
