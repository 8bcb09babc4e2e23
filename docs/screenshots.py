"""Pictures of a report: its beginning, light and dark, for README.md, and every part of it.

    python docs/screenshots.py REPORT.html [FOLDER]

Needs Chromium (Debian: `apt-get install chromium`).
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

WIDTH, HEIGHT = 1100, 1500
MARGIN = 24
LONGEST = 1000
"""Of a part, more is left out of its picture."""


def main() -> int:
    report = Path(sys.argv[1]).resolve()
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent
    chromium = shutil.which("chromium")
    if chromium is None:
        print("there is no chromium here: apt-get install chromium", file=sys.stderr)
        return 1
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            context = browser.new_context(
                viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme
            )
            page = context.new_page()
            page.goto(report.as_uri())
            page.screenshot(path=folder / f"report-{scheme}.png")
            if scheme == "light":
                parts(page, folder / "report")
        browser.close()
    return 0


def parts(page: Page, folder: Path) -> None:
    """One picture of every part, named by its id; of a model's part one for each heading."""
    folder.mkdir(exist_ok=True)
    for section in page.locator("main > section").all():
        name = str(section.get_attribute("id"))
        if name.startswith("result-") and name != "result-0":
            continue  # folded away
        taken(page, section.bounding_box(), folder / f"{name}.png")
        if name != "result-0":
            continue
        heads = section.locator("h3").all()
        ends = [box_of(head)["y"] for head in heads[1:]]
        whole = box_of(section)
        for head, end in zip(heads, [*ends, whole["y"] + whole["height"]], strict=True):
            box = {**whole, "y": box_of(head)["y"], "height": end - box_of(head)["y"]}
            word = head.inner_text().lower().replace(" ", "-")
            taken(page, box, folder / f"model-{word}.png")
        (folder / "result-0.png").unlink()


def box_of(element: object) -> dict[str, float]:
    """Where it lies on the page."""
    found: dict[str, float] = element.bounding_box()  # type: ignore[attr-defined]
    return found


def taken(page: Page, box: object, path: Path) -> None:
    clip = dict(box)  # type: ignore[call-overload]
    clip["x"], clip["width"] = clip["x"] - MARGIN, clip["width"] + 2 * MARGIN
    clip["height"] = min(clip["height"], LONGEST)
    page.screenshot(path=path, clip=clip, full_page=True)


if __name__ == "__main__":
    sys.exit(main())
