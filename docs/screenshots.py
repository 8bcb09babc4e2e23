"""Pictures of a report: its beginning, light and dark, for README.md, and every part of it.

    python docs/screenshots.py REPORT.html [FOLDER]
    python docs/screenshots.py --widths

The second makes up two experiments, with 3 and with 40 labels, and takes four screens of each on a
desk and on a telephone. Needs Chromium (Debian: `apt-get install chromium`).
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

WIDTH, HEIGHT = 1100, 1500
MARGIN = 24
LONGEST = 1000
"""Of a part, more is left out of its picture."""


SCREENS = {"desk": (1280, 900, 2), "telephone": (390, 844, 4)}
"""Width and height, and how many of them stand beside each other in the picture."""
SHOWN = ("h1", "#data-h", "#result-0 h3:text('Confusion')", "#result-0 h3:text('The worst')")


def main() -> int:
    chromium = shutil.which("chromium")
    if chromium is None:
        print("there is no chromium here: apt-get install chromium", file=sys.stderr)
        return 1
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        if sys.argv[1] == "--widths":
            widths(browser, Path(__file__).parent / "report")
        else:
            folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent
            whole(browser, Path(sys.argv[1]).resolve(), folder)
        browser.close()
    return 0


def whole(browser: Browser, report: Path, folder: Path) -> None:
    """The beginning of the page in two schemes, and its parts."""
    for scheme in ("light", "dark"):
        context = browser.new_context(
            viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme
        )
        page = context.new_page()
        page.goto(report.as_uri())
        page.screenshot(path=folder / f"report-{scheme}.png")
        if scheme == "light":
            parts(page, folder / "report")


def widths(browser: Browser, folder: Path) -> None:
    """Four screens of a report with few labels and of one with many, on a desk and a telephone."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
    from report_parts.made_up import make

    for labels in (3, 40):
        with tempfile.TemporaryDirectory() as scratch:
            made = make(Path(scratch) / "made-up", 600, labels, 2)
            made.compare()
            made.report()
            for name, (width, height, beside) in SCREENS.items():
                page = browser.new_page(viewport={"width": width, "height": height})
                page.goto(made.page.as_uri())
                picture = joined([screen(page, place) for place in SHOWN], beside)
                picture.save(folder / f"{name}-{labels}-labels.webp", quality=60, method=6)


def screen(page: Page, place: str) -> Image.Image:
    """What is seen once `place` has been moved to the top."""
    page.locator(place).first.evaluate("one => scrollTo(0, one.offsetTop - 70)")
    return Image.open(io.BytesIO(page.screenshot()))


def joined(screens: list[Image.Image], beside: int) -> Image.Image:
    width, height = screens[0].size
    rows = -(-len(screens) // beside)
    gap = 16
    size = (beside * (width + gap) - gap, rows * (height + gap) - gap)
    picture = Image.new("RGB", size, "#8a8d93")
    for number, one in enumerate(screens):
        row, column = divmod(number, beside)
        picture.paste(one, (column * (width + gap), row * (height + gap)))
    scale = min(1.0, 1600 / picture.width)
    return picture.resize((round(picture.width * scale), round(picture.height * scale)))


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
