"""The settings.ini that goes along to another machine: complete there, and without secrets.

What only this machine knows is written out (the name, the store, environment variables that are no
secrets); what only this machine needs is left out (`[sagemaker]`, `BACKEND`, AWS profiles, files
of certificates). A secret stays the `${NAME}` that it is, and arrives by SECRETS; one that would
not arrive is a fault, before anything is sent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from handful.errors import Fault, SettingsError
from handful.settings.checks import full_model
from handful.settings.public import BY_OVERRIDE, rewritten
from handful.settings.reading.file import read_settings
from handful.settings.reading.ini import Entry, lines_of, scan
from handful.settings.secrets import (
    DATABASE,
    QUERY,
    as_counted,
    conceal_entry_secrets,
    format_secret_hash,
    hide_passwords,
    is_variable,
    shown,
    takes_secrets,
    variables_in,
)
from handful.settings.sections.all import Settings

STAYS = {
    ("compute", "BACKEND"),
    ("experiment", "AWS_PROFILE"),
    ("experiment", "ASSUME_ROLE_ARN"),
    ("experiment", "CA_BUNDLE"),
    ("experiment", "PUBLIC_VARIABLES"),
    ("production", "AWS_PROFILE"),
    ("production", "ASSUME_ROLE_ARN"),
    ("production", "CA_BUNDLE"),
}
VARIABLE = re.compile(r"(?<!\$)\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_TRAVEL_HEADER_PATTERN = re.compile(r"\s*\[(.*)\]")


def travelling_text(
    directory: Path,
    overrides: tuple[str, ...],
    models: Mapping[str, str],
    *,
    asks_production: bool = False,
) -> str:
    """The settings of the experiment in `directory`, as they read elsewhere.

    `models` gives for a local model (its absolute path) its name over there. `SettingsError` if
    the settings have faults, or hold a secret that would not arrive: one that is written out, or a
    variable that neither SECRETS nor PUBLIC_VARIABLES names. Only where production is asked
    (`asks_production`) does that go for the database.
    """
    settings = read_settings(directory, overrides)
    fixed = _build_travel_overrides(settings, models)
    journey = _Journey(
        frozenset(settings.experiment.PUBLIC_VARIABLES),
        frozenset(settings.sagemaker.SECRETS),
        asks_production,
    )
    text = rewritten(directory, (*overrides, *fixed), journey.told)
    if journey.faults:
        raise SettingsError(journey.faults)
    found = scan(text)
    lines = lines_of(text.rstrip())
    for entry in sorted(found.entries, key=lambda one: -one.line):
        span = slice(entry.line - 1, entry.last_line)
        if entry.section == "sagemaker" or (entry.section, entry.key) in STAYS:
            by_override = span.start and lines[span.start - 1] == BY_OVERRIDE
            del lines[span.start - bool(by_override) : span.stop]
        else:
            lines[span] = [journey.expanded(line, entry) for line in lines[span]]
    return with_model_names(lines, models, directory)


def list_travel_overrides(
    directory: Path, overrides: tuple[str, ...], models: Mapping[str, str]
) -> tuple[str, ...]:
    """What only this machine knows, as overrides. `SettingsError` if the settings have faults."""
    return _build_travel_overrides(read_settings(directory, overrides), models)


def _build_travel_overrides(settings: Settings, models: Mapping[str, str]) -> tuple[str, ...]:
    names = [models.get(name, name) for name in settings.train.MODEL_NAMES]
    return (
        f"experiment.NAME={settings.experiment.NAME}",
        f"experiment.STORE={settings.experiment.STORE}",
        "train.MODEL_NAMES=" + ", ".join(_quote_model_name(name) for name in names),
    )


def with_model_names(lines: Sequence[str], models: Mapping[str, str], directory: Path) -> str:
    """The lines as a file, with the models' names over there, and without `[sagemaker]`."""
    kept = [_rename_model_section(line, models, directory) for line in lines]
    return "\n".join(line for line in kept if line.strip() != "[sagemaker]") + "\n"


