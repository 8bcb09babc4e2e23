"""Write into README.md what is written elsewhere: the example's two files, and the tree.

    python docs/readme_parts.py

Each part stands between `<!-- name -->` and `<!-- /name -->`. A test holds that README.md is what
this would write.
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


def readme(text: str) -> str:
    """`text` with every part filled in anew."""
    parts = {
        "settings": fenced("ini", (EXPERIMENT / "settings.ini").read_text()),
        "functions": fenced("python", (EXPERIMENT / "functions.py").read_text()),
        "tree": fenced("", tree()),
    }
    for name, part in parts.items():
        pattern = re.compile(f"<!-- {name} -->.*?<!-- /{name} -->", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"README.md has no part {name!r}")
        whole = f"<!-- {name} -->\n{part}\n<!-- /{name} -->"
        text = pattern.sub(lambda _, whole=whole: whole, text)
    return text


def fenced(language: str, text: str) -> str:
    return f"```{language}\n{text.strip()}\n```"


def tree() -> str:
    """Every Python file below `FOLDERS` with the first line of its docstring."""
    lines = []
    for folder, meaning in FOLDERS.items():
        lines.append(f"{folder + '/':<34}{meaning}")
        lines += _below(ROOT / folder, 1)
    return "\n".join(lines)


def _below(folder: Path, depth: int) -> list[str]:
    lines = []
    files = sorted(p for p in folder.glob("*.py") if p.name != "__init__.py")
    for file in files:
        lines.append(f"{'  ' * depth + file.name:<34}{_first_line(file)}")
    for child in sorted(p for p in folder.iterdir() if (p / "__init__.py").is_file()):
        lines.append(f"{'  ' * depth + child.name + '/':<34}{_first_line(child / '__init__.py')}")
        lines += _below(child, depth + 1)
    return lines


def _first_line(file: Path) -> str:
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    sentence = re.split(r"(?<=[a-z`)])[.;] ", paragraph)[0]
    return sentence.rstrip(".:")


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(readme(path.read_text()))
