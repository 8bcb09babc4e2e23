"""FILE_KEY_COLUMN on a real S3 server: several buckets, one look a key, and nothing outside."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handful import layout
from handful.errors import StepError, StoreError, Unreachable
from handful.pipeline.production import production_files
from tests.support.buckets import (
    PRODUCTION,
    contents,
    copied_to,
    in_pipeline,
    put,
    remove,
    start,
    stored,
)
from tests.support.buckets import write_settings as written
from tests.support.faults import Proxy, Request, faulty
from tests.support.progress import Recording
from tests.support.reconciling import Business, Outcome, summary
from tests.support.servers import S3Server

ARCHIVE, SECRET = "handful-archive", "handful-secret"
ARTIFACTS = 20


@pytest.fixture(scope="module", autouse=True)
def more_buckets(s3_server: S3Server) -> None:
    client = s3_server.client()
    for bucket in (ARCHIVE, SECRET):
        client.create_bucket(Bucket=bucket)
        put(client, f"{bucket}/ours/x.txt", b"secret" if bucket == SECRET else b"of the archive")


@pytest.fixture
def before_s3(s3_server: S3Server) -> Iterator[Proxy]:
    with faulty(s3_server.endpoint_url) as mine:
        yield mine


@pytest.fixture
def business(tmp_path: Path, s3_server: S3Server, before_s3: Proxy) -> Business:
    """Artifacts doc-0, …: one file below FILES_URL, one in the archive's bucket."""
    found = Business(tmp_path)
    found.sql("ALTER TABLE labels ADD COLUMN file_key TEXT")
    found.columns = "id AS artifact_id, label, hash AS file_hash, file_key"
    files_url = s3_server.place(PRODUCTION)
    found.settings["production"] |= {
        "FILES_URL": files_url,
        "S3_ENDPOINT_URL": before_s3.endpoint_url,
        "FILE_KEY_COLUMN": "file_key",
        "FILE_BUCKETS": f"{ARCHIVE}/{files_url.rpartition('/')[2]}, s3://{ARCHIVE}/ours",
        "FILES_FROM_PROD": "*.txt",
    }
    found.settings["experiment"] |= {
        "STORE": s3_server.place(),
        "S3_ENDPOINT_URL": before_s3.endpoint_url,
    }
    client = s3_server.client()
    for number in range(ARTIFACTS):
        put(client, f"{own(found)}/2024/{number}/body.txt", b"body %d" % number)
        put(client, f"{archive(found)}/{number}/more.txt", b"more of %d" % number)
        label = "cat" if number % 3 else "dog"
        names(found, f"doc-{number}", label, f"2024/{number}/body.txt")
        names(found, f"doc-{number}", label, f"s3://{archive(found)}/{number}/more.txt")
    return found


def own(business: Business) -> str:
    """`bucket/prefix` of FILES_URL."""
    return business.settings["production"]["FILES_URL"][5:]


def archive(business: Business) -> str:
    """`bucket/prefix` of the other bucket."""
    return f"{ARCHIVE}/{own(business).rpartition('/')[2]}"


def names(business: Business, id: str, label: str, key: str) -> None:
    business.sql("INSERT INTO labels VALUES (?, ?, NULL, 0, ?)", id, label, key)


def of_production(proxy: Proxy, since: int = 0) -> list[Request]:
    """Requests about anything but the store, as a target or as the original of a copy."""
    store = ("handful-store", "")
    return [r for r in proxy.requests[since:] if r.bucket not in store]


def expected() -> dict[str, bytes]:
    both = {f"doc-{n}/body.txt": b"body %d" % n for n in range(ARTIFACTS)}
    return both | {f"doc-{n}/more.txt": b"more of %d" % n for n in range(ARTIFACTS)}


