"""The settings.ini that goes along to another machine: complete there, and without secrets.

What only this machine knows is written out (the name, the store, environment variables that are no
secrets); what only this machine needs is left out (`[sagemaker]`, `BACKEND`, AWS profiles, files
of certificates). A secret stays the `${NAME}` that it is; one that is written out in the file is a
fault.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from handful.errors import Fault, SettingsError
from handful.settings.checks import full_model
from handful.settings.ini import Entry, lines_of, scan
from handful.settings.public import BY_OVERRIDE, public_text
from handful.settings.read import read_settings
from handful.settings.secrets import HIDDEN, hide_passwords, is_secret

_STAYS = {
    ("compute", "BACKEND"),
    ("experiment", "AWS_PROFILE"),
    ("experiment", "ASSUME_ROLE_ARN"),
    ("experiment", "CA_BUNDLE"),
    ("production", "AWS_PROFILE"),
    ("production", "ASSUME_ROLE_ARN"),
    ("production", "CA_BUNDLE"),
}
_DATABASE = ("production", "DATABASE_URL")
_VARIABLE = re.compile(r"(?<!\$)\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_HEADER = re.compile(r"\s*\[(.*)\]")


def travelling_text(
    directory: Path,
    overrides: tuple[str, ...],
    models: Mapping[str, str],
    *,
    as_before: bool = False,
) -> str:
    """The settings of the experiment in `directory`, as they read elsewhere.

    `models` gives for a local model (its absolute path) its name over there; `as_before`: with the
    comment that earlier builds left of each override that stays here. `SettingsError` if the
    settings have faults, or `[user]` holds a secret that is written out.
    """
    settings = read_settings(directory, overrides)
    names = [models.get(name, name) for name in settings.train.MODEL_NAMES]
    fixed = (
        f"experiment.NAME={settings.experiment.NAME}",
        f"experiment.STORE={settings.experiment.STORE}",
        "train.MODEL_NAMES=" + ", ".join(_quoted(name) for name in names),
    )
    text = public_text(directory, (*overrides, *fixed))
    found = scan(text)
    _refuse_written_out(found.entries)
    lines = lines_of(text.rstrip())
    for entry in sorted(found.entries, key=lambda one: -one.line):
        span = slice(entry.line - 1, entry.last_line)
        if entry.section == "sagemaker" or (entry.section, entry.key) in _STAYS:
            by_override = span.start and lines[span.start - 1] == BY_OVERRIDE and not as_before
            del lines[span.start - bool(by_override) : span.stop]
        else:
            lines[span] = [_expanded(line, entry) for line in lines[span]]
    kept = [_renamed(line, models, directory) for line in lines]
    return "\n".join(line for line in kept if line.strip() != "[sagemaker]") + "\n"


def variables_of(text: str) -> frozenset[str]:
    """The environment variables that the settings in `text` ask for."""
    return frozenset(name for entry in scan(text).entries for name in _VARIABLE.findall(entry.text))


def _quoted(name: str) -> str:
    """A name as one item of a list, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def _refuse_written_out(entries: list[Entry]) -> None:
    faults = [
        Fault(
            entry.where,
            "is a secret that is written out, and secrets do not travel",
            f"write {entry.key} = ${{{entry.key}}}, and name it in [sagemaker] SECRETS",
        )
        for entry in entries
        if is_secret(entry.section, entry.key) and HIDDEN in entry.text
    ]
    if faults:
        raise SettingsError(faults)


def _expanded(line: str, entry: Entry) -> str:
    """The line with its environment variables written out, unless a secret may be in them."""
    if (entry.section, entry.key) == _DATABASE or is_secret(entry.section, entry.key):
        return line

    def variable(match: re.Match[str]) -> str:
        value = os.environ.get(match[1], match[0])
        # What looks like a secret stays at home; so does what would not fit into the line.
        is_plain = "\n" not in value and hide_passwords(value) == value
        return value.replace("${", "$${") if is_plain and value != match[0] else match[0]

    full = _VARIABLE.sub(variable, line)
    return full if hide_passwords(full) == full else line


def _renamed(line: str, models: Mapping[str, str], directory: Path) -> str:
    """`[train:<model>]` with the model's name over there."""
    match = _HEADER.fullmatch(line.rstrip())
    section = match[1].strip() if match else ""
    if not section.startswith("train:"):
        return line
    full = full_model(section.removeprefix("train:"), directory.absolute())
    return f"[train:{models[full]}]" if full in models else line
