"""The bundle: the same bytes for the same files, no secrets, nothing from outside."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from handful.errors import SettingsError, StepError, UserError
from handful.sagemaker.jobs.requests import bundle
from handful.sagemaker.jobs.requests.bundle import FILE, make_bundle, unpack
from handful.settings import read_settings, travelling_text, variables_of
from tests.support.sagemaker_works import TEXT


def experiment(root: Path, **files: str) -> Path:
    directory = root / "EXP-1"
    directory.mkdir(parents=True)
    (directory / "settings.ini").write_text(TEXT)
    (directory / "functions.py").write_text("import helpers.words\n")
    (directory / "helpers").mkdir()
    (directory / "helpers" / "words.py").write_text("WORDS = 'a b'\n")
    for name, text in files.items():
        (directory / name).write_text(text)
    return directory


def sent(content: bytes, folder: Path) -> tuple[Path, str]:
    folder.mkdir(exist_ok=True)
    (folder / FILE).write_bytes(content)
    return folder / FILE, hashlib.sha256(content).hexdigest()


def test_it_comes_out_as_it_went_in(tmp_path: Path) -> None:
    made = make_bundle(experiment(tmp_path), "changed = yes\n")
    assert made.names == ("functions.py", "helpers/words.py", "settings.ini")
    tar, digest = sent(made.content, tmp_path / "there")
    assert digest == made.digest
    unpack(tar, digest, tmp_path / "out")
    assert (tmp_path / "out/helpers/words.py").read_text() == "WORDS = 'a b'\n"
    assert (tmp_path / "out/settings.ini").read_text() == "changed = yes\n"


def test_the_same_files_make_the_same_bytes(tmp_path: Path) -> None:
    one = experiment(tmp_path / "one")
    other = tmp_path / "two" / "EXP-1"
    other.parent.mkdir()
    shutil.copytree(one, other)
    os.utime(other / "functions.py", (1, 1))
    (other / "functions.py").chmod(0o700)
    (other / "__pycache__").mkdir()
    (other / "__pycache__" / "x.pyc").write_text("cached")
    assert make_bundle(one, "s").content == make_bundle(other, "s").content
    assert make_bundle(one, "s").digest != make_bundle(one, "t").digest
    (other / "helpers" / "words.py").write_text("WORDS = 'a c'\n")
    assert make_bundle(one, "s").digest != make_bundle(other, "s").digest


def test_what_looks_like_a_key_stays_here_and_is_told(tmp_path: Path) -> None:
    directory = experiment(tmp_path, **{".env": "X=1", "server.pem": "key", "id_rsa": "key"})
    (directory / ".git").mkdir()
    (directory / ".git" / "config").write_text("x")
    (directory / "store").mkdir()
    (directory / "store" / "large.bin").write_text("x")
    made = make_bundle(directory, "s", [directory / "store"])
    assert made.left_out == (".env", ".git", "id_rsa", "server.pem", "store")
    assert made.names == ("functions.py", "helpers/words.py", "settings.ini")


def test_a_link_within_is_a_file_and_a_link_outside_is_refused(tmp_path: Path) -> None:
    directory = experiment(tmp_path)
    (directory / "again.py").symlink_to("helpers/words.py")
    assert "again.py" in make_bundle(directory, "s").names
    (tmp_path / "secret.txt").write_text("mine")
    for target in (tmp_path / "secret.txt", tmp_path / "nowhere", tmp_path):
        link = directory / "link.txt"
        link.symlink_to(target)
        with pytest.raises(UserError, match=r"link\.txt is a link to somewhere else"):
            make_bundle(directory, "s")
        link.unlink()
    (directory / "loop").symlink_to(directory)
    with pytest.raises(UserError, match="neither a file nor a folder"):
        make_bundle(directory, "s")


def test_an_experiment_that_is_itself_reached_by_a_link_is_packed(tmp_path: Path) -> None:
    (tmp_path / "short").symlink_to(experiment(tmp_path))
    assert len(make_bundle(tmp_path / "short", "s").names) == 3


def test_a_fifo_is_refused(tmp_path: Path) -> None:
    directory = experiment(tmp_path)
    os.mkfifo(directory / "pipe")
    with pytest.raises(UserError, match="pipe is neither a file"):
        make_bundle(directory, "s")


@pytest.mark.parametrize(
    "line", ["TOKEN = 'hf_" + "a" * 30 + "'", "url = 'postgresql://me:pass@db/x'"]
)
def test_a_token_in_the_code_is_refused_without_being_shown(tmp_path: Path, line: str) -> None:
    directory = experiment(tmp_path, **{"more.py": f"# first\n{line}\n"})
    with pytest.raises(UserError, match=r"more\.py:2") as caught:
        make_bundle(directory, "s")
    assert "hf_a" not in str(caught.value)
    assert "pass@" not in str(caught.value)


def test_code_that_speaks_of_passwords_is_fine(tmp_path: Path) -> None:
    text = "password = os.environ['PW']\nurl = f'postgresql://{user}:{password}@db'\n"
    assert "more.py" in make_bundle(experiment(tmp_path, **{"more.py": text}), "s").names


def test_too_much_is_refused_and_the_largest_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = experiment(tmp_path, **{"data.csv": "x" * 2_000})
    monkeypatch.setattr(bundle, "MOST_BYTES", 1_500)
    with pytest.raises(UserError, match=r"the largest: data\.csv"):
        make_bundle(directory, "s")
    monkeypatch.setattr(bundle, "MOST_BYTES", 1_000_000)
    monkeypatch.setattr(bundle, "MOST_FILES", 2)
    with pytest.raises(UserError, match="more than 2 files"):
        make_bundle(directory, "s")


# --- unpacking -----------------------------------------------------------------------------------


def hostile(kind: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        entry = tarfile.TarInfo("functions.py")
        if kind == "upwards":
            entry.name = "../evil.py"
        elif kind == "deep":
            entry.name = "a/../../evil.py"
        elif kind == "absolute":
            entry.name = "/evil.py"
        elif kind in {"link", "hard link"}:
            entry.type = tarfile.SYMTYPE if kind == "link" else tarfile.LNKTYPE
            entry.linkname = "/etc/passwd"
        elif kind == "device":
            entry.type = tarfile.CHRTYPE
        elif kind == "folder":
            entry.type = tarfile.DIRTYPE
        elif kind == "twice":
            tar.addfile(entry)
        tar.addfile(entry)
    return file.getvalue()


@pytest.mark.parametrize(
    "kind", ["upwards", "deep", "absolute", "link", "hard link", "device", "folder", "twice"]
)
def test_a_hostile_tar_is_refused_and_writes_nothing_elsewhere(tmp_path: Path, kind: str) -> None:
    tar, digest = sent(hostile(kind), tmp_path / "there")
    with pytest.raises(StepError, match="cannot be used"):
        unpack(tar, digest, tmp_path / "box" / "out")
    outside = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.name for path in outside} <= {FILE, "functions.py"}
    assert not (tmp_path / "box" / "evil.py").exists()


def test_a_changed_tar_is_refused(tmp_path: Path) -> None:
    made = make_bundle(experiment(tmp_path), "s")
    tar, _ = sent(made.content + b"\0", tmp_path / "there")
    with pytest.raises(StepError, match="not what its name says"):
        unpack(tar, made.digest, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_tar_is_refused(tmp_path: Path) -> None:
    tar, digest = sent(b"no tar at all" * 100, tmp_path / "there")
    with pytest.raises(StepError, match="cannot be used"):
        unpack(tar, digest, tmp_path / "out")


# --- the settings that travel --------------------------------------------------------------------

MORE = """
[user]
POOLING = ${POOLING}
[compute]
TRAIN_PROCESSES = 2
BACKEND = local
[train:./models/tiny]
EPOCHS = 7
[sagemaker]
# nothing of it is wanted there
USE_SPOT = false
"""


def travelling(root: Path, text: str, *overrides: str) -> str:
    directory = root / "EXP-1"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "settings.ini").write_text(text)
    models = {str(directory / "models/tiny"): "../models/tiny"}
    return travelling_text(directory, overrides, models)


def test_the_settings_read_the_same_over_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POOLING", "cls")
    monkeypatch.setenv("DB", "sqlite:///labels.sqlite")
    text = TEXT.replace("= bert-base-uncased", "= ./models/tiny, bert-base-uncased")
    text = text.replace("= sqlite:///labels.sqlite", "= ${DB}")
    public = "experiment.PUBLIC_VARIABLES=POOLING"
    there = travelling(tmp_path / "here", text + MORE, "train.BATCH_SIZE=16", public)
    assert variables_of(there) == {"DB"}
    assert "PUBLIC_VARIABLES" not in there
    assert "sagemaker" not in there
    assert "BACKEND" not in there
    monkeypatch.delenv("POOLING")
    elsewhere = tmp_path / "there" / "experiment"
    elsewhere.mkdir(parents=True)
    (elsewhere / "settings.ini").write_text(there)
    read = read_settings(elsewhere)
    tiny = str(tmp_path / "there/models/tiny")
    assert (tiny, "bert-base-uncased") == read.train.MODEL_NAMES
    assert (read.train_for(tiny).EPOCHS, read.train.BATCH_SIZE) == (7, 16)
    assert (read.user.POOLING, read.compute.TRAIN_PROCESSES) == ("cls", 2)
    assert (read.experiment.NAME, read.experiment.STORE) == (
        "EXP-1",
        "s3://research/experiments",
    )


def test_a_secret_stays_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB", "hf_" + "b" * 30)
    monkeypatch.setenv("PW", "s3cr3t")
    text = TEXT.replace("sqlite:///labels.sqlite", "postgresql://me:${PW}@db/x")
    text += "[user]\nAPI_KEY = ${PW}\nWORD = ${HUB}\n"
    there = travelling(tmp_path, text, "sagemaker.SECRETS=PW = arn:a\nHUB = arn:b")
    assert variables_of(there) == {"PW", "HUB"}
    assert "s3cr3t" not in there
    assert "hf_" not in there


def test_a_password_that_is_written_out_does_not_travel(tmp_path: Path) -> None:
    there = travelling(tmp_path, TEXT.replace("sqlite:///labels.sqlite", "mysql://me:hush@db/x"))
    assert "hush" not in there


def test_a_secret_of_the_users_that_is_written_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="SECRETS") as caught:
        travelling(tmp_path, TEXT + "[user]\nAPI_KEY = hush\n")
    assert "hush" not in str(caught.value)


def test_what_travels_can_be_packed(tmp_path: Path) -> None:
    """The settings with a hidden password are no fault of the bundle's."""
    there = travelling(tmp_path, TEXT.replace("sqlite:///labels.sqlite", "mysql://me:hush@db/x"))
    (tmp_path / "EXP-1" / "functions.py").write_text("")
    made = make_bundle(tmp_path / "EXP-1", there)
    assert b"hush" not in made.content


def test_shares_and_limits_read_the_same_over_there(tmp_path: Path) -> None:
    """`%` is no interpolation on the way, and a share stays one of all, whoever counts."""
    text = TEXT + (
        "[prepare]\nMAX_QUARANTINED = 2%\nSPLIT = 80%/10%/10%\n[reconcile]\nMAX_FAILED = 0.5%\n"
    )
    there = travelling(tmp_path / "here", text, "train.WARMUP=0.07")
    elsewhere = tmp_path / "there"
    elsewhere.mkdir()
    (elsewhere / "settings.ini").write_text(there)
    home, away = (
        read_settings(tmp_path / "here" / "EXP-1", ("train.WARMUP=0.07",)),
        read_settings(elsewhere),
    )
    assert (away.prepare, away.train.WARMUP) == (home.prepare, home.train.WARMUP)
    assert away.reconcile == home.reconcile
    for total, most in ((50, 1), (100, 2), (149, 2), (150, 3)):
        limit = away.prepare.MAX_QUARANTINED
        assert limit.allows(most, total)
        assert not limit.allows(most + 1, total)
