"""What the pages show is what is there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]


def parts() -> ModuleType:
    spec = importlib.util.spec_from_file_location("readme_parts", ROOT / "docs/readme_parts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_show_the_files_as_they_are() -> None:
    for name in parts().PAGES:
        text = (ROOT / name).read_text()
        assert parts().page(text) == text, f"{name}: run `python docs/readme_parts.py`"


def test_the_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def pages() -> list[Path]:
    folders = (ROOT, ROOT / "docs", ROOT / "examples", ROOT / "bench")
    return [page for folder in folders for page in sorted(folder.glob("*.md"))]


def test_every_link_of_the_documentation_leads_somewhere() -> None:
    for page in pages():
        for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
            file, _, anchor = target.partition("#")
            there = page.parent / file if file else page
            assert there.exists(), f"{page.name} points to {target}"
            if anchor and there.suffix == ".md":
                assert anchor in anchors(there.read_text()), f"{page.name} points to {target}"


def anchors(text: str) -> set[str]:
    """Of headings, as GitHub makes them."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        plain = re.sub(r"\]\([^)]*\)", "", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


def test_every_page_is_led_to() -> None:
    """From README.md, by links alone."""
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop().resolve()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text()):
            todo.append(page.parent / target)
    assert {page.resolve() for page in pages()} <= seen
