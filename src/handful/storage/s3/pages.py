"""Reads the pages of a bucket's listing: what they say of objects, as columns.

botocore's parser makes a dictionary of every object, which costs more than the request. So before
it parses, what the answer says of objects is cut out (botocore's event `before-parse`) and handed
over beside the rest, to be read by regular expressions: S3's answers are flat, and text in them
never holds a `<`.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

if TYPE_CHECKING:
    import polars as pl

OBJECTS = "HandfulObjects"
"""Where in the client's answer the text is that `objects` reads."""
_ARCHIVES = {"GLACIER", "DEEP_ARCHIVE"}
"""Classes to be restored first. Of INTELLIGENT_TIERING no listing tells the archive tiers."""
_WANTED = {
    name: re.compile(f"<{name}>([^<]*)</{name}>")
    for name in ("Key", "Size", "ETag", "StorageClass")
}
_LISTING_HEAD_BYTES = 1_000
"""Bytes within which a listing says that it is one."""
_BEGIN, _END = b"<Contents>", b"</Contents>"


def cut_objects(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any
) -> None:
    """Take the objects out of the answer before it is parsed; an observer of `before-parse`.

    Of an answer that is no listing (a proxy's page) there are none, not even `OBJECTS`.
    """
    body = response_dict["body"]
    begin, end = body.find(_BEGIN), body.rfind(_END) + len(_END)
    if (
        response_dict["status_code"] >= 300
        or b"<ListBucketResult" not in body[:_LISTING_HEAD_BYTES]
    ):
        return
    if begin < 0:
        customized_response_dict[OBJECTS] = ("", False)
        return
    rest = body[:begin] + body[end:]
    response_dict["body"] = rest
    encoded = b"<EncodingType>url<" in rest
    customized_response_dict[OBJECTS] = (body[begin:end].decode(), encoded)


def objects(told: tuple[str, bool]) -> pl.DataFrame:
    """key, size, etag, archived of what `cut_objects` took out."""
    import polars as pl

    text, encoded = told
    text = text.replace("&quot;", '"')  # every ETag has two, mostly nothing else has any
    count = text.count("<Contents>")
    keys, sizes, etags, storage = (_object_field_values(name, text, count) for name in _WANTED)
    if encoded:
        keys = [unquote_plus(key) if "%" in key or "+" in key else key for key in keys]
    found: list[str | None] = [name if name in _ARCHIVES else None for name in storage]
    if any(found) and "<RestoreExpiryDate>" in text:
        restored = ["<RestoreExpiryDate>" in part for part in _parts(text)]
        found = [None if here else name for name, here in zip(found, restored, strict=True)]
    return pl.DataFrame(
        {
            "key": pl.Series(keys, dtype=pl.String),
            "size": pl.Series([int(size or 0) for size in sizes], dtype=pl.Int64),
            "etag": pl.Series([etag.strip('"') for etag in etags], dtype=pl.String),
            "archived": pl.Series(found, dtype=pl.String),
        }
    )


def _object_field_values(name: str, text: str, count: int) -> list[str]:
    """What each of the `count` objects says under `name`, "" where it says nothing."""
    pattern = _WANTED[name]
    found = pattern.findall(text)
    if len(found) != count:  # some objects have none
        firsts = [pattern.search(part) for part in _parts(text)]
        found = [first.group(1) if first else "" for first in firsts]
    return [html.unescape(said) if "&" in said else said for said in found]


def _parts(text: str) -> list[str]:
    return text.split("<Contents>")[1:]
