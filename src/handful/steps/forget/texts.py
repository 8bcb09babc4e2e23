"""JSON, CSV, HTML and other texts of the store without what they say of forgotten documents."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

from handful.files import checksums
from handful.files.csv_text import cell_as_meant
from handful.report.forgotten import mark_report
from handful.steps.forget.targets import INSTEAD, Targets

_NAMES_IDS = ("ids", "artifacts", "artifact_id", "artifact")
_ELEMENT = re.compile(r"<(li|tr)\b(?:(?!<\1\b).)*?</\1>", re.DOTALL)
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_REMARK = "Since these figures were made "


def forget_in_json(data: bytes, targets: Targets) -> bytes:
    """JSON without the entries that are about them; what only names them names nobody then."""
    told = json.loads(data)
    found = _forget_value(told, targets, "")
    if found == told:
        return data
    sealed = isinstance(found, dict) and found.pop(checksums.MEMBER, None) is not None
    text = json.dumps(found, indent=2, ensure_ascii=False).encode() + b"\n"
    return checksums.seal(text) if sealed else text


def forget_in_json_lines(data: bytes, targets: Targets) -> bytes:
    """JSON lines: one about a forgotten document goes, one that names it names nobody."""
    lines = []
    for line in data.splitlines(keepends=True):
        try:
            told = json.loads(line)
        except ValueError:
            lines.append(
                targets.without(line.decode(errors="surrogateescape")).encode(
                    errors="surrogateescape"
                )
            )
            continue
        if _is_about(told, targets):
            continue
        found = _forget_value(told, targets, "")
        lines.append(line if found == told else json.dumps(found).encode() + b"\n")
    return b"".join(lines)


def forget_in_csv(data: bytes, targets: Targets) -> bytes:
    """A CSV without the lines that hold an id in a cell of its own; the others as they are."""
    encoding = "utf-16" if data.startswith(_UTF_16) else "utf-8"
    text = data.decode(encoding)
    physical = text.splitlines(keepends=True)
    gone: set[int] = set()
    for delimiter in ",;\t":
        reader, before = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), 0
        for cells in reader:
            meant = {cell_as_meant(cell.strip().lstrip("\ufeff")) for cell in cells}
            if not targets.ids.isdisjoint(meant | {cell.strip() for cell in cells}):
                gone.update(range(before, reader.line_num))
            before = reader.line_num
    if not gone:
        return data
    left = "".join(line for number, line in enumerate(physical) if number not in gone)
    return left.encode(encoding)


def forget_in_html(data: bytes, targets: Targets, words: str) -> bytes:
    """A report without the list items and rows of tables about them, and with `words` on top."""
    text = data.decode()
    text = _ELEMENT.sub(lambda one: "" if targets.shown.search(one[0]) else one[0], text)
    return mark_report(targets.without(text), words).encode()


def mark_comparison(data: bytes, words: str) -> bytes:
    """comparison.json with `words` among its remarks."""
    told = json.loads(data)
    remarks = [one for one in told.get("remarks", []) if not str(one).startswith(_REMARK)]
    told["remarks"] = [*remarks, words] if words else remarks
    return json.dumps(told, indent=2, ensure_ascii=False).encode() + b"\n"


def _is_about(value: Any, targets: Targets) -> bool:
    """Is this entry about one of them: a pair of an id and something, or a record of one?"""
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], str) and value[0] in targets.ids
    if isinstance(value, dict):
        named = [value.get(name) for name in _NAMES_IDS]
        flat = [x for one in named for x in (one if isinstance(one, list) else [one])]
        return any(isinstance(one, str) and one in targets.ids for one in flat)
    return False


def _forget_value(value: Any, targets: Targets, under: str) -> Any:
    if isinstance(value, str):
        whole = under in _NAMES_IDS and value in targets.ids
        return INSTEAD if whole else targets.without(value)
    if isinstance(value, list):
        left = [
            one
            for one in value
            if not _is_about(one, targets)
            and not (under in _NAMES_IDS and isinstance(one, str) and one in targets.ids)
        ]
        return [_forget_value(one, targets, under) for one in left]
    if isinstance(value, dict):
        return {
            targets.without(name): _forget_value(one, targets, name) for name, one in value.items()
        }
    return value
