"""The id's place in the keys of many companies, their files, and the document among them."""

from __future__ import annotations

import json
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handful.files.paths import fits
from handful.pipeline.proposal.findings import FilesProposal, SampledKeys
from handful.pipeline.proposal.key_places import sample_keys
from handful.pipeline.proposal.key_shape import propose_files
from handful.progress import Silent
from handful.settings.values.key_patterns import parse
from handful.steps.reconcile.keys.guids import normalize_guid
from handful.steps.reconcile.keys.key_pattern import KeyPattern
from handful.storage.s3.sample import BucketSampler
from handful.storage.sampling import KeyCollector
from tests.support.key_layouts import KINDS, LAYOUTS, Layout, guid
from tests.support.listed_bucket import ListedBucket

ALL = (*LAYOUTS, KINDS)
BY_NAME = {layout.name: layout for layout in ALL}


def whole(files: dict[str, int]) -> SampledKeys:
    items = sorted(files.items())
    return SampledKeys(tuple(key for key, _ in items), tuple(size for _, size in items), True)


def keys_of(layout: Layout, count: int, seed: int = 0) -> tuple[list[str], dict[str, int]]:
    artifacts = layout.artifacts(count, seed)
    return [one for one, _ in artifacts], {k: s for _, made in artifacts for k, s in made.items()}


def from_bucket(files: dict[str, int], seed: int = 0) -> SampledKeys:
    """A sample as a bucket gives it; too small for the whole."""
    bucket = ListedBucket(files)
    into = KeyCollector(most=2_000, random=Random(seed))
    BucketSampler(bucket.ask, into).run()
    found = sorted(into.sizes)
    edges = tuple(n for n, key in enumerate(found) if key in into.edges)
    return SampledKeys(tuple(found), tuple(files[key] for key in found), False, edges)


def read(pattern: str, keys: list[str], ids: list[str]) -> dict[str, str]:
    """Key → the id that the pattern reads when these are the label rows'."""
    table = pl.DataFrame({"key": keys}).with_columns(size=pl.lit(0, pl.Int64), etag=pl.lit(""))
    files = KeyPattern.of(pattern).read(table, pl.DataFrame({"artifact_id": ids})).files
    return dict(zip(files["key"], files["artifact_id"], strict=True))


def only(found: tuple[FilesProposal, ...]) -> FilesProposal:
    assert len(found) == 1, found
    return found[0]


def check(layout: Layout, found: FilesProposal) -> None:
    assert found.key_pattern in layout.patterns
    assert sorted(found.files) == sorted(layout.files)
    assert found.document == layout.document
    assert found.files[0] == found.document
    parse(found.key_pattern)


@pytest.mark.parametrize("layout", ALL, ids=lambda layout: layout.name)
def test_the_layout_is_seen_by_some_ids(layout: Layout) -> None:
    ids, files = keys_of(layout, 600)
    found = only(propose_files(whole(files), ids[:150], layout.fold))
    check(layout, found)
    same = normalize_guid if layout.fold else str
    artifacts = dict(layout.artifacts(600))
    owner = {key: same(one) for one, made in artifacts.items() for key in made}
    spelled = [*ids, *(one.replace("-", "") for one in ids), *map(str.upper, ids)]
    told = read(found.key_pattern, list(files), spelled if layout.fold else ids)
    assert len(told) >= found.reads > 0
    assert all(same(one) == owner[key] for key, one in told.items())
    assert found.artifacts == 600
    assert found.with_all_files >= 0.95 * found.artifacts
    assert 0 < len(found.documents) <= 50
    assert all(key in files for key in found.documents)
    assert found.examples
    assert all(owner[key] == one for key, one in found.examples)
    assert found.reasons


@pytest.mark.parametrize(
    "layout", [one for one in ALL if one.without_ids], ids=lambda layout: layout.name
)
def test_the_layout_is_seen_without_a_database(layout: Layout) -> None:
    _, files = keys_of(layout, 600)
    check(layout, only(propose_files(whole(files), (), layout.fold)))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_the_layout_is_seen_in_a_sample(layout: Layout) -> None:
    ids, files = keys_of(layout, 4_000)
    sample = from_bucket(files)
    assert len(sample.keys) >= 1_500
    there = [one for one in ids if any(one in key for key in sample.keys)]
    known = Random(1).sample(there or ids, min(300, len(there or ids)))
    check(layout, only(propose_files(sample, known, layout.fold)))


