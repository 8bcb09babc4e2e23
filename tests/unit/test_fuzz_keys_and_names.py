"""Whatever stands in KEY_PATTERN, a bucket or a database: every key is counted, and no name leads
out of its folder."""

from __future__ import annotations

import tempfile
import unicodedata
from pathlib import Path, PurePosixPath

import polars as pl
from hypothesis import example, given
from hypothesis import strategies as st

from handful import layout
from handful.errors import HandfulError, SettingsError, StoreError
from handful.settings.checks import full_model
from handful.settings.values.names import file_name, folder_name, model_name
from handful.settings.values.parse import Wrong
from handful.steps.reconcile.keys.key_pattern import KeyPattern
from handful.steps.reconcile.keys.names import file_fault, id_fault, quote_names, shown
from handful.storage.keys import key_fault
from handful.storage.local.store import LocalStore
from tests.support.fuzzing import examples, quick

PIECES = [
    *("{artifact_id}", "{artifact_id}", "{file}", "{n}", "{tenant}", "*", "**", "**/", "***", "/"),
    *("/", "//", "_", "-", ".", "..", "a", "é", "[*]", "[{]", "[", "]", "{", "}", "{}", "{label}"),
    *("{artifact_id", "(", ")", "+", "?", "^", "$", "\\", "\\d", "|", "\0", "\n", " ", "{1000}"),
]
REGEX = [
    *("(?P<artifact_id>", "(?P<file>", "(?P<n>", "(?<artifact_id>", ")", ".*", ".+", "[^/]+", "/"),
    *("(a+)+", "(?i)", "(?:", "|", "$", "^", r"\d+", r"\p{L}", r"\1", "(?=a)", "{2,3}", "{99999}"),
    *("[", "]", "a", "\\", "(?P<label>.)", "(?P<>a)", "(?s)", "\0"),
]
patterns = st.lists(st.sampled_from(PIECES), max_size=9).map("".join)
patterns |= st.lists(st.sampled_from(REGEX), max_size=8).map(lambda some: f"regex:{''.join(some)}")
patterns |= st.builds(
    "{}{{artifact_id}}{}{{file}}{}".format, *(st.sampled_from([*"/_-.a", "", "/**/", "/*/"]),) * 3
)
unicode = st.text(max_size=10)
keys = st.lists(st.sampled_from(["a", "b", "_", "/", "/", ".", "..", "é", "\n", "\0"]), max_size=9)
keys = keys.map("".join) | unicode | st.sampled_from(["a" * 3000, "a/" * 800, "_" * 2000])


@examples(100)
@example("{artifact_id}_{file}_", ["_" * 4000], ["_"])
@given(patterns, st.lists(keys, min_size=1, max_size=6), st.lists(keys, max_size=4))
def test_any_pattern_reads_every_key_or_is_refused(
    pattern: str, some: list[str], known: list[str]
) -> None:
    with quick():
        try:
            found = KeyPattern.of(pattern)
        except Wrong as wrong:
            assert wrong.what  # noqa: PT017
            return
        frame = pl.DataFrame({"key": some, "size": [1] * len(some), "etag": ["e"] * len(some)})
        ids = pl.DataFrame({"artifact_id": sorted(set(known))}, {"artifact_id": pl.String})
        read = found.read(frame, ids)
    told = read.files
    # Each key once, but for those that stand for several artifacts; none is lost or made up.
    assert set(told["key"]) <= set(some)
    assert read.unmatched == sum(key not in set(told["key"]) for key in some)
    assert told.height - (len(some) - read.unmatched) >= read.two_ways >= 0
    for key, artifact_id, file in told.select("key", "artifact_id", "file").iter_rows():
        assert artifact_id
        assert artifact_id in key
        assert file
        assert file in key
        assert key.startswith(found.folder)


