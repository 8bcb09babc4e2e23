"""Does a model beat the simple ones? In words, a tile and a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handful.errors import Absent
from handful.layout import BASELINE_TFIDF, Layout
from handful.records import Evaluation, Tested
from handful.report.render import Tile
from handful.report.tables import Cell, Table, num, prose, table
from handful.report.words import probe_name
from handful.storage.base import Store

SHOWN = ("accuracy", "macro_f1", "log_loss")
_BASELINE_VERDICTS = {None: "", True: "beats {}", False: "does NOT beat {}"}
Abouts = Mapping[str, Mapping[str, str]]
_PERHAPS = "is ahead of {}, but that may be chance: does NOT beat it"


@dataclass(frozen=True)
class Row:
    """One model with one seed, or one baseline."""

    name: str
    seed: int
    baseline: bool
    values: tuple[str, ...]
    beats: bool | None
    """Whether it is better than TF-IDF by the metric, and not by chance as far as `compare` can
    tell; None for a baseline that was not chosen, or without TF-IDF."""
    told: str
    ahead: bool = False
    """Whether it is better by the metric, be it by chance."""
    probe_of: str | None = None
    """Of a probe, its model."""

    @property
    def shown(self) -> str:
        """What a person calls it."""
        if self.probe_of:
            return probe_name(self.probe_of)
        return self.name if self.baseline else f"{self.name}, seed {self.seed}"


@dataclass(frozen=True)
class Part:
    """What the page shows of the baselines."""

    metric: str
    """What decides; the experiment's METRIC if the baseline has it."""
    names: tuple[str, ...]
    """Of the metrics in `Row.values`."""
    rows: tuple[Row, ...]
    bar: float | None
    """TF-IDF's value of `metric`; None if there is no such baseline."""
    name: str
    """What that baseline is called: it is TF-IDF only where there are token ids."""
    reason: str
    """Why there is none."""
    losers: int

    @property
    def table(self) -> Table:
        """All of it."""
        rows: list[tuple[str | Cell, ...]] = [
            (
                row.shown,
                *row.values,
                Cell(row.told, "wrong" if row.beats is False else ""),
            )
            for row in self.rows
        ]
        about = f"On the held-out split, in the same look; {self.metric} decides"
        return table(about, ["model", *map(num, self.names), prose("which")], rows)


def part(
    tested: Tested, abouts: Abouts, compared: Mapping[str, Any], metric: str, goal: str
) -> Part | None:
    """Models and baselines on the test split; None if no baseline was tested.

    `abouts`: by `describe_baselines`. `compared`: comparison.json, or empty. `goal`: `max` or
    `min`, what is better by `metric`.
    """
    if not tested.baselines:
        return None
    tfidf = next((one for one in tested.baselines if one.model == BASELINE_TFIDF), None)
    if tested.baselines[0].metrics.get(metric) is None:
        metric, goal = "macro_f1", "max"
    names = tuple(dict.fromkeys((metric, *SHOWN)))
    bar = tfidf.metrics.get(metric) if tfidf else None
    words = abouts.get(BASELINE_TFIDF, {}).get("told", "")
    name = "TF-IDF" if words.startswith("TF-IDF") else "the linear model"
    unproven, rows = _unproven(compared), []
    chosen = compared.get("winner")
    for one in (*tested.evaluations, *(b for b in tested.baselines if b.model == chosen)):
        ahead = _is_ahead(one, metric, goal, bar)
        beats = ahead and one.model not in unproven
        told = (_PERHAPS if ahead and not beats else _BASELINE_VERDICTS[beats]).format(name)
        values = _values(one, names)
        probe_of = abouts.get(one.model, {}).get("probe_of")
        simple = one.model == chosen and probe_of is not None
        rows.append(Row(one.model, one.seed, simple, values, beats, told, bool(ahead), probe_of))
    rows += [
        _simple(one, names, abouts[one.model]) for one in tested.baselines if one.model != chosen
    ]
    reasons = [about["reason"] for about in abouts.values() if about.get("reason")]
    losers = sum(row.beats is False and not row.baseline for row in rows)
    return Part(metric, names, tuple(rows), bar, name, "; ".join(reasons), losers)


def _simple(one: Evaluation, names: tuple[str, ...], about: Mapping[str, str]) -> Row:
    """A baseline that was not chosen."""
    told, probe_of = about.get("told", ""), about.get("probe_of")
    return Row(one.model, one.seed, True, _values(one, names), None, told, probe_of=probe_of)


def verdict(found: Part | None, model: str, seed: int) -> list[tuple[str, bool]]:
    """A sentence about the best model, to stand behind the verdict, and whether it is bad news."""
    row = _row(found, model, seed)
    if found is None or row is None or row.beats is None or found.bar is None:
        return []
    reached = row.values[found.names.index(found.metric)]
    if row.beats:
        return [
            (f"Its {found.metric} of {reached} beats the {found.bar:.3f} of {found.name}.", False)
        ]
    figures = f"{found.metric} is {reached}, and {found.bar:.3f} for what takes seconds"
    chance = ". Its lead may be chance" if row.ahead else ""
    return [(f"It does NOT beat the baseline, {found.name}: {figures}{chance}.", True)]


def tiles(found: Part | None, model: str, seed: int) -> list[Tile]:
    """One tile, green or red; none without TF-IDF."""
    row = _row(found, model, seed)
    if found is None or row is None or row.beats is None or found.bar is None:
        return []
    note = "beaten by the best model" if row.beats else "NOT beaten by the best model"
    if row.ahead and not row.beats:
        note = "the best model is ahead, but that may be chance"
    value, name = f"{found.bar:.3f}", f"{found.metric} of {found.name}"
    return [Tile(name, value, note, good=row.beats, bad=not row.beats)]


def _row(found: Part | None, model: str, seed: int) -> Row | None:
    rows = found.rows if found else ()
    return next((row for row in rows if (row.name, row.seed) == (model, seed)), None)


def _values(one: Evaluation, names: tuple[str, ...]) -> tuple[str, ...]:
    found = [one.metrics.get(name) for name in names]
    return tuple("" if value is None else f"{value:.3f}" for value in found)


def _unproven(compared: Mapping[str, Any]) -> frozenset[str]:
    """Those that do not surely beat the best baseline that is no probe, by comparison.json."""
    return frozenset(
        row["model"]
        for row in compared.get("ranking", [])
        if row.get("beats_simple_baseline", row["beats_baseline"]) is False
    )


def _is_ahead(one: Evaluation, metric: str, goal: str, bar: float | None) -> bool | None:
    value = one.metrics.get(metric)
    if value is None or bar is None:
        return None
    return value < bar if goal == "min" else value > bar


def describe_baselines(store: Store, mine: Layout, tested: Tested) -> Abouts:
    """What the baselines' own metrics.json say of them, by name; empty for one without."""
    abouts = {}
    for one in tested.baselines:
        try:
            found = json.loads(store.read(mine.metrics(one.model, one.seed)))
        except Absent:
            found = {}
        told = ("told", "reason", "probe_of")
        abouts[one.model] = {name: str(found[name]) for name in told if name in found}
    return abouts
