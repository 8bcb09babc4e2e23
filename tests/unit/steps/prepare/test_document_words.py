"""Which words of a document count: a table of files and of what is known beside them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from handful.steps.prepare.artifacts import Artifact
from handful.steps.prepare.similarity.document_words import DocumentFiles, words_of
from handful.steps.prepare.similarity.own_values import own_values
from handful.steps.prepare.similarity.shingles import split

GUID = "3F2504E0-4F89-41D3-9A0C-0305E82C3301"
HASH = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
ROW = {
    "customer": "Acme & Söhne GmbH",
    "seen": "2026-03-01 10:00:00",
    "pages": 12,
    "price": 0.5,
    "paid": False,
    "tags": ["net 30", {"of": "berlin"}],
    "none": None,
    "subject": "we are sorry about the delay",
}
DIGITS = HASH.partition(":")[2]
PDF = b"%PDF-1.7\n1 0 obj"
Files = dict[str, str | bytes]
SENTENCE = "one two three four five six"


def words(folder: Path, own: Files, made: Files, artifact_id: str = GUID) -> str:
    """The words that count, in a form in which they can be compared."""
    artifact = Artifact(artifact_id, "letter", (), json.dumps(ROW), HASH)
    for name, content in {**own, **made}.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    files = DocumentFiles(
        tuple(str(folder / name) for name in own),
        tuple(str(folder / name) for name in made),
        values=own_values(artifact, {"memo": "letter", "note": "letter", "bill": "invoice"}),
    )
    return b" ".join(words_of(files).text.split()).decode()


def told(text: str) -> str:
    return b" ".join(split(text)).decode()


TEXTS = {
    # a plain text, and what is left of it
    f"See {GUID} there": "see there",
    f"See {GUID.lower().replace('-', '')} there": "see there",
    f"x{GUID}": f"x{GUID}",
    f"s3://b/{GUID}/{DIGITS}.txt, {HASH}": "s3 b txt",
    "a letter to a friend": "a letter to a friend",
    "Letter\nto a friend": "to a friend",
    "kind: letter\nto a friend": "kind to a friend",
    "kind = LETTER ; to = a friend": "kind to a friend",
    "<kind>memo</kind><kind>bill</kind>": "kind kind kind bill kind",
    "kind\tletter\tto\n": "kind to",
    '"kind","letter","to"': "kind to",
    "letters: letterhead": "letters letterhead",
    "customer: acme &  söhne gmbh\nseen: 2026-03-01T10Z": "customer seen 2026 03 01t10z",
    "customer: Acme GmbH": "customer acme gmbh",
    "seen|2026-03-01 10:00:00|pages|12|price|0.5|paid|false|": "seen pages price paid",
    "12 pages, 0.5 each, paid: no": "12 pages 0 5 each paid no",
    "terms: net 30\nplace: Berlin": "terms place",
    "we are sorry about the delay\nnot: we are sorry about the delay": None,
    "an İstanbul line\nkind: letter": "an İstanbul line kind",
    "": "",
}


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_taken_out_of_a_text(text: str, tmp_path: Path) -> None:
    wanted = TEXTS[text]
    assert words(tmp_path, {"t.txt": text}, {}) == told(text.lower() if wanted is None else wanted)


RECORDS = {
    # a JSON, and what is left of it
    f'{{"id": "{GUID}", "kind": "Letter", "text": "to a letter"}}': "to a letter",
    f'{{"id": "{{{GUID}}}", "at": "s3://b/{GUID.lower()}"}}': "s3 b",
    '{"kind": ["letter"], "words": ["a", "letter", "to", "me"]}': "a letter to me",
    '[{"kind": "letter"}, {"text": "to me"}]': "to me",
    '[{"w": "a"}, {"w": "letter"}, {"w": "to"}, {"w": "me"}]': "a letter to me",
    '{"kind": "letter"}\n{"text": "to me"}\n': "to me",
    '{"pages": 12, "price": 0.5, "other": 13}': "12 0 5 13",  # else little would be left
    '{"pages": 12, "text": "this is much more text than that"}': "this is much more text than that",
    '{"customer": "acme & söhne gmbh.", "text": "a b c d e"}': "a b c d e",
    '{"subject": "We are sorry about the delay", "end": "bye"}': "we are sorry about the delay bye",
    '{"note": "memo", "text": "a b c d e"}': "a b c d e",
    f'{{"kind": "letter", "id": "{GUID}"}}': f"letter {GUID}",  # nothing would be left
    '{"a": [1, "two", null, true, 0.5, [["three"]], {"kind": "letter"}]}': "1 two 0 5 three letter",
    '{"a": "", "b": "\\ud800 x"}': "\ud800 x",
    "null": "",
}


@pytest.mark.parametrize("record", RECORDS)
def test_what_is_taken_out_of_a_record(record: str, tmp_path: Path) -> None:
    assert words(tmp_path, {"t.json": record}, {}) == told(RECORDS[record])


CHINESE_ROW = json.dumps({"类型": "采购"})
CHINESE = {
    # a text whose words have no blanks between them, and what is left of it: letters are words
    "这是合同。": "这 是 合 同",
    "类别：合同\n正文：第1条": "类 别 正 文 第 1 条",
    "合同\n本采购合同": "本 采 购 合 同",
    "合 同，采购；合同书": "合 同 书",
    "编号 合同2024-001 完": "编 号 完",
    '{"类别": "合同", "正文": "这是关于房屋租赁的合同"}': "这 是 关 于 房 屋 租 赁 的 合 同",
    "カタカナ・ひらがな、漢字ABC人々": "カ タ カ ナ ひ ら が な 漢 字 abc 人 々",
    "한국어 글": "한국어 글",
    "Cafe\u0301 Zoe\u0308": "Café Zoë",
}


@pytest.mark.parametrize("text", CHINESE)
def test_words_without_blanks_between_them(text: str, tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text(text, encoding="utf-8")
    values = own_values(Artifact("合同2024-001", "合同", (), CHINESE_ROW), {})
    found = words_of(DocumentFiles((str(path),), values=values)).text
    assert found.split() == split(CHINESE[text])


LONG = " ".join(f"word{number}" for number in range(60))
FILES: dict[str, tuple[Files, Files, str]] = {
    "production's alone": ({"a.txt": "one"}, {"b.txt": LONG}, "one"),
    "the made ones of a PDF": ({"a.pdf": PDF}, {"b.txt": "two words"}, "two words"),
    "an ASCII PDF without its suffix": ({"a": PDF}, {"b.txt": "two words"}, "two words"),
    "the made ones beside a PDF's title": (
        {"a.pdf": PDF, "a.json": json.dumps({"title": "the title of this page"})},
        {"b.txt": LONG},
        LONG,
    ),
    "the made text of a PDF, not the record beside it": (
        {"a.pdf": PDF},
        {"b.txt": SENTENCE, "c.json": '{"pages": 3, "read": "2026-01-02T10:11", "sure": 0.93}'},
        SENTENCE,
    ),
    "production's own beside a PDF, if it is as much": (
        {"a.pdf": PDF, "a.txt": SENTENCE},
        {"b.txt": f"{SENTENCE} {SENTENCE}"},
        SENTENCE,
    ),
    "a picture's long text": ({"a.png": b"\0", "a.txt": LONG}, {"b.json": '{"a": 1}'}, LONG),
    "made, where production's is empty": ({"a.txt": " \n"}, {"b.txt": "two"}, "two"),
    "made, where production's says only what we know": (
        {"a.json": f'{{"id": "{GUID}", "label": "letter"}}'},
        {"b.txt": "two"},
        "two",
    ),
    "made alone": ({}, {"b.txt": f"{GUID} two", "c.txt": "letter"}, "two"),
    "all of production's, in their order": ({"a.txt": "one", "b.txt": "two"}, {}, "one two"),
    "a name, not what little was made": (
        {"a.json": '{"t": "Red shoe"}'},
        {"b.txt": SENTENCE},
        "red shoe",
    ),
    "a text that was made, not a name": ({"a.json": '{"t": "mail"}'}, {"b.txt": LONG}, LONG),
}


@pytest.mark.parametrize("name", FILES)
def test_which_files_count(name: str, tmp_path: Path) -> None:
    own, made, wanted = FILES[name]
    assert words(tmp_path, own, made) == told(wanted)


def test_a_short_text_counts_together_with_the_picture_beside_it(tmp_path: Path) -> None:
    def found(picture: bytes, text: str) -> str:
        return words(tmp_path, {"p.png": b"\0" + picture, "t.txt": text}, {})

    same = found(b"a", "two words")
    assert same.startswith(told("two words"))
    assert found(b"a", "two words") == same != found(b"b", "two words")
    assert found(b"a", LONG) == found(b"b", LONG) == told(LONG)


def test_the_same_picture_is_the_same_document_whatever_stands_beside_it(tmp_path: Path) -> None:
    def content(picture: bytes, number: int) -> str | None:
        folder = tmp_path / f"{picture.hex()}-{number}"
        folder.mkdir()
        (folder / "p.png").write_bytes(b"\0" + picture)
        (folder / "m.json").write_text(json.dumps({"number": number}))
        (folder / "l.json").write_text(json.dumps({"label": "a", "id": number}))
        own = (str(folder / "m.json"), str(folder / "p.png"))
        return words_of(DocumentFiles(own, (str(folder / "l.json"),))).content

    assert content(b"a", 1) == content(b"a", 2) != content(b"b", 1)


IDS = {
    # an id, a text, and what is left of it
    "rose": ("id: rose\na rose is a rose", "id a rose is a rose"),
    "12": ("id: 12\n12 of 12", "id 12 of 12"),
    "doc-0012": ("see doc-0012 there: doc 0012, doc-00123", "see there doc 00123"),
    "2026/03/0012.a": ("at 2026/03/0012.a.pdf, not 2026/03", "at pdf not 2026 03"),
    "Büro-000017": ("BÜRO-000017: büro 17", "büro 17"),
}


@pytest.mark.parametrize("artifact_id", IDS)
def test_a_short_id_is_taken_out_only_where_it_stands_alone(
    artifact_id: str, tmp_path: Path
) -> None:
    text, wanted = IDS[artifact_id]
    assert words(tmp_path, {"t.txt": text}, {}, artifact_id) == told(wanted)


@pytest.mark.parametrize("row", ["[" * 100_000, '{"n": ' + "9" * 5000 + "}", '{"a": "\\ud800"}'])
def test_an_odd_row_costs_nothing(row: str) -> None:
    values = own_values(Artifact("artifact-1", "\ud800", (), row), {})
    assert values.marks == (b"artifact 1",)


def test_a_long_table_takes_no_long_time(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("total\n" + "12,letter\n" * 200_000)
    values = own_values(Artifact("12", "letter", (), '{"n": 12}'), {})
    began = time.process_time()
    assert len(words_of(DocumentFiles((str(path),), values=values)).text.split()) == 1
    assert time.process_time() - began < 10
