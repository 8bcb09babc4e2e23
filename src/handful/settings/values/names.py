"""Checks of names: folders, files, places, servers. Each raises `Wrong` for a bad one."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from handful.files.paths import is_glob, leads_outside
from handful.settings.values.parse import Wrong

_ILLEGAL_NAME_CHARACTERS = set('/\\<>:"|?*')
_BUCKET_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
NO_PLACE = "none"
"""FILES_URL where there are no files: a folder of this name is `./none`."""


def _printable(name: str) -> bool:
    # `isprintable` is False for control, format (bidi) and line-breaking characters.
    return bool(name) and name.isprintable()


def folder_name(name: str) -> None:
    """A single folder that is safe on every system and in a bucket."""
    bad = (
        not _printable(name)
        or _ILLEGAL_NAME_CHARACTERS & set(name)
        or name[0] in ".- "
        or name[-1] in ". "
    )
    if bad or len(name.encode()) > 200:
        raise Wrong(
            "{} is no safe name of a single folder",
            remedy="use letters, digits, `.`, `_` and `-`, beginning with a letter or a digit",
        )


def file_name(name: str) -> None:
    """The name (or glob) of a file inside an artifact's folder; it may lie in a subfolder."""
    if not _printable(name) or "\\" in name or leads_outside(name):
        raise Wrong(
            "{} is no safe file name",
            piece=name,
            remedy="write names inside the artifact's folder: no `..`, no leading `/`, no `\\`",
        )


def covers(wider: str, narrower: str) -> bool:
    """Does everything that `narrower` can name also fit `wider`? (Both may be globs.)"""
    if wider == narrower or not is_glob(narrower):
        return wider == narrower or fnmatchcase(narrower, wider)
    if "[" in narrower:
        return False
    # Stand-ins that no `?` and no set of the wider glob can take for a `*` of the narrower one.
    samples = ("", "\ue000" * 40)
    return all(
        fnmatchcase(narrower.replace("*", sample).replace("?", "\ue000"), wider)
        for sample in samples
    )


def variable(name: str) -> None:
    """The name of an environment variable."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise Wrong(
            "{} is no name of an environment variable",
            piece=name,
            remedy="write NAME, without ${ }",
        )


def model_name(name: str) -> None:
    scheme = _SCHEME.match(name)
    elsewhere = scheme and (scheme[1].lower() != "s3" or "@" in name[5:].split("/")[0])
    if not _printable(name) or name.strip("/.~") == "" or elsewhere:
        raise Wrong(
            "{} is no name of a model",
            piece=name,
            remedy="write a hub name, a local directory (beginning with ./ or /) or s3://bucket/folder",
        )


def file_key_column(name: str) -> None:
    """A column of the label rows that is not read as something else."""
    if name.lower() in ("artifact_id", "label", "file_hash"):
        raise Wrong(
            "{} has a meaning of its own in the label rows",
            remedy=f"give the column once more: {name} AS file_key",
        )
    if not _printable(name) or set("'\"\\") & set(name):
        raise Wrong("{} is no name of a column", remedy="give it a plain name with AS")


def file_bucket(name: str) -> str:
    """`bucket`, `bucket/prefix` or `s3://bucket/prefix` → the last, without a `/` at its end."""
    parts = (name[len("s3://") :] if name.lower().startswith("s3://") else name).split("/")
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    path = "/".join(parts)
    if (
        not _BUCKET_NAME_PATTERN.fullmatch(parts[0])
        or not _printable(path)
        or {"", ".", ".."} & set(parts[1:])
    ):
        raise Wrong(
            "{} is no bucket",
            piece=name,
            remedy="write bucket, or s3://bucket/prefix to allow only what lies below the prefix",
        )
    return f"s3://{path}"


def place(url: str) -> None:
    """`s3://…`, `file://…` or a local path."""
    match = _SCHEME.match(url)
    scheme = match[1].lower() if match else "file"
    bucket = url[len("s3://") :].split("/")[0]
    if scheme not in ("s3", "file") or (scheme == "s3" and (not bucket or "@" in bucket)):
        raise Wrong(
            "{} is no place that handful can open",
            remedy="write s3://bucket/prefix or the path of a directory",
        )


def database_url(url: str) -> None:
    if not _SCHEME.match(url):
        raise Wrong(
            "{} is no database URL",
            remedy="write sqlite:///file.db or postgresql://user:${PASSWORD}@host/database",
        )


def server_url(url: str) -> None:
    match = re.fullmatch(r"https?://[^\s/@?#]+/?", url)
    if not match:
        raise Wrong("{} is no address of a server", remedy="write http://host:port or https://host")


def role_arn(arn: str) -> None:
    """The ARN of an IAM role."""
    if not re.fullmatch(r"arn:[a-z-]+:iam::\d{12}:role/[\w+=,.@/-]{1,512}", arn):
        raise Wrong("{} is no ARN of a role", remedy="write arn:aws:iam::<12 digits>:role/<name>")


def instance_type(name: str) -> None:
    """A type of instance, as SageMaker names it."""
    if not re.fullmatch(r"ml\.[a-z0-9-]+\.[a-z0-9-]+", name):
        near = f"write ml.{name}" if re.fullmatch(r"[a-z0-9-]+\.[a-z0-9-]+", name) else ""
        raise Wrong(
            "{} is no instance type of SageMaker's",
            piece=name,
            remedy=near or "write one such as ml.m5.xlarge",
        )


def processing_path(path: str) -> None:
    """A folder on the volume of a processing job's instance."""
    parts = path.split("/")
    below = path.startswith("/opt/ml/processing/") and not {"", ".", ".."} & set(parts[1:])
    if not below or not re.fullmatch(r"[\w./-]{1,200}", path):
        raise Wrong(
            "{} is not on the volume of a processing job",
            remedy="write a folder such as /opt/ml/processing/input/data",
        )
