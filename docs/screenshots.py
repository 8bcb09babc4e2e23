"""Pictures of a report, light and dark, as README.md shows them.

    python docs/screenshots.py REPORT.html [FOLDER]

Needs Chromium (Debian: `apt-get install chromium`).
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTH, HEIGHT = 1100, 1500


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
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
