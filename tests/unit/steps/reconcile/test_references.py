"""How people spell where a file lies, and what a hostile database may try."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from handful.errors import DataError
from handful.steps.reconcile.keys.key_column import references
from handful.steps.reconcile.keys.references import resolver, without_query

OWN = "s3://company-files/uploads"
BUCKETS = ("s3://company-archive", "s3://shared-bucket/ours", "s3://company-files/more")

SPELLED = {
    "a/b.txt": "a/b.txt",
    "b c+d%20é.txt": "b c+d%20é.txt",
    "/uploads/a/b.txt": "a/b.txt",
    "s3://company-files/uploads/a/b.txt": "a/b.txt",
    "S3://company-files/uploads/a/b.txt": "a/b.txt",
    "s3a://company-files/uploads/a/b.txt": "a/b.txt",
    "s3n://company-files/uploads/a?b#c.txt": "a?b#c.txt",
    "arn:aws:s3:::company-files/uploads/a/b.txt": "a/b.txt",
    "arn:aws-cn:s3:::company-archive/x.txt": "s3://company-archive/x.txt",
    "s3://company-archive/x/y.txt": "s3://company-archive/x/y.txt",
    "s3://shared-bucket/ours/y.txt": "s3://shared-bucket/ours/y.txt",
    "s3://company-files/more/y.txt": "s3://company-files/more/y.txt",
    "/more/y.txt": "s3://company-files/more/y.txt",
    "https://company-files.s3.amazonaws.com/uploads/a%20b.txt": "a b.txt",
    "https://company-files.s3.eu-west-1.amazonaws.com/uploads/a.txt": "a.txt",
    "https://company-files.s3-eu-west-1.amazonaws.com/uploads/a.txt": "a.txt",
    "https://company-files.s3.dualstack.eu-west-1.amazonaws.com/uploads/a.txt": "a.txt",
    "https://company-files.s3-accelerate.amazonaws.com/uploads/a.txt": "a.txt",
    "https://s3.eu-west-1.amazonaws.com/company-files/uploads/a.txt": "a.txt",
    "https://s3.amazonaws.com/company-archive/a%2Bb.txt": "s3://company-archive/a+b.txt",
    "HTTPS://Company-Files.S3.amazonaws.com/uploads/%C3%A9.txt": "é.txt",
    # Decoded once: what is still encoded is a name, and is sent as one.
    "https://company-archive.s3.amazonaws.com/%252e%252e/a.txt": "s3://company-archive/%2e%2e/a.txt",
    "%2e%2e/secret.txt": "%2e%2e/secret.txt",
    "[draft] a.txt": "[draft] a.txt",
    "12": "12",
}
HOSTILE = {
    "../secret.txt": "climbs out",
    "a/../../secret.txt": "climbs out",
    "a/../b.txt": "climbs out",
    "a/./b.txt": "empty or '.'",
    "a//b.txt": "empty or '.'",
    "//company-files/uploads/a.txt": "absolute",
    "/etc/passwd": "outside FILES_URL",
    "/uploads-of-others/a.txt": "outside FILES_URL",
    "/uploads/../other/a.txt": "climbs out",
    "s3://company-files/secret.txt": "outside FILES_URL",
    "s3://company-files/uploads-of-others/a.txt": "outside FILES_URL",
    "s3://company-files/uploads/../secret.txt": "climbs out",
    "s3://company-files/uploads": "outside FILES_URL",
    "s3://company-files/uploads/": "names a folder",
    "s3://company-files": "names a folder",
    "s3://other-bucket/a.txt": "FILE_BUCKETS does not list",
    "s3://shared-bucket/theirs/a.txt": "FILE_BUCKETS does not list",
    "s3://shared-bucket/ours-not/a.txt": "FILE_BUCKETS does not list",
    "s3://shared-bucket/ours/../theirs/a.txt": "climbs out",
    "s3://company-archive@evil.example/a.txt": "FILE_BUCKETS does not list",
    "s3://company-archive:80/a.txt": "FILE_BUCKETS does not list",
    "s3://COMPANY-ARCHIVE/a.txt": "FILE_BUCKETS does not list",
    "s3:///uploads/a.txt": "FILE_BUCKETS does not list",
    "arn:aws:s3:eu-west-1:123456789012:accesspoint/mine/a.txt": None,
    "a\\b.txt": "backslash",
    "..\\..\\secret.txt": "backslash",
    "C:\\files\\a.txt": "backslash",
    "\\\\server\\share\\a.txt": "backslash",
    "a\x00.txt": "control character",
    "a\nb.txt": "control character",
    "folder/": "names a folder",
    ".handful-tmp/a.txt": "not for keeping",
    "é/" * 400 + "a": "longer than",
    "é" * 128: "more than 255 bytes",
    '{"bucket": "company-files", "key": "uploads/a.txt"}': "is JSON",
    '["a.txt"]': "is JSON",
    "https://example.com/uploads/a.txt": "no address of the server",
    "https://company-files.s3.amazonaws.com.evil.example/uploads/a.txt": "no address of the server",
    "https://evil.example/.s3.amazonaws.com/uploads/a.txt": "no address of the server",
    "https://company-files.s3-website-eu-west-1.amazonaws.com/uploads/a.txt": "no address of",
    "https://company-files.s3.amazonaws.com:8443/uploads/a.txt": "no address of the server",
    "http://127.0.0.1/uploads/a.txt": "no address of the server",
    "http://169.254.169.254/latest/meta-data/": "no address of the server",
    "https://company-files.s3.amazonaws.com/uploads/%2e%2e/secret.txt": "climbs out",
    "https://company-files.s3.amazonaws.com/uploads%2F..%2Fsecret.txt": "climbs out",
    "https://company-files.s3.amazonaws.com/uploads/a%00.txt": "control character",
    "https://company-files.s3.amazonaws.com/uploads/a%FF.txt": "no address that can be read",
    "https://company-files.s3.amazonaws.com/uploads/a+b.txt": "two ways",
    "https://company-files.s3.amazonaws.com/uploads/a.txt?X-Amz-Signature=Zm9v": "has a query",
    "https://company-files.s3.amazonaws.com/uploads/a.txt?versionId=1": "has a query",
    "https://u:Zm9v@company-files.s3.amazonaws.com/uploads/a.txt": "holds a login",
    "https://[company-files/a.txt": "no address that can be read",
    "https://company-files.s3.amazonaws.com:x/a.txt": "no address that can be read",
    "https://other-bucket.s3.amazonaws.com/a.txt": "FILE_BUCKETS does not list",
    "https://s3.amazonaws.com/other-bucket/a.txt": "FILE_BUCKETS does not list",
    "https://company-files.s3.amazonaws.com/": "names a folder",
    "file:///etc/passwd": "file:// URL",
    "gs://company-files/uploads/a.txt": "gs:// URL",
    "ftp://company-files/uploads/a.txt": "ftp:// URL",
    "javascript://company-files/a": "javascript:// URL",
}


@pytest.mark.parametrize("reference", SPELLED, ids=repr)
def test_of_a_bucket_a_key_is_read_as_people_spell_it(reference: str) -> None:
    found = resolver(OWN, BUCKETS, None).resolve(reference)
    assert (found.key, found.fault) == (SPELLED[reference], "")


@pytest.mark.parametrize("reference", [one for one in HOSTILE if HOSTILE[one]], ids=repr)
def test_of_a_bucket_what_leads_elsewhere_is_refused(reference: str) -> None:
    found = resolver(OWN, BUCKETS, None).resolve(reference)
    assert found.key == ""
    assert str(HOSTILE[reference]) in found.fault


def test_an_arn_of_another_kind_is_just_a_name_below_files_url() -> None:
    odd = "arn:aws:s3:eu-west-1:123456789012:accesspoint/mine/a.txt"
    assert resolver(OWN, BUCKETS, None).resolve(odd).key == odd


@pytest.mark.parametrize(
    ("reference", "key", "fault"),
    [
        ("http://files.example:9000/company-files/uploads/a.txt", "a.txt", ""),
        ("http://company-files.files.example:9000/uploads/a.txt", "a.txt", ""),
        ("http://files.example:9000/company-archive/a.txt", "s3://company-archive/a.txt", ""),
        ("http://files.example/company-files/uploads/a.txt", "", "no address of the server"),
        ("http://evilfiles.example:9000/uploads/a.txt", "", "no address of the server"),
        ("https://company-files.s3.amazonaws.com/uploads/a.txt", "", "no address of the server"),
    ],
)
def test_addresses_of_another_server_than_aws(reference: str, key: str, fault: str) -> None:
    found = resolver(OWN, BUCKETS, "http://files.example:9000").resolve(reference)
    assert found.key == key
    assert fault in found.fault


def test_a_whole_bucket_as_files_url() -> None:
    whole = resolver("s3://company-files", (), None)
    assert whole.resolve("/a/b.txt").key == "a/b.txt"
    assert whole.resolve("s3://company-files/a/b.txt").key == "a/b.txt"
    assert "FILE_BUCKETS" in whole.resolve("s3://company-archive/x.txt").fault


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Files of production, a secret beside them, and links of all kinds."""
    files = tmp_path / "files"
    (files / "a" / "deep").mkdir(parents=True)
    (files / "a" / "b c.txt").write_text("b")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.txt").write_text("secret")
    (tmp_path / "files-of-others").mkdir()
    (tmp_path / "files-of-others" / "x.txt").write_text("other")
    (files / "inside.txt").symlink_to(files / "a" / "b c.txt")
    (files / "out.txt").symlink_to(tmp_path / "secret" / "key.txt")
    (files / "outside").symlink_to(tmp_path / "secret")
    (files / "chain").symlink_to(files / "outside")
    (files / "relative.txt").symlink_to("../secret/key.txt")
    (files / "link").symlink_to(files / "a" / "deep")
    (files / "circle").symlink_to(files / "circle")
    (tmp_path / "alias").symlink_to(files)
    return files