def test_files_of_two_buckets_are_copied_on_the_servers_side(
    business: Business, s3_server: S3Server, before_s3: Proxy
) -> None:
    outcome = business.run()
    assert outcome.record.fates == {"file_row": ARTIFACTS, "kept": ARTIFACTS}
    assert contents(s3_server, copied_to(business, "")) == expected()
    asked = of_production(before_s3)
    assert not [r for r in asked if r.method == "GET"], "nothing is listed, nothing is read"
    looks = Counter(r.path for r in asked if r.method == "HEAD")
    wanted = {f"{own(business)}/2024/{n}/body.txt" for n in range(ARTIFACTS)}
    wanted |= {f"{archive(business)}/{n}/more.txt" for n in range(ARTIFACTS)}
    assert set(looks) == wanted
    # One look a key, and one more at the first copy from each bucket.
    assert looks.total() <= 2 * ARTIFACTS + 4
    copies = {r.copy_source for r in before_s3.requests if r.is_copy}
    assert copies == wanted


def test_what_was_brought_stays_and_what_is_lost_comes_again(
    business: Business, s3_server: S3Server, before_s3: Proxy
) -> None:
    first = business.run()
    so_far = len(before_s3.requests)
    again = business.run()
    assert (again.record.copied, of_production(before_s3, so_far)) == (0, [])
    assert again.record.ledger_hash == first.record.ledger_hash
    remove(s3_server.client(), copied_to(business, "doc-3/more.txt"))
    mended = business.run()
    assert mended.record.copied == 1
    assert mended.rows("doc-3")[0]["repaired"] or mended.rows("doc-3")[1]["repaired"]
    assert contents(s3_server, copied_to(business, "")) == expected()


def test_refresh_sees_what_changed_in_the_other_bucket(
    business: Business, s3_server: S3Server
) -> None:
    business.run()
    put(s3_server.client(), f"{archive(business)}/3/more.txt", b"less of 3")
    outcome = business.run(refresh=True)
    (table,) = [rows for title, rows in outcome.heard.tables if "since" in title]
    assert table[1] == ("files", 0, 0, 1)
    assert outcome.record.copied == 1
    assert contents(s3_server, copied_to(business, ""))["doc-3/more.txt"] == b"less of 3"


def test_between_two_logins_it_is_streamed_from_the_right_bucket(
    business: Business, s3_server: S3Server
) -> None:
    business.settings["production"]["S3_ENDPOINT_URL"] = s3_server.endpoint_url
    assert business.run().record.kept == ARTIFACTS
    assert contents(s3_server, copied_to(business, "")) == expected()


def test_into_a_local_store(business: Business, tmp_path: Path) -> None:
    business.settings["experiment"] = {}
    assert business.run().record.kept == ARTIFACTS
    found = tmp_path / "store" / "EXP-1" / layout.ARTIFACTS
    assert (found / "doc-3" / "more.txt").read_bytes() == b"more of 3"


HOSTILE = [
    f"s3://{SECRET}/ours/x.txt",
    f"s3://{SECRET}@{ARCHIVE}/ours/x.txt",
    f"s3://{ARCHIVE}/ours/../../{SECRET}/ours/x.txt",
    f"s3://{ARCHIVE}/theirs/x.txt",
    f"s3://{ARCHIVE}/x.txt",
    f"../../{SECRET}/ours/x.txt",
    f"2024/../../{SECRET}/ours/x.txt",
    f"/{SECRET}/ours/x.txt",
    "/ready",
    f"//{SECRET}/ours/x.txt",
    f"..\\..\\{SECRET}\\ours\\x.txt",
    f"https://{SECRET}.s3.amazonaws.com/ours/x.txt",
    "http://ENDPOINT/handful-secret/ours/x.txt",
    "http://ENDPOINT/handful-archive/ours/%2e%2e/%2e%2e/handful-secret/ours/x.txt",
    "http://ENDPOINT/handful-archive/ours/x.txt?versionId=1",
    "http://169.254.169.254/latest/meta-data/x.txt",
    "file:///etc/passwd",
    "x\r\nHost: evil.txt",
    "x\x00.txt",
]