@pytest.mark.parametrize(
    ("key", "pattern", "document"),
    [
        ("{n3}/{n2}/{n}.pdf", "*/*/{artifact_id}.pdf", "*.pdf"),
        ("{year}/{count}-{id}.msg", "*/*-{artifact_id}.msg", "*.msg"),
        ("{id:.2}/{sub}/{id}/raw.txt", "*/*/{artifact_id}/{file}", "raw.txt"),
        ("blobs/{id}", "blobs/{artifact_id}", "*"),
        ("{tenant}/{id}/doc.html", "*/{artifact_id}/{file}", "doc.html"),
        ("{tenant}/{id}.eml", "*/{artifact_id}.eml", "*.eml"),
        ("tickets/TCK-{n}/message.txt", "tickets/TCK-{artifact_id}/{file}", "message.txt"),
        ("My Files/{id} - report.pdf", "My Files/{artifact_id} - report.pdf", "* - report.pdf"),
        ("SCANS/{id}.TIF", "SCANS/{artifact_id}.TIF", "*.TIF"),
        ("user{n}@example.com/mail.txt", "user{artifact_id}@example.com/{file}", "mail.txt"),
    ],
)
def test_more_of_what_there_is(key: str, pattern: str, document: str) -> None:
    random = Random(3)
    tenants = [guid(random) for _ in range(12)]
    files, ids = {}, []
    for count in range(900):
        one, number = guid(random), 100_000 + 7 * count
        told = {"id": one, "n": number, "n2": f"{number // 100:06}", "n3": f"{number // 50_000:03}"}
        told |= {"sub": one[2:4], "tenant": tenants[count % 12], "year": 2019 + count % 6}
        files[key.format(count=count, **told)] = 4_000
        ids.append(one if "{id" in key else str(number))
    found = only(propose_files(whole(files), ids[::3], False))
    assert (found.key_pattern, found.document) == (pattern, document)
    assert (found.artifacts, found.reads, found.with_all_files) == (900, 900, 900)


def test_of_folders_that_are_kinds_the_one_with_the_documents_is_read() -> None:
    ids, files = keys_of(KINDS, 4_000)
    found = only(propose_files(from_bucket(files), ids, False))
    assert found.key_pattern == "raw/{artifact_id}.json"
    assert any("meta/" in reason for reason in found.reasons)


def test_files_of_some_artifacts_are_left_out_and_said() -> None:
    ids, files = keys_of(BY_NAME["thumbs of some"], 300)
    found = only(propose_files(whole(files), ids, False))
    assert "thumb.png" not in found.files
    assert any("thumb.png (67 %)" in reason for reason in found.reasons)


def test_a_cut_run_does_not_make_an_artifact_incomplete() -> None:
    files = {f"{number:05}/{name}": 900 for number in range(40) for name in ("a.txt", "z.json")}
    keys = sorted(files)[:-1]
    cut = SampledKeys(tuple(keys), (900,) * len(keys), False, (len(keys) - 1,))
    found = only(propose_files(cut, [f"{number:05}" for number in range(40)], False))
    assert found.files == ("a.txt", "z.json")
    assert (found.artifacts, found.with_all_files) == (40, 39)


def test_two_documents_that_are_equal_are_both_proposed() -> None:
    names = ("raw_text.json", "full_text.json")
    files = {f"{number:05}/{name}": 5_000 for number in range(50) for name in names}
    found = propose_files(whole(files), [f"{number:05}" for number in range(50)], False)
    assert {one.document for one in found} == set(names)
    assert all(set(one.files) == set(names) for one in found)


def test_the_much_larger_one_of_two_alike_is_the_document() -> None:
    sizes = {"raw_text.json": 500, "full_text.json": 50_000}
    files = {f"{n:05}/{name}": size for n in range(50) for name, size in sizes.items()}
    found = only(propose_files(whole(files), [f"{n:05}" for n in range(50)], False))
    assert found.document == "full_text.json"


@pytest.mark.parametrize(
    ("document", "others"),
    [
        ("body.html", ["headers.json", "thumbnail.png"]),
        ("message.eml", ["attachment.pdf"]),
        ("content.xml", ["content.xml.md5", "status.txt"]),
        ("scan.tif", ["thumb.jpg", "metadata.xml"]),
        ("text.txt", ["original.pdf"]),
        ("text.json", ["labels.json", "ocr_log.txt"]),
    ],
)
def test_the_document_comes_before_what_is_beside_it(document: str, others: list[str]) -> None:
    sizes = {document: 8_000, **dict.fromkeys(others, 6_000)}
    files = {f"{n:05}/{name}": size for n in range(40) for name, size in sizes.items()}
    found = only(propose_files(whole(files), [f"{n:05}" for n in range(40)], False))
    assert found.document == document


def test_an_empty_file_is_no_document() -> None:
    sizes = {"body.txt": 0, "text.json": 3_000}
    files = {f"{n:05}/{name}": size for n in range(40) for name, size in sizes.items()}
    found = only(propose_files(whole(files), [f"{n:05}" for n in range(40)], False))
    assert found.document == "text.json"


def test_other_data_in_the_bucket_does_not_mislead() -> None:
    ids, files = keys_of(BY_NAME["dated mails"], 300)
    logs = {f"logs/{n % 12 + 1:02}/{n}.log": 10 for n in range(400)}
    exports = {f"exports/2024-0{n % 9 + 1}/report-{n}.csv": 99_000 for n in range(100)}
    found = only(propose_files(whole(files | logs | exports), ids[:100], False))
    assert found.key_pattern == "*/*/*/{artifact_id}/{file}"
    assert sorted(found.files) == ["*_body.eml", "meta.json"]