def test_of_a_directory_a_path_is_read_as_the_system_reads_it(root: Path) -> None:
    spelled = {
        "a/b c.txt": "a/b c.txt",
        "./a/b c.txt": "a/b c.txt",
        "a//b c.txt": "a/b c.txt",
        "x/../a/b c.txt": "a/b c.txt",
        "link/../b c.txt": "a/b c.txt",  # where the link leads, not where the text does
        "a/../../files/a/b c.txt": "a/b c.txt",
        f"{root}/a/b c.txt": "a/b c.txt",
        f"{root.parent}/alias/a/b c.txt": "a/b c.txt",
        f"file://{root}/a/b%20c.txt": "a/b c.txt",
        f"FILE://localhost{root}/a/b%20c.txt": "a/b c.txt",
        "a/b%20c.txt": "a/b%20c.txt",
        "inside.txt": "inside.txt",
        "absent/x.txt": "absent/x.txt",
        "~/a.txt": "~/a.txt",
        "$HOME/a.txt": "$HOME/a.txt",
    }
    reader = resolver(str(root), (), None)
    assert {one: reader.resolve(one).key for one in spelled} == spelled
    linked = resolver(str(root.parent / "alias"), (), None)
    assert linked.resolve(f"{root}/a/b c.txt").key == "a/b c.txt"
    assert linked.resolve(f"{root.parent}/alias/a/b c.txt").key == "a/b c.txt"


