"""The report as a person meets it: a real browser, hostile documents, keyboard, dark and print."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.support.tiny import Tiny, make

HOSTILE = (
    "<script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\"> &amp; "
)
LABEL = 'rep<b>ort & "co"'


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A finished experiment whose texts and labels attack the page."""
    tiny = make(tmp_path_factory.mktemp("hostile"), artifacts=45)
    for text in tiny.files.rglob("text.txt"):
        text.write_text(HOSTILE + text.read_text())
    with sqlite3.connect(tiny.root / "labels.sqlite") as database:
        database.execute("UPDATE labels SET label = ? WHERE label = 'report'", (LABEL,))
        database.execute("INSERT INTO labels VALUES ('../../x', ?)", (LABEL,))
    # One epoch: there are mistakes to show.
    done = tiny.handful("run", "--set", "train.EPOCHS=1", "--set", "train.LEARNING_RATE=1e-4")
    assert done.returncode == 0, done.stdout + done.stderr
    return tiny


@pytest.fixture(scope="module")
def report(tiny: Tiny) -> Path:
    return tiny.store / "results/full_dataset/report.html"


@pytest.fixture
def page(report: Path) -> Iterator[Page]:
    chromium = shutil.which("chromium")
    assert chromium, "these tests need a browser; on Debian: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.said = []  # type: ignore[attr-defined]
        page.asked = []  # type: ignore[attr-defined]
        page.on("console", lambda message: page.said.append(message.text))  # type: ignore[attr-defined]
        page.on("pageerror", lambda error: page.said.append(str(error)))  # type: ignore[attr-defined]
        page.on("request", lambda request: page.asked.append(request.url))  # type: ignore[attr-defined]
        page.goto(report.as_uri())
        yield page
        browser.close()


def test_it_is_quiet_and_asks_nobody(page: Page, report: Path) -> None:
    assert page.said == []  # type: ignore[attr-defined]
    asked = [url for url in page.asked if not url.startswith("data:")]  # type: ignore[attr-defined]
    assert asked == [report.as_uri()]


def test_a_document_cannot_run_a_script(page: Page) -> None:
    assert page.title() == "EXP-0001-tiny: the report"
    assert page.locator("blockquote").first.inner_text().startswith("<script>")
    assert page.locator("blockquote script, blockquote img").count() == 0
    assert page.locator("section b").count() == 0


def test_its_figures_are_those_of_the_files(page: Page, tiny: Tiny) -> None:
    evaluation = tiny.store / "results/full_dataset/evaluation/model/seed-0"
    metrics = json.loads((evaluation / "metrics.json").read_text())["metrics"]
    tile = page.locator(".tile", has=page.get_by_text("macro_f1", exact=True))
    assert f"{metrics['macro_f1']:.3f}" in tile.inner_text()
    row = page.locator("#data tr", has=page.get_by_role("rowheader", name="unsafe_name"))
    assert "../../x" in row.inner_text()
    assert page.get_by_role("rowheader", name=LABEL).count() >= 2


def test_a_table_is_sorted_by_keyboard(page: Page) -> None:
    table = page.locator("#splits table")
    head = table.get_by_role("button", name="label")
    head.focus()
    page.keyboard.press("Enter")
    first = table.locator("tbody th").all_inner_texts()
    page.keyboard.press("Enter")
    assert table.locator("tbody th").all_inner_texts() == first[::-1]
    assert sorted(first, reverse=True) == first
    assert table.locator("thead th").first.get_attribute("aria-sort") == "ascending"


def test_the_matrix_is_sorted_and_leads_to_examples(page: Page) -> None:
    matrix = page.locator("table.matrix").first
    heads = matrix.locator("thead th").all_inner_texts()
    matrix.get_by_role("button", name=heads[2]).click()
    column = [row.locator("td").nth(1).inner_text() for row in matrix.locator("tbody tr").all()]
    numbers = [int(text or 0) for text in column]
    assert numbers == sorted(numbers, reverse=True)
    cell = matrix.locator("td a").first
    count, target = cell.inner_text(), page.locator(cell.get_attribute("href") or "none")
    cell.focus()
    page.keyboard.press("Enter")
    assert target.locator("td.num").first.inner_text() == count
    assert target.locator(".example").count() == min(3, int(count))
    assert target.locator("q").first.inner_text().strip('“”"').startswith("<script>")


