"""The page with probes: what people call them, what fine-tuning adds, and one that was chosen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.report_parts.made_up import NAME, MadeUp, make
from handful import records
from handful.layout import BASELINE_TFIDF, model_folder, probe_folder
from handful.report import over_probe
from handful.report.gather import read_comparison
from handful.report.ranking import ranking
from handful.report.words import probe_name

MODELS = ("bert-base-uncased", "all-MiniLM-L6-v2")


def add_probe(made: MadeUp, model: str, like: str, validation: float) -> None:
    """A probe of `model` that answered as `like` did."""
    results = made.root / "store" / NAME / "results" / "full_dataset" / "evaluation"
    name = probe_folder(model)
    shutil.copytree(results / like / "seed-0", results / name / "seed-0")
    told = json.loads((results / like / "seed-0" / "metrics.json").read_text())
    more = {
        "baseline": True,
        "probe_of": model_folder(model),
        "weights_hash": "2" * 64,
        "told": "logistic regression on its frozen features",
        "validation": {"macro_f1": validation},
        "training_seconds": 3.0,
        "parameters": 3_000,
    }
    (results / name / "seed-0" / "metrics.json").write_text(json.dumps({**told, **more}))
    path = made.root / "tested.json"
    tested = records.Tested.from_json(path.read_bytes())
    every = (*tested.evaluations, *tested.baselines)
    (own,) = [replace(one, model=name) for one in every if one.model == like]
    path.write_bytes(replace(tested, baselines=(own, *tested.baselines)).to_json())


def page(made: MadeUp) -> str:
    made.compare()
    made.report()
    return made.page.read_text()


def compared(made: MadeUp) -> Mapping[str, Any]:
    return read_comparison(made.experiment.store, made.experiment.layout)


def part(html: str, name: str) -> str:
    return html[html.index(f'<section id="{name}"') :].partition("</section>")[0]


@pytest.fixture
def made(tmp_path: Path) -> MadeUp:
    return make(tmp_path / "made", 400, 4, 2)


def test_a_probe_that_lost(made: MadeUp) -> None:
    for model in MODELS:
        add_probe(made, model, BASELINE_TFIDF, 0.2)
    html = page(made)
    head = html[: html.index("<main")]
    assert "fine-tuning bert-base-uncased brings +" in head
    assert "macro_f1 by fine-tuning" in head
    shown = ranking(compared(made))
    assert shown is not None
    cells = {row.cells[1].text.split(" <")[0]: row.cells for row in shown["ranked"].rows}
    assert set(cells) == {*MODELS, *map(probe_name, MODELS), BASELINE_TFIDF, "baseline-majority"}
    assert "(baseline)" in cells[probe_name(MODELS[0])][1].text
    heads = [column.name for column in shown["ranked"].columns]
    gains = [row.cells[heads.index("test, less its probe’s")].text for row in shown["ranked"].rows]
    assert sum(bool(gain) for gain in gains) == 2
    found = part(html, "ranking")
    assert "What fine-tuning adds" in found
    assert found.count("<svg") == 2
    assert "bert-base-unc…, frozen (probe)" in found, "in the drawing, shortened"
    assert "bert-base-uncased, frozen (probe)" in part(html, "baselines")
    assert 'id="result-2"' not in html, "a probe that lost has no part of its own"


def test_a_probe_that_was_chosen(made: MadeUp) -> None:
    add_probe(made, MODELS[1], MODELS[0], 0.99)
    html = page(made)
    head = html[: html.index("<main")]
    assert "all-MiniLM-L6-v2, frozen (probe), the best of 3 by macro_f1 on validation," in head
    assert "NOT beat" not in head
    first = part(html, "result-0")
    assert '<h2 id="result-0-h">all-MiniLM-L6-v2, frozen (probe)</h2>' in first
    assert "Trained in 3 s, 3,000 parameters" in first
    assert "<h3>Curves</h3>" not in first
    assert "<h3>Calibration</h3>" in first
    assert "<h3>Curves</h3>" in part(html, "result-1")
    shown = ranking(compared(made))
    assert shown is not None
    assert "(chosen)" in shown["ranked"].rows[0].cells[1].text
    assert "is best on validation" in shown["sentences"][0][0]
    text = part(html, "baselines")
    assert text.count("all-MiniLM-L6-v2, frozen (probe)") == 1
    assert "beats TF-IDF" in text


def test_a_chosen_probe_that_does_not_beat_the_words(made: MadeUp) -> None:
    add_probe(made, MODELS[1], "baseline-majority", 0.99)
    html = page(made)
    head = html[: html.index("<main")]
    assert "It does NOT beat the baseline, TF-IDF" in head
    assert "no: does not beat baseline-tfidf" in part(html, "ranking")


@pytest.mark.parametrize(
    ("better", "told", "bad", "good"),
    [
        (True, "a real gain", False, True),
        (None, "which may be chance", False, False),
        (False, "a real loss", True, False),
    ],
)
def test_the_gain_in_words(
    made: MadeUp, better: bool | None, told: str, bad: bool, good: bool
) -> None:
    gain: Mapping[str, Any] = {
        "metric": {"value": 0.04, "low": -0.01, "high": 0.09},
        "better": better,
    }
    whole = {"metric": "macro_f1", "ranking": [{"model": "m", "over_probe": gain}]}
    store, key = made.experiment.store, made.experiment.layout.comparison
    store.write(key, json.dumps(whole).encode())
    ((words, is_bad),) = over_probe.verdict(compared(made), "m")
    assert f"+0.040 macro_f1 on test (-0.010 to +0.090): {told}" in words
    assert is_bad is bad
    (tile,) = over_probe.tiles(compared(made), "m")
    assert (tile.value, tile.good, tile.bad) == ("+0.040", good, bad)
    assert over_probe.tiles(compared(made), "other") == []


def test_without_probes_there_is_nothing_of_them(made: MadeUp) -> None:
    assert over_probe.verdict(compared(made), MODELS[0]) == [], "nothing is compared yet"
    html = page(made)
    assert "probe" not in html
    assert part(html, "ranking").count("<svg") == 1
    assert over_probe.tiles(compared(made), MODELS[0]) == []