def test_of_a_directory_what_leads_elsewhere_is_refused(root: Path) -> None:
    hostile = {
        "../secret/key.txt": "outside FILES_URL",
        f"{root.parent}/secret/key.txt": "outside FILES_URL",
        f"{root.parent}/files-of-others/x.txt": "outside FILES_URL",
        f"{root}/../secret/key.txt": "outside FILES_URL",
        "/etc/passwd": "outside FILES_URL",
        "/": "names a folder",
        "a/": "names a folder",
        ".": "empty or '.'",
        "a/..": "outside FILES_URL",
        "out.txt": "link out of",
        "outside/key.txt": "link out of",
        "chain/key.txt": "link out of",
        "relative.txt": "link out of",
        "link/../../../secret/key.txt": "outside FILES_URL",
        f"file://{root}/%2e%2e/secret/key.txt": "outside FILES_URL",
        f"file://{root}/a%00": "control character",
        f"file://other-machine{root}/a/b.txt": "another machine",
        f"file://{root}/a.txt?x": "two ways",
        "s3://bucket/a.txt": "s3:// URL",
        "https://bucket.s3.amazonaws.com/a.txt": "https:// URL",
        "a\\b.txt": "backslash",
        "a\x00b": "control character",
        "a\rb": "control character",
        ".handful-tmp/x": "not for keeping",
        "x/" * 3_000 + "y": "longer than",
        "a/" + "é" * 128: "more than 255 bytes",
    }
    reader = resolver(str(root), (), None)
    found = {one: reader.resolve(one) for one in hostile}
    assert [one for one in hostile if hostile[one] not in found[one].fault] == []
    assert [one for one in hostile if found[one].key] == []


def test_a_reason_shows_no_signature_and_no_login() -> None:
    assert without_query("https://u:pw@h/b/a.txt?X-Amz-Signature=Zm9v#x") == "https://h/b/a.txt"
    assert without_query("a/b?c") == "a/b?c"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, []),
        ("", []),
        ("  ", []),
        ("a/b.txt", ["a/b.txt"]),
        (" a ", [" a "]),
        (17, ["17"]),
        (["a", "b"], ["a", "b"]),
        (["a", None, "", 3], ["a", "3"]),
        ([], []),
        ('["a", "b"]', ["a", "b"]),
        ("[]", []),
        ("[a, b].txt", ["[a, b].txt"]),
        ({"key": "a"}, ['{"key":"a"}']),
        ([["a"]], ['["a"]']),
        ('quo"ted\n\\é', ['quo"ted\n\\é']),
    ],
)
def test_what_a_cell_may_hold(value: object, found: list[str]) -> None:
    rows = pl.DataFrame({"row": [json.dumps({"other": "x", "File Key": value})]})
    assert references(rows, "File Key")["reference"].to_list() == found
    assert references(rows, "file key")["reference"].to_list() == found


def test_a_column_that_is_not_there_is_named_with_those_that_are() -> None:
    rows = pl.DataFrame({"row": [json.dumps({"file_keys": "a", "other": 1})]})
    with pytest.raises(DataError, match=r"no column 'file_key'.*'file_keys', 'other'") as error:
        references(rows, "file_key")
    assert "is it 'file_keys'?" in str(error.value)