def test_nothing_is_asked_for_what_lies_outside(business: Business, before_s3: Proxy) -> None:
    business.run()
    honest = {(r.method, r.path) for r in of_production(before_s3)}
    for number, key in enumerate(HOSTILE):
        key = key.replace("ENDPOINT", before_s3.endpoint_url.partition("//")[2])
        names(business, f"hostile-{number}", "dog", key)
    so_far = len(before_s3.requests)
    outcome = business.run(refresh=True)
    assert [outcome.fate(f"hostile-{n}") for n in range(len(HOSTILE))] == [
        ["unsafe_name"] for _ in HOSTILE
    ]
    asked = {(r.method, r.path) for r in of_production(before_s3, so_far)}
    assert asked <= honest
    assert not [r for r in before_s3.requests if SECRET in r.raw_path or SECRET in r.copy_source]
    told = summary(outcome)
    assert told["keys"]["unsafe"] == len(HOSTILE)
    assert told["artifacts"]["fates"] == {"kept": ARTIFACTS, "unsafe_name": len(HOSTILE)}


SPELLED = [
    "odd/a b+c%20d.txt",
    "odd/%2e%2e.txt",
    "odd/ümläut-日本.txt",
    "s3://OWN/odd/a b+c%20d.txt",
    "s3a://OWN/odd/?x=#y.txt",
    "http://ENDPOINT/OWN/odd/a%20b%2Bc%2520d.txt",
    "s3://handful-archive/ours/x.txt",
    "arn:aws:s3:::handful-archive/ours/x.txt",
    "http://ENDPOINT/handful-archive/ours/x.txt",
    "/PREFIX/odd/%2e%2e.txt",
]


@pytest.mark.slow
def test_keys_as_people_spell_them_are_found(
    business: Business, s3_server: S3Server, before_s3: Proxy
) -> None:
    objects = {"a b+c%20d.txt", "%2e%2e.txt", "ümläut-日本.txt", "?x=#y.txt"}
    for name in objects:
        put(s3_server.client(), f"{own(business)}/odd/{name}", name.encode())
    where = {
        "OWN": own(business),
        "ENDPOINT": before_s3.endpoint_url.partition("//")[2],
        "PREFIX": own(business).partition("/")[2],
    }
    for number, key in enumerate(SPELLED):
        for word, text in where.items():
            key = key.replace(word, text)
        business.sql(
            "INSERT INTO labels VALUES (?, 'dog', ?, 0, ?)", f"odd-{number}", f"h{number}", key
        )
    outcome = business.run()
    assert [outcome.fate(f"odd-{n}") for n in range(len(SPELLED))] == [["kept"] for _ in SPELLED]
    found = contents(s3_server, copied_to(business, ""))
    for number, key in enumerate(SPELLED):
        (content,) = [text for name, text in found.items() if name.startswith(f"odd-{number}/")]
        assert content == b"of the archive" or content.decode() in objects, key


