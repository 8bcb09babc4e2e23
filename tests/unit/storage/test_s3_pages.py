"""What a page of a listing says, beside botocore's own reading of it."""

from __future__ import annotations

from typing import Any

import pytest

from handful.storage.s3.pages import OBJECTS, cut_objects, objects

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult><Name>b</Name>'
KEYS = [
    "plain",
    "a &amp; b &lt;c&gt; &quot;q&quot; &apos;",
    "line&#10;break",
    "&amp;amp;copy=1",
    "ü 日本",
    "percent%20plus+",
]


def entry(key: str, more: str = "<ETag>&quot;0f&quot;</ETag><Size>3</Size>") -> str:
    return f"<Contents><Key>{key}</Key>{more}</Contents>"


def read(body: str) -> list[dict[str, Any]]:
    answer: dict[str, Any] = {"status_code": 200, "body": body.encode()}
    custom: dict[str, Any] = {}
    cut_objects(answer, custom)
    assert b"<Contents>" not in answer["body"]
    return objects(custom[OBJECTS]).to_dicts()


@pytest.mark.parametrize("encoding", ["", "<EncodingType>url</EncodingType>"])
def test_keys_are_read_as_botocore_reads_them(encoding: str) -> None:
    import botocore.session
    from botocore.handlers import decode_list_object_v2
    from botocore.parsers import create_parser

    body = f"{HEAD}{encoding}{''.join(map(entry, KEYS))}</ListBucketResult>"
    model = botocore.session.Session().get_service_model("s3").operation_model("ListObjectsV2")
    answer = {"status_code": 200, "headers": {}, "body": body.encode()}
    parsed = create_parser("rest-xml").parse(answer, model.output_shape)
    decode_list_object_v2(parsed, {"encoding_type_auto_set": True})
    expected = [(one["Key"], one["Size"], one["ETag"].strip('"')) for one in parsed["Contents"]]
    assert [(row["key"], row["size"], row["etag"]) for row in read(body)] == expected


def test_what_an_object_does_not_say_is_nobody_else_s() -> None:
    first = entry("no etag", "<Size>1</Size>")
    second = entry("first", "<Size>2</Size><ETag>0e</ETag><StorageClass>GLACIER</StorageClass>")
    found = read(f"{HEAD}{first}{second}{entry('none', '')}</ListBucketResult>")
    assert [(row["etag"], row["size"]) for row in found] == [("", 1), ("0e", 2), ("", 0)]
    assert [row["archived"] for row in found] == [None, "GLACIER", None]


def test_an_empty_page() -> None:
    assert read(f"{HEAD}<KeyCount>0</KeyCount></ListBucketResult>") == []


@pytest.mark.parametrize(
    ("storage", "status", "archived"),
    [
        ("STANDARD", "", None),
        ("GLACIER_IR", "", None),
        ("INTELLIGENT_TIERING", "", None),
        ("DEEP_ARCHIVE", "", "DEEP_ARCHIVE"),
        ("GLACIER", "<IsRestoreInProgress>true</IsRestoreInProgress>", "GLACIER"),
        (
            "GLACIER",
            "<IsRestoreInProgress>false</IsRestoreInProgress>"
            "<RestoreExpiryDate>2026-12-21T00:00:00.000Z</RestoreExpiryDate>",
            None,
        ),
    ],
)
def test_what_is_archived(storage: str, status: str, archived: str | None) -> None:
    more = f"<StorageClass>{storage}</StorageClass><RestoreStatus>{status}</RestoreStatus>"
    other = entry("cold", "<Size>1</Size><StorageClass>DEEP_ARCHIVE</StorageClass>")
    found = read(f"{HEAD}{entry('key', more)}{other}</ListBucketResult>")
    assert [row["archived"] for row in found] == [archived, "DEEP_ARCHIVE"]
