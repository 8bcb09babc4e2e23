"""Write into README.md and docs/architecture.md what is written elsewhere.

    python docs/readme_parts.py

The example's settings and a piece of its functions, and the tree of rooms. Each part stands between
`<!-- name -->` and `<!-- /name -->`. A test holds that both pages are what this would write.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXPERIMENT = ROOT / "examples" / "EXP-0002-reviews"
FOLDERS = {
    "src/handful": "the package",
    "bench": "measurements side by side, as ratios",
    "examples": "experiments that run",
    "docs": "the rest of the documentation",
}


PAGES = ("README.md", "docs/architecture.md")
SHOWN = ("process_func", "encode_data")
"""The functions of the example that README.md shows."""


def page(text: str) -> str:
    """`text` with every part that it has filled in anew."""
    parts = {
        "settings": fenced("ini", (EXPERIMENT / "settings.ini").read_text()),
        "functions": fenced("python", "\n\n\n".join(map(_function, SHOWN))),
        "tree": fenced("", tree()),
    }
    for name, part in parts.items():
        pattern = re.compile(f"<!-- {name} -->.*?<!-- /{name} -->", re.DOTALL)
        whole = f"<!-- {name} -->\n{part}\n<!-- /{name} -->"
        text = pattern.sub(lambda _, whole=whole: whole, text)
    return text


def _function(name: str) -> str:
    text = (EXPERIMENT / "functions.py").read_text()
    nodes = ast.parse(text).body
    (node,) = (n for n in nodes if isinstance(n, ast.FunctionDef) and n.name == name)
    return "\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno])


def fenced(language: str, text: str) -> str:
    return f"```{language}\n{text.strip()}\n```"


def tree() -> str:
    """Every room, a line each: the packages and modules of handful, and the folders beside it."""
    lines = []
    for folder, meaning in FOLDERS.items():
        lines.append(f"{folder + '/':<34}{meaning}")
        lines += _below(ROOT / folder)
    return "\n".join(lines)


def _below(folder: Path) -> list[str]:
    files = [p for p in folder.glob("*.py") if p.name != "__init__.py"]
    return _rooms(folder, "  ") + [_line(f"  {p.name}", p) for p in sorted(files)]


def _rooms(folder: Path, indent: str) -> list[str]:
    lines = []
    for room in sorted(p.parent for p in folder.glob("*/__init__.py")):
        lines.append(_line(f"{indent}{room.name}/", room / "__init__.py"))
        lines += _rooms(room, indent + "  ")
    return lines


def _line(name: str, file: Path) -> str:
    return f"{name:<34}{_first_line(file)}"


def _first_line(file: Path) -> str:
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    sentence = re.split(r"(?<=[a-z`)])[.;] ", paragraph)[0]
    return sentence.rstrip(".:")


if __name__ == "__main__":
    for each in (ROOT / name for name in PAGES):
        each.write_text(page(each.read_text()))
