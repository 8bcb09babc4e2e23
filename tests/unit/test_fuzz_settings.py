"""Whatever settings.ini or --set holds: settings, or faults that say where. Never slow."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from handful import layout
from handful.errors import Fault, SettingsError
from handful.settings import Settings, describe_settings, public_text, read_settings
from tests.support.fuzzing import examples, quick

MINIMAL = {
    ("production", "DATABASE_URL"): "sqlite:///labels.db",
    ("production", "LABEL_QUERY"): "SELECT artifact_id, label FROM labels",
    ("production", "FILES_URL"): "files",
    ("production", "FILES_FROM_PROD"): "raw_text.json",
    ("train", "MODEL_NAMES"): "org/model, ./mine",
}
KEYS = [(one.section, one.key) for one in describe_settings() if one.key.isupper()]
ELSEWHERE = [
    *(("train:org/model", key) for section, key in KEYS if section == "train"),
    *(("tune", key) for section, key in KEYS if section == "train"),
    *(("tune", "user.X"), ("user", "X"), ("user", "MY_TOKEN"), ("user", ""), ("train:", "EPOCHS")),
    *(("experiment", "S3_PARENT_DIR"), ("nowhere", "KEY"), ("train", "EPOCH"), ("", "EPOCHS")),
]
NUMBERS = [
    *(
        "0",
        "-0",
        "1",
        "-1",
        "3",
        "0.1",
        "1e308",
        "1e309",
        "-1e309",
        "1e-400",
        "9" * 400,
        "9" * 5000,
    ),
    *(
        "1e" + "9" * 400,
        "0." + "9" * 5000,
        "nan",
        "inf",
        "-Infinity",
        "1_0",
        "1__0",
        "1 000",
        "1,5",
    ),
    *("0x10", "1e", "e5", "١٢", "½", "²", "٣%", "100%", "101%", "1e300%", "-5%", "%", "5 %", "1/3"),
    *("1e99h", "9" * 300 + "d", "5m", "1h30m", "5m5m", "0s", "1e5 s", "d", "500 steps", "0 steps"),
    *("9" * 5000 + " steps", "1GB", "9" * 400 + "GB", "1 byte", "0B", "1e5GB", "5 m i b", "10 KiB"),
]
TEXTS = [
    *("true", "NO", "none", "None", "auto", "balanced", "fp16", "max", "cls", "\u2028", "\x1b[2J"),
    *("..", ".", "/", "//", "../../etc", "~", "~/x", "a/../b", "a\\b", "C:\\x", "con", "a" * 300),
    *(
        "s3://",
        "s3:///",
        "s3://b",
        "s3://b/../c",
        "s3://user:pw@b/c",
        "file://",
        "file:///x",
        "s4://x",
    ),
    *("http://[::1", "https://h:port", "http://h:99999999/", "http://@/", "postgresql://h:x/y"),
    *("postgresql://u:p%zz@h:5/d?sslmode=%", "sqlite://", "mysql://[", "nosuch+driver://h", "://"),
    *("${HOME}", "${NO_SUCH_VARIABLE}", "${", "${}", "$$", "${HOME", "%(x)s", "${${HOME}}"),
    *("80/10/10", "0.8/0.1/0.1", "1/0/0", "0/0/0", "nan/0/1", "1/1", "1e400/0/0", "80%/20%/0%"),
    *(
        "a = b",
        "a = b = c",
        " = ",
        "=",
        "a, b, a",
        ",",
        ",,",
        "a\n    b = c",
        "a\n\n  c",
        "A = ${X",
    ),
    *("log 1e-5 1e-3", "log 0 1", "log 1e-5", "int 2 5", "int 5 2", "int 0 1e300", "float 1 1"),
    *("choice", "choice 16 32", "choice a a", "float nan inf", "int 1.5 2", "log 1 2 3"),
    *(
        "{artifact_id}/{file}",
        "{file}",
        "{artifact_id",
        "**",
        "*/{artifact_id}",
        "{a}{artifact_id}",
    ),
    *("regex:(", "regex:(?P<artifact_id>.*)", "regex:(?P<artifact_id>(a{1000}){1000})", "regex:"),
    *("[", "[!", "*?[a-", "page_*.png", "arn:aws:iam::123456789012:role/x", "ml.m5.xlarge", "ml."),
    *("SELECT 1", "DROP TABLE labels", "'; --", "SELECT 1; SELECT 2", "(" * 2000, "# x", "a # b"),
]
letters = st.text(max_size=12) | st.text("ab1.-_/:${}[]%,=*?~@# \t\n", max_size=16)
values = st.sampled_from(NUMBERS) | st.sampled_from(TEXTS) | letters
values |= st.lists(st.sampled_from(NUMBERS + TEXTS), min_size=2, max_size=4).map(", ".join)
lines = st.tuples(st.sampled_from(KEYS) | st.sampled_from(ELSEWHERE), values)
PLACE = re.compile(r"settings\.ini:\d+( |$)|--set |/.*/settings\.ini$")


MISSING = ("is required", "there is no label query")


def written(entries: list[tuple[tuple[str, str], str]]) -> str:
    found: dict[str, list[str]] = {}
    for (section, key), value in [*MINIMAL.items(), *entries]:
        found.setdefault(section, []).append(f"{key} = {value}")
    return "\n".join(f"[{name}]\n" + "\n".join(some) for name, some in found.items())


def read(text: str, overrides: tuple[str, ...] = ()) -> tuple[Settings | None, tuple[Fault, ...]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "EXP-1"
        folder.mkdir()
        (folder / "settings.ini").write_bytes(text.encode("utf-8", "surrogatepass"))
        with quick():
            try:
                found = read_settings(folder, overrides)
            except SettingsError as error:
                return None, error.faults
            public_text(folder, overrides)
        return found, ()


def check(found: Settings | None, faults: tuple[Fault, ...]) -> None:
    for fault in faults:
        assert fault.what
        # What is missing stands in no line.
        assert PLACE.match(fault.where) or fault.what in MISSING, fault
        assert len(str(fault)) < 20_000
    if found is not None:  # what became folders of the store stays in the experiment's own
        names = [found.experiment.NAME, found.prepare.ENCODED_DATA_DIR]
        names += [layout.model_folder(model) for model in found.train.MODEL_NAMES]
        assert all(name not in ("", ".", "..") and not set(name) & set("/\\\0") for name in names)


@examples(100)
@given(st.lists(lines, min_size=1, max_size=4))
def test_any_value_of_any_key_is_taken_or_refused_in_words(
    entries: list[tuple[tuple[str, str], str]],
) -> None:
    check(*read(written(entries)))


@examples(100)
@given(st.lists(lines.map(lambda one: f"{one[0][0]}.{one[0][1]}={one[1]}") | letters, max_size=4))
def test_any_override_is_taken_or_refused_in_words(overrides: list[str]) -> None:
    check(*read(written([]), tuple(overrides)))


@examples(100)
@given(st.data())
def test_a_file_that_was_damaged_is_taken_or_refused_in_words(data: st.DataObject) -> None:
    text = written([(("prepare", "SPLIT"), "0.8/0.1/0.1"), (("user", "A"), "1\n    2")])
    for _ in range(data.draw(st.integers(1, 5))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 30)))
        new = data.draw(
            letters | st.sampled_from(["[", "]", "\n", "\r", "\n[train]\n", "\n  ", "\0"])
        )
        text = text[:start] + new + text[end:]
    check(*read(text))
