"""Every key in words, for `handful settings` and docs/settings.md; needs no file."""

from __future__ import annotations

from dataclasses import dataclass

from handful.settings.declare import STEPS, Key, keys_of
from handful.settings.sections.all import SECTIONS


@dataclass(frozen=True)
class KeyDescription:
    """One row of `handful settings`; JSON values only."""

    section: str
    key: str
    unit: str
    default: str
    meaning: str
    required: bool
    counts_for: tuple[str, ...] = ()
    """The steps whose result depends on it: they are done again when it changes."""
    range: str = ""
    """From where to where a value may be; empty where nothing is far off, or nothing limits it."""


_RANGE = KeyDescription(
    "tune",
    "<key of [train] or user.KEY>",
    "log LOW HIGH | float LOW HIGH | int LOW HIGH | choice A B C",
    "none",
    "The values among which a trial may choose for that key.",
    False,
    ("tune",),
)
_USER_KEY_DESCRIPTION = KeyDescription(
    "user",
    "<any KEY>",
    "number, true | false, or text",
    "none",
    "Reaches every function as settings.user.KEY. Counts for the steps whose functions read it.",
    False,
    ("reconcile", "prepare", "tune", "train", "test"),
)


def describe_settings() -> list[KeyDescription]:
    """Every key, in the order of the sections."""
    found = []
    for section, kind in SECTIONS.items():
        found += [_build_key_description(section, key) for key in keys_of(kind).values()]
        if section == "tune":
            found += [_RANGE, _USER_KEY_DESCRIPTION]
    return found


def _build_key_description(section: str, key: Key) -> KeyDescription:
    also = f" Also spelt {', '.join(key.also)}." if key.also else ""
    return KeyDescription(
        section,
        key.name,
        key.parser.unit,
        key.said or "empty",
        key.meaning + also,
        key.required,
        tuple(step for step in STEPS if step in key.counts_for),
        key.parser.range,
    )


_INTRODUCTION = """\
# settings.ini

<!-- Made by handful.settings.settings_markdown(); a test holds it to that. -->

`handful settings` prints these tables, and `handful settings --json` gives them to machines.

## How it is written

- One `KEY = value` a line, below its `[section]`. Keys are in capitals. A longer value goes on over
  indented lines.
- A comment has a line of its own and begins with `#` or `;`. After a value it is an error.
- An unknown section or key is an error that names the nearest known one. All faults of a file are
  told together, each with its line.
- `${NAME}` takes an environment variable; one that is not set is an error. `$${` is a literal `${`.
  Keep secrets there: what is saved in the store shows `${NAME}`, never its value. What `[user]`,
  `DATABASE_URL` and `LABEL_QUERY` take from a variable is a secret, unless `PUBLIC_VARIABLES` names
  it; so are the login and the options of a URL, and a `[user]` value that is named like one
  (`DB_PASS`, `MY_TOKEN`, `SIGNING_KEY`, `WEBHOOK_URL`). Functions get the true values; records,
  reports and messages show `***`, and count them by their hashes. See [secrets](secrets.md).
- Numbers: `2e-5`, `10000`, `10_000`. Shares: `0.01` or `1%`. Durations: `90s`, `5m`, `1h30m`, `2d`.
  Sizes: `10MB` (millions of bytes) or `10MiB`. True or false: `true yes on 1`, `false no off 0`.
- Lists are parted by commas or lines; `"a, b"` is one name. Mappings have one `old = new` a line.
- A relative path begins at the experiment's directory.
- `[train:<model>]` overrides keys of `[train]` for one of `MODEL_NAMES`, all but `MODEL_NAMES`,
  `SEEDS`, `METRIC` and `METRIC_GOAL`: models are compared by one metric over the same seeds.
- `--set section.KEY=value` overrides one key for one call, with the same checks.

The column *counts for* names the steps whose result depends on the key: they are done again when it
changes. Keys that only change speed, patience or access count for none.
"""


def settings_markdown() -> str:
    """The text of docs/settings.md."""
    about = {name: kind.__doc__ or "" for name, kind in SECTIONS.items()}
    about["user"] = "The experiment's own keys. Numbers and true/false are read as such."
    parts = [_INTRODUCTION]
    section = ""
    for key in describe_settings():
        if key.section != section:
            section = key.section
            parts.append(f"\n## [{section}]\n\n{' '.join(about[section].split())}\n")
            parts.append(
                "\n| key | unit | default | meaning | counts for |\n|---|---|---|---|---|\n"
            )
        parts.append(_format_key_table_row(key))
    return "".join(parts)


def _format_key_table_row(key: KeyDescription) -> str:
    default = "**required**" if key.required else key.default
    unit = f"{key.unit}, {key.range}" if key.range else key.unit
    cells = (f"`{key.key}`", unit, default, key.meaning, ", ".join(key.counts_for))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"
