"""The report on a desk and on a telephone, with few labels and with many, in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from bench.report_parts.made_up import make

DESK, TELEPHONE = 1280, 390
ARTIFACTS = 240
# Words may end a line at a blank, a hyphen, and what Chromium takes for one.
BROKEN = r"""() => {
  const found = [];
  for (const cell of document.querySelectorAll(":is(th, td, caption)")) {
    const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (node.parentElement.closest("code, .matrix thead, .cards thead")) continue;
      for (const word of node.textContent.matchAll(/[^\s\-–—\/]+/g)) {
        const range = document.createRange();
        range.setStart(node, word.index);
        range.setEnd(node, word.index + word[0].length);
        const tops = new Set([...range.getClientRects()].map((one) => Math.round(one.top)));
        if (tops.size > 1) found.push(word[0]);
      }
    }
  }
  return found;
}"""
EMPTY_COLUMNS = """() => [...document.querySelectorAll("table:not(.matrix)")].flatMap((table) => {
  const heads = [...table.tHead.rows[0].cells], rows = [...table.tBodies[0].rows];
  return heads
    .filter((_, n) => rows.length && rows.every((row) => !row.cells[n].textContent.trim()))
    .map((head) => `${table.caption.textContent}: ${head.textContent}`);
})"""
OUTSIDE = """() => [...document.querySelectorAll("main *")]
  .filter((one) => one.matches("h2, h3, p, caption span, figcaption, svg"))
  .filter((one) => one.getClientRects().length && !one.closest("tbody, thead"))
  .filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
  .map((one) => one.outerHTML.slice(0, 120))"""
MOVING = """() => [...document.querySelectorAll("main, main section, main details")]
  .filter((one) => one.scrollWidth > one.clientWidth + 1)
  .map((one) => one.outerHTML.slice(0, 120))"""
SMALLEST = """() => Math.min(...[...document.querySelectorAll("svg text")]
  .filter((text) => text.getBBox().width)
  .map((text) => [parseFloat(getComputedStyle(text).fontSize), text.getScreenCTM()])
  .map(([size, at]) => size * Math.hypot(at.a, at.b)))"""


FEW = pytest.param(3, id="3 labels", marks=pytest.mark.slow)
MANY = pytest.param(40, id="40 labels")


@pytest.fixture(scope="module", params=[FEW, MANY])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make(tmp_path_factory.mktemp("made-up") / "it", ARTIFACTS, request.param, 2)
    made.compare()
    made.report()
    return made.page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    assert chromium, "these tests need a browser; on Debian: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def desk(browser: Browser, report: Path) -> Page:
    return opened(browser, report, DESK)


@pytest.fixture(scope="module")
def telephone(browser: Browser, report: Path) -> Page:
    return opened(browser, report, TELEPHONE)


def opened(browser: Browser, report: Path, width: int) -> Page:
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(report.as_uri())
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    return page


def test_everything_can_be_read(desk: Page, telephone: Page) -> None:
    for page in (desk, telephone):
        can_be_read(page)


def can_be_read(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(OUTSIDE) == []
    assert page.evaluate(MOVING) == [], "only tables move sideways, each in its own frame"
    assert page.evaluate(BROKEN) == []
    assert page.evaluate(EMPTY_COLUMNS) == []
    assert page.evaluate(SMALLEST) > 7.5


def test_a_label_of_one_long_word_moves_nothing(browser: Browser, report: Path) -> None:
    page = opened(browser, report, TELEPHONE)
    texts = ".mistakes strong, .lede, .tile dt, .tile dd, h2, h3, summary, figcaption"
    count = page.locator(texts).evaluate_all(
        "all => { for (const one of all) one.textContent = 'Vertragsverlängerungs'.repeat(3); "
        "return all.length }"
    )
    assert count > 20
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(OUTSIDE) == []
    page.close()


def test_a_table_of_figures_moves_beside_the_names_of_its_rows(telephone: Page) -> None:
    page = telephone
    for name in ("Figures by label of", "Confusion matrix of", "Metrics with intervals"):
        frame = page.get_by_role("region", name=name).first
        row = frame.locator("tbody th").nth(1)
        before, other = row.bounding_box(), frame.locator("tbody td").first
        place = other.bounding_box()
        frame.evaluate("one => one.scrollLeft = 90")
        moved = frame.evaluate("one => one.scrollLeft")
        assert other.bounding_box()["x"] == pytest.approx(place["x"] - moved, abs=1)
        assert row.bounding_box()["x"] == pytest.approx(before["x"], abs=1)
        assert before["width"] < TELEPHONE / 2
        assert frame.locator("caption span").bounding_box()["x"] == pytest.approx(16, abs=1)


def test_a_table_with_sentences_is_cards_on_a_telephone(telephone: Page, desk: Page) -> None:
    def row(page: Page) -> Locator:
        kinds = page.get_by_text("The most frequent kinds of error")
        return page.locator("table.cards", has=kinds).first.locator("tbody tr").first

    texts = row(telephone).evaluate(
        "row => [...row.cells].map((c) => getComputedStyle(c, '::before').content + c.textContent)"
    )
    assert texts[1].startswith('"predicted: "')
    boxes = [cell.bounding_box() for cell in row(telephone).locator("th, td").all()]
    assert all(box["x"] == boxes[0]["x"] for box in boxes)
    assert [box["y"] for box in boxes] == sorted(box["y"] for box in boxes)
    boxes = [cell.bounding_box() for cell in row(desk).locator("th, td").all()]
    assert len({box["y"] for box in boxes}) == 1


def test_a_label_without_artifacts_and_answers_has_no_empty_row(desk: Page) -> None:
    matrix = desk.locator("table.matrix").first
    rows = [row.locator("td").all_inner_texts() for row in matrix.locator("tbody tr").all()]
    for number, row in enumerate(rows):
        assert any(row) or any(other[number] for other in rows)
    labels = matrix.locator("tbody th").all_inner_texts()
    by_label = desk.get_by_role("region", name="Figures by label of").first
    assert sorted(by_label.locator("tbody th").all_inner_texts()) == sorted(labels)
    told = desk.locator("#result-0").inner_text()
    assert ("in no row" in told) is (len(labels) not in (3, 40))


def test_the_mistakes_name_their_files(telephone: Page) -> None:
    mistake = telephone.locator(".mistakes li").first
    assert mistake.locator(".file").inner_text().startswith("text.txt, 1.9")
    assert len(mistake.locator("blockquote").inner_text()) == 300
