"""KEY_PATTERN: layouts that people have, and every reading against slow, obvious ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from handful.settings.values.key_patterns import EXAMPLES
from handful.settings.values.parse import Wrong
from handful.steps.reconcile.keys.key_pattern import NAMES, KeyPattern
from tests.support import classic_keys

Row = tuple[str, str, str, tuple[str | None, ...]]
"""key, artifact id, file, other names."""


def read(pattern: str, keys: list[str], known: list[str]) -> tuple[list[Row], int, int]:
    frame = pl.DataFrame({"key": keys, "size": [1] * len(keys), "etag": ["e"] * len(keys)})
    ids = pl.DataFrame({"artifact_id": sorted(set(known))}, {"artifact_id": pl.String})
    reader = KeyPattern.of(pattern)
    found = reader.read(frame, ids)
    rows = found.files.to_dicts()
    told = [
        (r["key"], r["artifact_id"], r["file"], tuple(r[NAMES].values()) if NAMES in r else ())
        for r in rows
    ]
    assert all((NAMES in r) == bool(reader.names) for r in rows)
    return sorted(told), found.unmatched, found.two_ways


A = "4f1c7a52-9a0e-4c55-8d53-0a4e2f6b1c90"
B = "b17e0c3d-1111-4222-8333-944455556666"
LAYOUTS: list[tuple[str, str, str, str, dict[str, str]]] = [
    # pattern, key, artifact id, file, names
    ("{artifact_id}/{file}", f"{A}/raw_text.json", A, "raw_text.json", {}),
    ("{artifact_id}/{file}", f"{A}/pages/1.png", A, "pages/1.png", {}),
    ("{artifact_id}.pdf", f"{A}.pdf", A, f"{A}.pdf", {}),
    ("{artifact_id}.{file}", f"{A}.pdf", A, "pdf", {}),
    ("{artifact_id}", A, A, A, {}),
    ("{artifact_id}.*", f"{A}.tar.gz", A, f"{A}.tar.gz", {}),
    ("*/*/*/{artifact_id}/{file}", f"2024/05/17/{A}/1_body.eml", A, "1_body.eml", {}),
    (
        "{y}/{m}/{d}/{artifact_id}/{file}",
        f"2024/05/17/{A}/a",
        A,
        "a",
        {"y": "2024", "m": "05", "d": "17"},
    ),
    (
        "{day}T*/{artifact_id}.json",
        f"2024-05-17T08:00:00Z/{A}.json",
        A,
        f"{A}.json",
        {"day": "2024-05-17"},
    ),
    (
        "year={y}/month={m}/{artifact_id}/{file}",
        f"year=2024/month=5/{A}/a",
        A,
        "a",
        {"y": "2024", "m": "5"},
    ),
    ("**/{artifact_id}/{file}", f"{A}/a.txt", A, "a.txt", {}),
    ("**/{artifact_id}/{file}", f"x/y/z/{A}/pages/1.png", A, "pages/1.png", {}),
    ("**/{artifact_id}/*.txt", f"x/y/{A}/a.txt", A, "a.txt", {}),
    ("**/{artifact_id}_{file}", f"x/y/{A}_a_b.txt", A, "a_b.txt", {}),
    ("**/{artifact_id}.*", f"x/{A}.pdf", A, f"{A}.pdf", {}),
    ("{artifact_id}/**", f"{A}/x/y/z.txt", A, "z.txt", {}),
    ("{artifact_id}/**/{file}", f"{A}/x/y/z.txt", A, "z.txt", {}),
    ("{artifact_id}/**/{file}", f"{A}/z.txt", A, "z.txt", {}),
    ("{artifact_id}/**/out/{file}", f"{A}/x/out/z.txt", A, "z.txt", {}),
    ("{tenant}/inbox/{artifact_id}/{file}", f"acme/inbox/{A}/a", A, "a", {"tenant": "acme"}),
    ("{artifact_id}/v{version}/{file}", f"{A}/v12/a.txt", A, "a.txt", {"version": "12"}),
    ("{artifact_id}/versions/*/{file}", f"{A}/versions/3/a.txt", A, "a.txt", {}),
    ("{artifact_id}/{artifact_id}.pdf", f"{A}/{A}.pdf", A, f"{A}.pdf", {}),
    ("{artifact_id}/{artifact_id}_{file}", f"{A}/{A}_body.txt", A, "body.txt", {}),
    ("{artifact_id}/{artifact_id}/{file}", f"{A}/{A}/a/b", A, "a/b", {}),
    ("scans/{file}/{artifact_id}.json", f"scans/a/b/{A}.json", A, "a/b", {}),
    ("{file}-{artifact_id}", f"letter-{A}", A, "letter", {}),
    ("{kind}/{artifact_id}", f"invoice/{A}", A, A, {"kind": "invoice"}),
    ("doc_{artifact_id}_final.pdf", f"doc_{A}_final.pdf", A, f"doc_{A}_final.pdf", {}),
    ("*_{artifact_id}_*.pdf", f"scan_7_{A}_p1.pdf", A, f"scan_7_{A}_p1.pdf", {}),
    ("{artifact_id}:{file}", f"{A}:a", A, "a", {}),
    ("({artifact_id})+[1]/{file}", f"({A})+[1]/a", A, "a", {}),
    ("^{artifact_id}$/{file}", f"^{A}$/a", A, "a", {}),
    ("a.b/{artifact_id}/{file}", f"a.b/{A}/a", A, "a", {}),
    ("[*]/{artifact_id}/[{]{file}[}]", f"*/{A}/{{a}}", A, "a", {}),
    ("[[*]]/{artifact_id}", f"[*]/{A}", A, A, {}),
    ("?/{artifact_id}/{file}", f"?/{A}/a", A, "a", {}),
    ("a\\b/{artifact_id}/{file}", f"a\\b/{A}/a", A, "a", {}),
    ("Ärzte/{artifact_id}/{file}", f"Ärzte/{A}/é.txt", A, "é.txt", {}),
    ("*/{artifact_id}/{file}", f"日本/{A}/ü ß.txt", A, "ü ß.txt", {}),
    ("my files/{artifact_id}/{file}", f"my files/{A}/a b.txt", A, "a b.txt", {}),
    ("{artifact_id}/{file}", "a%2Fb/c%20d.txt", "a%2Fb", "c%20d.txt", {}),
    ("{artifact_id}/{file}", "a+b/c d+e", "a+b", "c d+e", {}),
    ("{artifact_id}/{file}", "v1.2.3/a", "v1.2.3", "a", {}),
    ("{artifact_id}.*", "v1.2.3.pdf", "v1.2.3", "v1.2.3.pdf", {}),
    ("{artifact_id}/{file}", f"{A}/line\nbreak.txt", A, "line\nbreak.txt", {}),
    ("*/{artifact_id}/{file}", f"line\nbreak/{A}/a", A, "a", {}),
    ("{artifact_id}/{file}", f"{A}//a", A, "/a", {}),
    ("**/{artifact_id}/{file}", f"x//y/{A}/a", A, "a", {}),
    ("**/{artifact_id}/{file}", f"/{A}/a", A, "a", {}),
    ("{artifact_id}/{file}", f"{A}/CON.txt", A, "CON.txt", {}),
    ("{artifact_id}/{file}", f"{A}/a:b*c?.txt. ", A, "a:b*c?.txt. ", {}),
    ("**/{artifact_id}", f"a/b/{A}", A, A, {}),
    ("{n}{artifact_id}"[3:] + "/{file}", f"{A}/.hidden", A, ".hidden", {}),
    (r"regex:(?P<artifact_id>[0-9a-f-]{36})/(?P<file>.+)", f"{A}/a/b", A, "a/b", {}),
    (r"regex:(?:\d{4}/)*(?<artifact_id>[^/]+)\.pdf", f"2024/2025/{A}.pdf", A, f"{A}.pdf", {}),
    (r"regex:^(?P<k>x|y)/(?P<artifact_id>[^/]+)/(?P<file>.+)$", f"y/{A}/a", A, "a", {"k": "y"}),
    (r"regex:(?i)DOCS/(?P<artifact_id>[^/]+)(/(?P<file>.+))?", f"docs/{A}", A, A, {}),
]


@pytest.mark.parametrize(("pattern", "key", "artifact_id", "file", "names"), LAYOUTS)
def test_layouts_that_people_have(
    pattern: str, key: str, artifact_id: str, file: str, names: dict[str, str]
) -> None:
    told = (key, artifact_id, file, tuple(names.values()))
    assert KeyPattern.of(pattern).names == tuple(names)
    # With the label row's id, beside strangers, among many rows that do not matter.
    assert read(pattern, [key, ""], [artifact_id, B]) == ([told], 1, 0)
    assert key.startswith(KeyPattern.of(pattern).folder)


@pytest.mark.parametrize(
    ("pattern", "key"),
    [
        ("{artifact_id}.pdf", f"{A}.PDF"),
        ("Docs/{artifact_id}/{file}", f"docs/{A}/a"),
        ("{artifact_id}.pdf", f"x/{A}.pdf"),
        ("{artifact_id}.pdf", f"{A}xpdf"),
        ("{artifact_id}.pdf", ".pdf"),
        ("*/{artifact_id}/{file}", f"{A}/a"),
        ("*/{artifact_id}/{file}", f"/{A}/a"),
        ("*/{artifact_id}.pdf", f"x/y/{A}.pdf"),
        ("{artifact_id}/**", f"{A}/"),
        ("{artifact_id}/**", A),
        ("{artifact_id}/*", f"{A}/x/"),
        ("{artifact_id}/*", f"{A}/x/y"),
        ("{artifact_id}/{artifact_id}.pdf", f"{A}/{B}.pdf"),
        ("{artifact_id}/{artifact_id}_{file}", f"{A}/{B}_a"),
        ("{x}/{artifact_id}", f"/{A}"),
        ("Ärzte/{artifact_id}/{file}", f"A\u0308rzte/{A}/a"),
        (r"regex:(?P<artifact_id>x)", "xx"),
        (r"regex:(?P<artifact_id>x?)/.*", "/y"),
        (r"regex:(?P<artifact_id>a)|(?P<file>b)", "b"),
        (r"regex:(?P<artifact_id>[^/]+)/.*", "a/"),
    ],
)
def test_keys_that_do_not_fit_are_counted(pattern: str, key: str) -> None:
    assert read(pattern, [key], [A, B]) == ([], 1, 0)


@pytest.mark.parametrize(("pattern", "key"), EXAMPLES.items())
def test_every_example_reads_its_key(pattern: str, key: str) -> None:
    rows, unmatched, _ = read(pattern, [key], ["4f1c"])
    assert (unmatched, [row[1] for row in rows]) == (0, ["4f1c"])
    assert len(EXAMPLES) == 6


def test_the_page_shows_every_example_and_what_it_reads() -> None:
    page = (Path(__file__).parents[4] / "docs/production.md").read_text()
    for pattern, key in EXAMPLES.items():
        ((_, _, file, _),), _, _ = read(pattern, [key], ["4f1c"])
        assert f"| `{pattern}` | `{key}` | `{file}` |" in page


@pytest.mark.parametrize(
    ("pattern", "key", "known", "rows", "two_ways"),
    [
        ("**/{artifact_id}/{file}", "a/b/c", ["a"], [("a", "b/c")], 0),
        ("**/{artifact_id}/{file}", "a/b/c", ["a", "b"], [("a", "b/c"), ("b", "c")], 1),
        ("**/{artifact_id}/{file}", "a/x/a/c", ["a"], [("a", "c")], 0),
        ("**/{artifact_id}/{file}", "a/b/c", [], [("b", "c")], 0),
        ("{artifact_id}.*", "a.b.c", ["a.b"], [("a.b", "a.b.c")], 0),
        ("{artifact_id}.*", "a.b.c", ["a.b", "a"], [("a", "a.b.c"), ("a.b", "a.b.c")], 1),
        ("{artifact_id}.*", "a.b.c", [], [("a", "a.b.c")], 0),
        ("{artifact_id}-{artifact_id}.pdf", "a-a-a-a.pdf", [], [("a-a", "a-a-a-a.pdf")], 0),
        ("{artifact_id}/{artifact_id}_{file}", "a_b/a_b_c", [], [("a_b", "c")], 0),
    ],
)
def test_label_rows_decide(
    pattern: str, key: str, known: list[str], rows: list[tuple[str, str]], two_ways: int
) -> None:
    assert read(pattern, [key], known) == ([(key, *row, ()) for row in rows], 0, two_ways)


def test_keys_begin_with_what_is_listed() -> None:
    for pattern, folder in {
        "{artifact_id}/{file}": "",
        "docs/in_{artifact_id}.pdf": "docs/",
        "a/[*]/b/*/{artifact_id}": "a/*/b/",
        "**/{artifact_id}": "",
        "x/**/{artifact_id}": "x/",
        "regex:docs/in/(?P<artifact_id>.*)": "docs/in/",
        "regex:^docs/in?/(?P<artifact_id>.*)": "docs/",
        "regex:docs/[|](?P<artifact_id>.*)": "",
        r"regex:docs/\|a/(?P<artifact_id>.*)": "docs/",
        "regex:docs/a|(?P<artifact_id>.*)": "",
        "regex:docs/(a|b)/(?P<artifact_id>.*)": "docs/",
        "regex:(?i)docs/(?P<artifact_id>.*)": "",
        "regex:docs/(?x) # (\n | (?P<artifact_id>.*)": "",
    }.items():
        if "\n" not in pattern:
            assert KeyPattern.of(pattern).folder == folder, pattern
    ids = pl.DataFrame({"artifact_id": [f"{n:05}" for n in range(3_000)]})
    assert KeyPattern.of("docs/{artifact_id}.pdf").near(ids)[0] == "docs/00950"
    assert KeyPattern.of("*/{artifact_id}.pdf").near(ids) == []
    assert KeyPattern.of("x/*/{artifact_id}.pdf").near(ids) == []
    assert KeyPattern.of("regex:(?P<artifact_id>.*)").near(ids) == []


@pytest.mark.slow
def test_a_key_made_of_separators_costs_only_itself() -> None:
    hostile = "_" * 1_000
    found = read("*_{artifact_id}_*", [hostile, "a_b_c"], ["b", "__"])
    assert found == ([(hostile, "__", hostile, ()), ("a_b_c", "b", "a_b_c", ())], 0, 0)


# The slow, obvious reading.

TOKEN = re.compile(r"\*\*/|\*\*|\*|\{\w+\}|.", re.DOTALL)


def options(token: str, alone: bool, text: str) -> Iterator[int]:
    """How many letters of `text` a token may take, the preferred number first."""
    slash = text.find("/")
    within = len(text) if slash < 0 else slash
    if token == "**/":
        yield from (n for n in range(len(text), 0, -1) if text[n - 1] == "/")
        yield 0
    elif token in ("**", "{file}"):
        yield from range(len(text), 0, -1)
    elif token == "*":
        yield from range(1 if alone else 0, within + 1)
    elif len(token) > 1:
        yield from range(1, within + 1)
    elif text.startswith(token):
        yield 1


def assignments(tokens: list[str], key: str, at: int = 0) -> Iterator[list[str]]:
    """Every way to spread the key over the tokens, the preferred one first."""
    if at == len(tokens):
        if not key:
            yield []
        return
    begins = at == 0 or tokens[at - 1].endswith("/")
    alone = begins and (at + 1 == len(tokens) or tokens[at + 1] == "/")
    for taken in options(tokens[at], alone, key):
        for rest in assignments(tokens, key[taken:], at + 1):
            yield [key[:taken], *rest]


def slow(pattern: str, keys: list[str], known: list[str]) -> tuple[list[Row], int, int]:
    tokens = TOKEN.findall(pattern)
    ids = [n for n, token in enumerate(tokens) if token == "{artifact_id}"]
    names = [n for n, token in enumerate(tokens) if token in ("{n}", "{m}")]
    found: list[Row] = []
    unmatched = two_ways = 0
    for key in keys:
        ways = [w for w in assignments(tokens, key) if len({w[n] for n in ids}) == 1]
        if "{file}" not in tokens and key.endswith("/"):
            ways = []

        def places(way: list[str]) -> tuple[int, ...]:
            return tuple(-len("".join(way[:n])) for n in ids)

        def told(way: list[str], key: str = key) -> Row:
            file = way[tokens.index("{file}")] if "{file}" in tokens else key.split("/")[-1]
            return key, way[ids[0]], file, tuple(way[n] for n in names)

        unmatched += not ways
        meant = {w[ids[0]] for w in ways} & set(known)
        two_ways += len(meant) > 1
        for one in sorted(meant):  # of several places the last one
            found.append(told(min((w for w in ways if w[ids[0]] == one), key=places)))
        if ways and not meant:
            twice = len(ids) > 1
            best = min(ways, key=lambda w: (places(w)[0], len(w[ids[0]]), places(w)))
            found.append(told(best if twice else ways[0]))
    return sorted(found), unmatched, two_ways


@st.composite
def patterns(draw: st.DrawFn) -> str:
    """A pattern that the settings take."""
    others = ["{file}", "{n}", "{m}", "*", "*", "**", "**", "{artifact_id}"]
    some = draw(
        st.lists(
            st.sampled_from(others), max_size=4, unique_by=lambda t: t * ("{" in t) or object()
        )
    )
    pieces = draw(st.permutations(["{artifact_id}", *some]))
    found = draw(st.sampled_from(["", "", "a", "_", "a/"]))
    for number, piece in enumerate(pieces):
        if number and not found.endswith("**/"):
            found += draw(st.sampled_from(["/", "/", "_", "a", "__", "_/a", "/_"]))
        if piece == "**":
            found += "" if not found or found.endswith("/") else "/"
            found += "**"
            found += "/" if number + 1 < len(pieces) else draw(st.sampled_from(["", "/a"]))
        else:
            found += piece
    return found + draw(st.sampled_from(["", "", "a", "_a", "/a"]))


texts = st.text(alphabet="ab_//", max_size=9)


words = st.text(alphabet="ab_", min_size=1, max_size=3)


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, list[str], list[str]]:
    """A pattern, keys of which most are made after it, and ids of which some stand in them."""
    pattern = draw(patterns())
    keys, known = [draw(texts)], draw(st.lists(words, max_size=3))
    for _ in range(draw(st.integers(1, 3))):
        one = draw(words)
        fill = {"{artifact_id}": st.just(one), "{file}": texts, "**": texts}
        fill |= {"**/": texts.map(lambda text: f"{text}/" if text else "")}
        fill |= dict.fromkeys(("*", "{n}", "{m}"), words)
        keys.append("".join(draw(fill.get(t, st.just(t))) for t in TOKEN.findall(pattern)))
        known += draw(st.sampled_from([[], [one]]))
    return pattern, keys, known


@given(cases())
@settings(max_examples=300, deadline=None)
@example(("{artifact_id}/a{artifact_id}_{file}", ["aa/aaa_b"], ["aa"]))
@example(("**/{artifact_id}_{n}/**/{file}", ["a/b_a/_/b", "a_b/a_b/a"], ["a", "b"]))
@example(("{artifact_id}_{n}_{artifact_id}", ["a_b_a_b_a"], ["a_b", "a"]))
@example(("*_{artifact_id}_*/{artifact_id}", ["_a_/a", "b_a_a_/a_a"], []))
@example(("{n}_{artifact_id}", ["a_b_a"], ["a"]))
def test_every_reading_is_the_slow_one(case: tuple[str, list[str], list[str]]) -> None:
    pattern, keys, known = case
    try:
        KeyPattern.of(pattern)
    except Wrong:
        assume(False)
    order = [n for n in ("n", "m") if f"{{{n}}}" in pattern]
    assert sorted(order, key=lambda n: pattern.index(f"{{{n}}}")) == list(
        KeyPattern.of(pattern).names
    )
    assert read(pattern, keys, known) == slow(pattern, keys, known)


# Patterns of `{artifact_id}`, `{file}` and literal text, which were all there was.

plain = st.text(alphabet="a_-/.[+^", max_size=2)


@given(
    before=plain.filter(lambda text: not text.startswith("/")),
    between=st.text(alphabet="a_-/.+", min_size=1, max_size=2),
    after=plain.filter(lambda text: not text.endswith("/")),
    id_first=st.booleans(),
    keys=st.lists(st.text(alphabet="a_-/.", max_size=9), min_size=1, max_size=5),
    known=st.lists(st.text(alphabet="a_-", min_size=1, max_size=3), max_size=4),
)
@settings(max_examples=300, deadline=None)
@pytest.mark.slow
def test_patterns_of_old_are_read_as_of_old(
    before: str, between: str, after: str, id_first: bool, keys: list[str], known: list[str]
) -> None:
    one, other = ("{artifact_id}", "{file}") if id_first else ("{file}", "{artifact_id}")
    pattern = f"{before}{one}{between}{other}{after}"
    assume(not {"", ".", ".."} & set(pattern.split("/")))  # no key is read by such a one
    keys += [f"{before}{key}{after}" for key in keys]
    frame = pl.DataFrame({"key": keys, "size": range(len(keys)), "etag": keys})
    ids = pl.DataFrame({"artifact_id": sorted(set(known))}, {"artifact_id": pl.String})
    old = classic_keys.KeyPattern.of(pattern).read(frame, ids)
    new = KeyPattern.of(pattern).read(frame, ids)
    assert new.files.schema == old.files.schema
    assert new.files.rows() == old.files.rows()  # to the order of the rows
    assert (new.unmatched, new.two_ways) == (old.unmatched, old.two_ways)