def test_a_source_of_several_buckets_reads_the_right_one(
    business: Business, tmp_path: Path, s3_server: S3Server
) -> None:
    source = production_files(business.open(Recording(), tmp_path).settings)
    assert source.url == business.settings["production"]["FILES_URL"]
    key = f"s3://{archive(business)}/7/more.txt"
    assert source.read("2024/7/body.txt") == b"body 7"
    assert source.read(key) == b"more of 7"
    assert (source.head(key).key, source.head(key).size) == (key, 9)
    source.fetch(key, tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == b"more of 7"
    assert source.path(key).read_text() == "more of 7"
    below = source.fetch_tree(f"s3://{archive(business)}/7", tmp_path / "scratch")
    assert [path.name for path in below.iterdir()] == ["more.txt"]
    for outside in (
        f"s3://{SECRET}/ours/x.txt",
        f"s3://{ARCHIVE}/x.txt",
        "s3://",
        f"s3://{ARCHIVE}",
    ):
        for ask in (source.read, source.head, source.path):
            with pytest.raises(StoreError, match="no place that may be read"):
                ask(outside)


def denies(part: str) -> Any:
    return lambda r: "403" if part in r.path and r.bucket != "handful-store" else "pass"


def test_a_denied_look_is_no_absence(business: Business, before_s3: Proxy) -> None:
    before_s3.rule = denies("/3/more.txt")
    with pytest.raises(StepError, match="MAX_FAILED") as error:
        business.run()
    assert "could not be looked at" in str(error.value)
    business.settings["reconcile"]["MAX_FAILED"] = "1"
    outcome = business.run()
    assert sorted(outcome.fate("doc-3")) == ["copy_failed", "file_row"]
    assert outcome.record.kept == ARTIFACTS - 1
    before_s3.rule = lambda _: "pass"
    assert business.run(refresh=True).record.kept == ARTIFACTS


def test_a_bucket_that_denies_everything_ends_the_step_and_keeps_no_snapshot(
    business: Business, before_s3: Proxy
) -> None:
    before_s3.rule = denies("")
    with pytest.raises(StepError, match="MAX_FAILED"):
        business.run()
    before_s3.rule = lambda _: "pass"
    assert business.run().record.kept == ARTIFACTS


def test_who_does_not_answer_ends_the_step(
    business: Business, before_s3: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import timedelta

    from handful.storage import retry
    from handful.storage.s3 import clients

    soon = lambda *_: retry.obstore_retries(1, timedelta(seconds=1))  # noqa: E731
    monkeypatch.setattr(clients, "obstore_retries", soon)
    before_s3.rule = lambda r: "503" if "/3/more.txt" in r.path else "pass"
    with pytest.raises(Unreachable):
        business.run()
    assert not [r for r in before_s3.requests if r.path == stored(business, layout.SNAPSHOT)][1:]


def test_absent_objects_are_told(business: Business, s3_server: S3Server) -> None:
    names(business, "gone", "dog", "2024/nowhere/body.txt")
    names(business, "half", "dog", "2024/1/body.txt")
    names(business, "half", "dog", f"s3://{archive(business)}/nowhere/more.txt")
    names(business, "two", "dog", "2024/1/body.txt")
    names(business, "two", "dog", f"s3://{archive(business)}/1/body.txt")
    put(s3_server.client(), f"{archive(business)}/1/body.txt", b"another body")
    outcome = business.run()
    assert outcome.fate("gone") == ["no_files"]
    assert sorted(outcome.fate("half")) == ["file_row", "missing_files"]
    assert f"s3://{archive(business)}/nowhere/more.txt" in outcome.reason("half")
    assert sorted(outcome.fate("two")) == ["ambiguous_key", "file_row"]
    for key in ("2024/1/body.txt", f"s3://{archive(business)}/1/body.txt"):
        assert key in outcome.reason("two")


@pytest.mark.slow
def test_killed_in_the_middle_of_the_looks_it_ends_the_same(
    business: Business, s3_server: S3Server, before_s3: Proxy
) -> None:
    written(business)
    looked = ARTIFACTS
    before_s3.rule = lambda _: "pass"
    process = start(business)
    try:
        for number in range(1, 100_000):
            assert before_s3.wait_for(number, 60)
            heads = [r for r in of_production(before_s3) if r.method == "HEAD"]
            if len(heads) >= looked:
                break
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    before_s3.settle()
    record = in_pipeline(business)
    assert record.kept == ARTIFACTS
    assert contents(s3_server, copied_to(business, "")) == expected()


def test_production_is_only_read(business: Business, before_s3: Proxy) -> None:
    outcome: Outcome = business.run()
    assert outcome.record.kept == ARTIFACTS
    assert not [r for r in of_production(before_s3) if r.is_write]