hostile = st.lists(
    st.sampled_from(
        [
            *(
                "..",
                ".",
                "/",
                "\\",
                "a",
                "b",
                "~",
                "\0",
                "\n",
                "\x7f",
                "\u2028",
                "\u202e",
                "é",
                "e\u0301",
            ),
            *(
                " ",
                ":",
                "%2e%2e",
                "%2f",
                "*",
                "?",
                "\u2025",
                "\uff0e",
                "\u2215",
                "con",
                ".handful-tmp",
            ),
            *("a" * 254, "é" * 128, "-", "$HOME", "`id`", "'", '"', "<b>", "\ud800", "\u0085"),
        ]
    ),
    min_size=0,
    max_size=5,
).map("".join)
utf8 = hostile.filter(lambda text: text.isascii() or "\ud800" not in text)


def faultless(names: pl.Expr, value: str, fault: pl.Expr) -> bool:
    return pl.DataFrame({"n": [value]}, {"n": pl.String}).select(fault).item() is None


@examples(100)
@given(utf8 | unicode, utf8 | unicode)
def test_an_artifact_is_written_in_its_own_folder_or_refused(artifact_id: str, file: str) -> None:
    fine = faultless(pl.col("n"), artifact_id, id_fault(pl.col("n")))
    fine = fine and faultless(pl.col("n"), file, file_fault(pl.col("n")))
    with tempfile.TemporaryDirectory() as name:
        outer = Path(name)
        store = LocalStore(outer / "store" / "EXP")
        key = layout.artifact_file(artifact_id, file)
        try:
            store.write(key, b"x")
        except StoreError as error:
            # What matching lets pass is a key that every store takes; here the disk may refuse.
            assert not fine or "longer than" in str(error), (artifact_id, file)  # noqa: PT017
        written = [path for path in outer.rglob("*") if path.is_file()]
        below = outer / "store/EXP" / layout.ARTIFACTS
        if fine:
            assert all(below / artifact_id in path.parents for path in written)
        assert all(outer / "store/EXP" in path.parents for path in written)


@examples(100)
@given(hostile | unicode)
def test_no_key_leads_out_of_a_store(key: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        outer = Path(name) / "outer"
        store = LocalStore(outer / "root")
        (outer / "root").mkdir(parents=True)
        (outer / "secret").write_text("secret")
        for act in (
            lambda: store.write(key, b"x"),
            lambda: store.read(key),
            lambda: store.head(key),
            lambda: store.send_tree(outer / "root", key) if key_fault(key) else None,
            lambda: list(store.list(key)),
            lambda: store.delete([key]),
            lambda: store.delete_tree(key),
            lambda: store.move_tree(key, "b") if key_fault(key) else None,
        ):
            try:
                answer = act()
            except HandfulError as error:
                assert str(error)  # noqa: PT017
                continue
            assert answer != b"secret"
        assert (outer / "secret").read_text() == "secret"
        assert {path.name for path in outer.iterdir()} == {"secret", "root"}
        assert {path.name for path in Path(name).iterdir()} == {"outer"}


@examples(100)
@example("s3://bucket/..")
@example("./a/../.")
@given(hostile | unicode)
def test_a_name_of_the_settings_is_one_folder_or_refused(name: str) -> None:
    def taken(check: object) -> bool:
        try:
            check(name)  # type: ignore[operator]
        except Wrong as wrong:
            assert wrong.what  # noqa: PT017
            return False
        return True

    if taken(folder_name):
        assert PurePosixPath("a", name).parts == ("a", name)
        assert not key_fault(name)
    if taken(file_name):
        assert not key_fault(f"a/{name}")
    if taken(model_name):
        full = full_model(name, Path("/experiment"))
        try:
            layout.check_model_folders((full,))
        except SettingsError:
            return
        found = layout.Layout("full").run(full, 0)
        assert not key_fault(found)
        assert len(PurePosixPath(found).parts) == 5


@examples(100)
@given(st.lists(unicode | utf8, max_size=3))
def test_a_name_is_shown_without_moving_the_cursor(names: list[str]) -> None:
    told = pl.DataFrame({"n": names}, {"n": pl.String}).select(n=shown(pl.col("n")))["n"].to_list()
    letters = {letter for text in [*told, quote_names(names)] for letter in text}
    # Spaces of other widths move nothing, nor do letters newer than this Python's Unicode.
    assert all(one.isprintable() or unicodedata.category(one) in ("Zs", "Cn") for one in letters)