def variables_of(text: str) -> frozenset[str]:
    """The environment variables that the settings in `text` ask for."""
    return frozenset(name for entry in scan(text).entries for name in VARIABLE.findall(entry.text))


def _quote_model_name(name: str) -> str:
    """A name as one item of a list, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


class _Journey:
    """What becomes of each value on its way, and the secrets that would not arrive."""

    def __init__(self, public: Set[str], arriving: Set[str], asks_production: bool) -> None:
        """`arriving`: the variables that SECRETS brings."""
        self._public, self._arriving = public, arriving
        self._asks_production = asks_production
        self.faults: list[Fault] = []

    def told(self, entry: Entry) -> str:
        """The value as it is written over there, its variables not expanded yet."""
        place = (entry.section, entry.key)
        if place in (DATABASE, QUERY) and not self._asks_production:
            return self._stand_in(entry)
        if place in (DATABASE, QUERY) or entry.section == "user":
            self._check(entry)
        return entry.text

    def expanded(self, line: str, entry: Entry) -> str:
        """The line with its environment variables written out, unless a secret may be in them."""
        place = (entry.section, entry.key)
        if place == DATABASE and not self._asks_production:
            return line

        def variable(match: re.Match[str]) -> str:
            if not self._is_written_out(entry, match[1]):
                return match[0]
            return os.environ.get(match[1], match[0]).replace("${", "$${")

        full = VARIABLE.sub(variable, line)
        return full if takes_secrets(*place) or hide_passwords(full) == full else line

    def _is_written_out(self, entry: Entry, name: str) -> bool:
        if name in self._arriving:
            return False
        if takes_secrets(entry.section, entry.key) and name not in self._public:
            return False
        value = os.environ.get(name, "")
        # What looks like a secret stays at home; so does what would not fit into the line.
        return "\n" not in value and hide_passwords(value) == value

    def _stand_in(self, entry: Entry) -> str:
        """Who does not ask production needs neither its address nor what a query takes from here.

        A query is told as the records know it, so that it still counts as the same.
        """
        if (entry.section, entry.key) == DATABASE:
            return shown(entry.section, entry.key, entry.text)
        told = conceal_entry_secrets(entry.section, entry.key, entry.text, self._public, os.environ)
        if told is None or not set(variables_in(entry.text)) - self._public:
            return hide_passwords(entry.text)
        value = VARIABLE.sub(lambda match: os.environ.get(match[1], match[0]), entry.text)
        return format_secret_hash(told, as_counted(value.replace("$${", "${"))).replace("${", "$${")

    def _check(self, entry: Entry) -> None:
        section, key, text = entry.section, entry.key, entry.text
        names = variables_in(text)
        is_public = section == "user" and bool(names) and set(names) <= self._public
        if not is_public and not is_variable(text) and shown(section, key, text) != text:
            self.faults.append(
                Fault(
                    entry.where,
                    "is a secret that is written out, or holds one (a login, an option of a URL), "
                    "and secrets do not travel",
                    f"write {key} = ${{{_variable_name(key)}}}, and name {_variable_name(key)} in "
                    "[sagemaker] SECRETS; if it is no secret, in [experiment] PUBLIC_VARIABLES",
                )
            )
        for name in dict.fromkeys(names):
            if name in self._arriving or self._is_written_out(entry, name):
                continue
            remedy = f"name {name} in [sagemaker] SECRETS, with the entry that holds it"
            if name not in self._public:
                remedy += f"; if it is no secret, name {name} in [experiment] PUBLIC_VARIABLES"
            self.faults.append(
                Fault(
                    entry.where,
                    f"takes {name} from this machine's environment, which jobs do not get",
                    remedy,
                )
            )


def _variable_name(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z_]\w*", key) else "NAME"


def _rename_model_section(line: str, models: Mapping[str, str], directory: Path) -> str:
    """`[train:<model>]` with the model's name over there."""
    match = _TRAVEL_HEADER_PATTERN.fullmatch(line.rstrip())
    section = match[1].strip() if match else ""
    if not section.startswith("train:"):
        return line
    full = full_model(section.removeprefix("train:"), directory.absolute())
    return f"[train:{models[full]}]" if full in models else line