def test_labels_change_their_order_in_rows_and_columns_by_keyboard(page: Page) -> None:
    matrix = page.locator("table.matrix").first
    cells = {
        (row.locator("th").inner_text(), head): row.locator("td").nth(n).inner_text()
        for row in matrix.locator("tbody tr").all()
        for n, head in enumerate(matrix.locator("thead th").all_inner_texts()[1:])
    }
    page.locator("select[data-orders]").first.select_option("errors")
    rows = matrix.locator("tbody th").all_inner_texts()
    heads = matrix.locator("thead th").all_inner_texts()[1:]
    assert rows == heads
    errors = [int(row.get_attribute("data-errors") or 0) for row in matrix.locator("tr").all()[1:]]
    assert errors == sorted(errors, reverse=True)
    for row in matrix.locator("tbody tr").all():
        name = row.locator("th").inner_text()
        assert row.locator("td").all_inner_texts() == [cells[name, head] for head in heads]


def test_every_part_is_there_and_the_verdict_comes_first(page: Page) -> None:
    parts = [part.get_attribute("id") for part in page.locator("main > section").all()]
    assert parts == [
        *("ranking", "baselines", "data", "splits", "encoding", "result-0", "labels-again", "ran")
    ]
    heads = page.locator("#result-0 h3").all_inner_texts()
    assert heads == [
        *("Curves", "Metrics", "By label", "Confusion", "Calibration", "The worst mistakes")
    ]
    lede = page.locator("header .lede").inner_text()
    assert "held-out artifacts" in lede
    calibration = page.locator("#result-0").inner_text()
    assert "divided by a temperature of" in calibration
    assert "If the least sure 10% go to a person" in calibration
    looks = page.locator("#ran table").first
    assert looks.locator("tbody tr").count() == 1
    assert "model seed 0" in looks.inner_text()
    linked = [link.get_attribute("href") or "" for link in page.locator("nav a").all()]
    assert all(page.locator(href).count() == 1 for href in linked)


def test_a_figure_with_an_interval_sorts_by_the_figure(page: Page) -> None:
    table = page.get_by_role("region", name="Figures by label").first.locator("table")
    table.get_by_role("button", name="recall").click()
    told = [row.locator("td").nth(2).inner_text() for row in table.locator("tbody tr").all()]
    values = [float(text.split()[0]) for text in told]
    assert values == sorted(values, reverse=True)
    assert all("(" in text for text in told)


def test_nothing_is_folded_away_on_paper(page: Page) -> None:
    folded = page.locator("details:not([open])")
    assert folded.count() > 2
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert folded.count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert folded.count() > 2


def test_everything_has_a_name_for_a_screen_reader(page: Page) -> None:
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("h1").count() == 1
    assert page.locator("table").count() == page.locator("table caption").count()
    for drawing in page.locator("svg[role=img]").all():
        assert drawing.get_attribute("aria-label")
    assert page.locator("main").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_text_can_be_read_in_light_and_dark(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    body = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    quiet = page.evaluate("getComputedStyle(document.querySelector('caption')).color")
    assert contrast(body[0], body[1]) > 10
    assert contrast(quiet, body[1]) > 4.5


def test_it_fits_a_telephone_and_paper(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()


def test_it_is_small_and_the_same_each_time(tiny: Tiny, report: Path) -> None:
    first = report.read_bytes()
    assert len(first) < 3_000_000
    done = tiny.handful(
        *("report", "--redo", "--set", "train.EPOCHS=1", "--set", "train.LEARNING_RATE=1e-4")
    )
    assert done.returncode == 0, done.stderr
    assert report.read_bytes() == first


def test_documents_can_be_kept_out(tiny: Tiny, report: Path, tmp_path: Path) -> None:
    copy = Tiny(Path(shutil.copytree(tiny.root, tmp_path / "copy")))
    done = copy.handful(
        *("report", "--set", "report.SHOW_DOCUMENTS=false"),
        *("--set", "train.EPOCHS=1", "--set", "train.LEARNING_RATE=1e-4"),
    )
    assert done.returncode == 0, done.stderr
    html = (copy.store / "results/full_dataset/report.html").read_text()
    told = re.search(r"text\.txt, [\d,.]+ (bytes|KB)", report.read_text())
    assert "pwned" in report.read_text()
    assert told
    assert "pwned" not in html
    assert not re.search(r"text\.txt, [\d,.]+ (bytes|KB)", html)


def contrast(one: str, other: str) -> float:
    """WCAG 2's contrast ratio of two `rgb(…)` colours."""

    def luminance(colour: str) -> float:
        parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)