def test_two_files_of_one_name_are_no_artifact() -> None:
    """`*/{artifact_id}.json` would give each artifact the same name twice."""
    ids, files = keys_of(KINDS, 300)
    found = only(propose_files(whole(files), ids, False))
    told = [
        (one, key.rpartition("/")[2]) for key, one in read(found.key_pattern, [*files], ids).items()
    ]
    assert len(told) == len(set(told))


def test_if_no_file_is_in_most_artifacts_the_most_frequent_is_proposed() -> None:
    kinds = ["letter.pdf", "mail.eml", "letter.pdf", "note.docx", "scan.tif"]
    files = {f"{n:05}/{kinds[n % 5]}": 5_000 for n in range(100)}
    found = only(propose_files(whole(files), [f"{n:05}" for n in range(100)], False))
    assert found.files == ("letter.pdf",)
    assert (found.artifacts, found.with_all_files) == (100, 40)
    assert any("letter.pdf in 40 %" in reason for reason in found.reasons)


@pytest.mark.parametrize("known", [1, 3, 10])
def test_a_few_ids_are_enough(known: int) -> None:
    for name in ("dated mails", "flat pages", "tenants", "versions in the name of numbers"):
        ids, files = keys_of(BY_NAME[name], 300)
        check(BY_NAME[name], only(propose_files(whole(files), ids[-known:], False)))


def test_ids_of_other_things_do_not_mislead() -> None:
    ids, files = keys_of(BY_NAME["dated mails"], 300)
    others = [guid(Random(n)) for n in range(1_000, 1_900)]
    check(BY_NAME["dated mails"], only(propose_files(whole(files), [*others, *ids[:50]], False)))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_bucket_of_very_few_artifacts(count: int) -> None:
    ids, files = keys_of(BY_NAME["the default"], count)
    check(BY_NAME["the default"], only(propose_files(whole(files), ids, False)))


def test_no_key_no_proposal() -> None:
    assert propose_files(SampledKeys((), (), True), ["a"], False) == ()


def test_ids_that_are_nowhere_no_proposal() -> None:
    _, files = keys_of(BY_NAME["the default"], 50)
    assert propose_files(whole(files), ["nowhere", "7"], False) == ()


def test_two_spellings_match_only_if_folded() -> None:
    ids, files = keys_of(BY_NAME["upper case in the bucket"], 50)
    assert propose_files(whole(files), ids, False) == ()
    assert propose_files(whole(files), ids, True)


def test_the_same_sample_gives_the_same_proposal() -> None:
    ids, files = keys_of(BY_NAME["uneven depth"], 200)
    assert propose_files(whole(files), ids, False) == propose_files(whole(files), ids[::-1], False)


@pytest.mark.parametrize(
    "odd",
    [
        "a,b.txt", 'say "x".txt', "[1].txt", "{artifact_id}.txt", "*.txt", "${HOME}.txt", " .txt",
        "a\u202etxt.exe", "été.txt", "name;rm -rf.txt", "=cmd.txt", "a" * 240 + ".txt",
    ],
)  # fmt: skip
def test_hostile_names_become_globs_that_fit_them(odd: str) -> None:
    files = {f"{n:05}/{odd}": 700 for n in range(40)}
    ids = [f"{n:05}" for n in range(40)]
    found = only(propose_files(whole(files), ids, False))
    assert found.key_pattern == "{artifact_id}/{file}"
    assert all(fits(name, odd) for name in found.files)
    assert not any(set(name) & set(',"[]{};$\n') for name in found.files)
    json.dumps(found.reasons)


@pytest.mark.parametrize("odd", ["a*b", "x{y}", "$(id)", "${HOME}", "[1]", "regex:.*", "%s"])
def test_hostile_folders_stand_for_themselves(odd: str) -> None:
    ids = [guid(Random(n)) for n in range(40)]
    files = {f"{odd}/{one}/text.txt": 700 for one in ids}
    found = only(propose_files(whole(files), ids, False))
    told = read(found.key_pattern, [*files, f"other/{ids[0]}/text.txt"], ids)
    assert [told.get(key) for key in files] == ids
    assert "${" not in found.key_pattern


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40),
        min_size=1, max_size=30, unique=True,
    ),
    st.lists(st.text(min_size=1, max_size=10), max_size=5),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_no_keys_are_too_odd(keys: list[str], ids: list[str]) -> None:
    for found in propose_files(whole(dict.fromkeys(keys, 5)), ids, True):
        parse(found.key_pattern)
        assert found.document in found.files
        assert found.reads <= len(keys)


def test_a_directory_is_read_like_a_bucket(tmp_path: object) -> None:
    from pathlib import Path

    from handful.pipeline.proposal.findings import Deadline
    from handful.storage.open import open_source

    root = Path(str(tmp_path))
    ids, files = keys_of(BY_NAME["dated mails"], 60)
    for key in files:
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 40)
    sample = sample_keys(open_source(str(root)), Deadline.of(20), Silent())
    assert sample.is_all
    check(BY_NAME["dated mails"], only(propose_files(sample, ids, False)))
