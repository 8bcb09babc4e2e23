"""Texts without what they say of forgotten documents, and otherwise as they were."""

from __future__ import annotations

import json

from handful.steps.forget import texts
from handful.steps.forget.targets import Targets

LONG = Targets(frozenset({"artifact-0007"}))
SHORT = Targets(frozenset({"12"}))


def test_short_ids_change_no_number_and_no_setting() -> None:
    told = {"epochs": "12", "count": 12, "stale": {"ids": ["11", "12"]}, "why": "like '12', 12 %"}
    found = json.loads(texts.forget_in_json(json.dumps(told).encode(), SHORT))
    assert found == {
        "epochs": "12",
        "count": 12,
        "stale": {"ids": ["11"]},
        "why": "like '(forgotten)', 12 %",
    }


def test_a_longer_id_that_begins_alike_stays() -> None:
    data = json.dumps({"a": "artifact-00071", "b": "of artifact-0007."}).encode()
    found = json.loads(texts.forget_in_json(data, LONG))
    assert found == {"a": "artifact-00071", "b": "of (forgotten)."}


def test_what_names_nobody_stays_byte_for_byte() -> None:
    data = b'{"a":   [1, 2],\n"b": "artifact-0008"}'
    assert texts.forget_in_json(data, LONG) == data
    sheet = 'id;x\r\n"artifact-0008";"two\nlines"\r\n'.encode("utf-16")
    assert texts.forget_in_csv(sheet, LONG) == sheet


def test_pairs_that_begin_with_one_go() -> None:
    told = {"longest": {"train": [["artifact-0007", 47], ["artifact-0001", 46]]}}
    found = json.loads(texts.forget_in_json(json.dumps(told).encode(), LONG))
    assert found == {"longest": {"train": [["artifact-0001", 46]]}}


def test_a_sheet_loses_whole_records_in_any_encoding() -> None:
    sheet = 'artifact_id;label\r\n"artifact-0007";"two\r\nlines"\r\nartifact-0008;b\r\n'
    for encoding in ("utf-8-sig", "utf-16"):
        found = texts.forget_in_csv(sheet.encode(encoding), LONG)
        assert found.decode(encoding) == "artifact_id;label\r\nartifact-0008;b\r\n"


def test_the_report_loses_items_and_rows_about_them() -> None:
    page = (
        "<main id=m><ol><li><code>artifact-0007</code><blockquote>secret</blockquote></li>"
        "<li><code>artifact-0008</code> stays</li></ol>"
        "<table><tr><td>artifact-0007</td><td>secret</td></tr><tr><td>12</td></tr></table></main>"
    )
    found = texts.forget_in_html(page.encode(), LONG, "words & so").decode()
    assert "secret" not in found
    assert "artifact-0008</code> stays" in found
    assert '<main id=m><p class="since-forgotten">words &amp; so</p>' in found
    assert texts.forget_in_html(found.encode(), LONG, "words & so").decode() == found
