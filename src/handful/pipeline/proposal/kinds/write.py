"""The functions of an experiment for one kind of documents, and the test of them, as texts.

Each is put together from parts that lie as files in templates/kinds: what is the kind's own
(`<kind>/read.py`, `<kind>/sample.py`), and what kinds have in common.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Mapping
from importlib.resources import files

from handful.errors import UserError
from handful.files.paths import is_glob
from handful.pipeline.proposal.findings import KindProposal
from handful.pipeline.proposal.kinds.json_text import read_path

EXTRAS: Mapping[str, str] = {
    "html": "html",
    "email": "html",
    "pdf": "pdf",
    "docx": "docx",
    "images": "images",
}
"""Kind → the extra of handful's that brings its library (`pip install 'handful[pdf]'`)."""
EXTRA_REQUIREMENTS: Mapping[str, str] = {
    "html": "lxml>=5.3",
    "pdf": "pypdf[crypto]>=5.1",
    "docx": "python-docx>=1.1.2",
    "images": "pillow>=11",
}
"""Extra → what it asks for, as pyproject.toml has it."""
_WRITTEN_KINDS = ("text", "json", "html", "email", "pdf", "docx", "rows", "images")
_PART_MODULES = frozenset({"read", "sample"})
"""Modules of the templates: one part imports them of another, and what is written does not."""
_FIRST_DEFINITION = re.compile(r"^(@|def |class )", re.MULTILINE)
_SAMPLE_ENDINGS = {
    "text": ".txt",
    "rows": ".txt",
    "json": ".json",
    "html": ".html",
    "email": ".eml",
    "pdf": ".pdf",
    "docx": ".docx",
    "images": ".png",
}


def write_kind(kind: KindProposal, document: str, *, model: str) -> Mapping[str, str]:
    """File name → text: functions.py, test_functions.py, and requirements.txt where one is needed.

    `document`: the name or glob of MODEL_INPUT_FILES at which encode_data finds the document.
    `model`: one of MODEL_NAMES, for the test: a hub name, or a directory relative to the
    experiment's. `UserError` for a kind that nothing is written for.
    """
    if kind.kind not in _WRITTEN_KINDS:
        raise UserError(
            f"no functions are written for the kind {kind.kind!r}",
            remedy=f"the kinds: {', '.join(_WRITTEN_KINDS)}; or write encode_data by hand",
        )
    written = {
        "functions.py": _write_functions(kind, document),
        "test_functions.py": _write_test(kind, document, model),
    }
    if kind.kind in EXTRAS:
        written["requirements.txt"] = f"{EXTRA_REQUIREMENTS[EXTRAS[kind.kind]]}\n"
    return written


def _write_functions(kind: KindProposal, document: str) -> str:
    if kind.kind == "images":
        text = _read_template("images/functions.py")
    else:
        text = _join_parts(_read_template(f"{kind.kind}/read.py"), _read_template("encode_text.py"))
    text = _set_constant(text, "DOCUMENT", document)
    if kind.kind == "json":
        text = _fit_to_json(text, kind)
    if not is_glob(document):
        return text
    if kind.kind == "images":
        return _replace_once(text, "instance[DOCUMENT]", "instance[DOCUMENT][0]")
    many = '"\\n\\n".join(read_document(path) for path in instance[DOCUMENT])'
    return _replace_once(text, "read_document(instance[DOCUMENT])", many)


def _write_test(kind: KindProposal, document: str, model: str) -> str:
    parts = _read_template("check_functions.py"), _read_template(f"{kind.kind}/sample.py")
    text = _set_constant(_join_parts(*parts), "DOCUMENT", document)
    text = _set_constant(text, "MODEL", model)
    text = _set_constant(text, "FILE", _name_for(document, kind.kind))
    if kind.kind == "json":
        text = _fit_to_json(text, kind)
    if is_glob(document):
        text = _replace_once(text, "return {DOCUMENT: path}", "return {DOCUMENT: [path]}")
    return text


def _fit_to_json(text: str, kind: KindProposal) -> str:
    keys = read_path(kind.details.get("text_path", "text"))
    spelled = ", ".join(map(_spell_string, keys)) + ("," if len(keys) == 1 else "")
    text = _replace_once(text, 'TEXT_PATH = ("text",)', f"TEXT_PATH = ({spelled})")
    if kind.details.get("lines") == "true" and "json.loads(" in text:
        each = "[json.loads(line) for line in path.read_bytes().splitlines() if line.strip()]"
        whole = '"\\n".join(texts_at(json.loads(path.read_bytes()), TEXT_PATH))'
        return _replace_once(
            text,
            f"return {whole}",
            f'values = {each}\n    return "\\n".join(texts_at(values, TEXT_PATH))',
        )
    return text


# --- parts ---------------------------------------------------------------------------------------


def _read_template(name: str) -> str:
    return files("handful").joinpath("templates", "kinds", name).read_text(encoding="utf-8")


def _join_parts(first: str, second: str) -> str:
    """One module: the first one's docstring, all imports, then constants, then definitions.

    Those of the part that imports the other come first, so that the whole reads from top to bottom.
    """
    pieces = [_TemplatePart(part) for part in (first, second)]
    docstring = pieces[0].docstring
    pieces.sort(key=lambda piece: not piece.leads)
    imports = _sort_imports({line for piece in pieces for line in piece.imports})
    constants = "\n".join(piece.constants for piece in pieces if piece.constants)
    definitions = "\n\n\n".join(piece.definitions for piece in pieces if piece.definitions)
    head = "\n\n".join(filter(None, (docstring, imports, constants)))
    return f"{head}\n\n\n{definitions}\n"


class _TemplatePart:
    """A part, cut into what is joined separately."""

    def __init__(self, text: str) -> None:
        tree = ast.parse(text)
        lines = text.splitlines()
        docstring, *body = tree.body
        imports = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
        own = {
            node.lineno: node
            for node in imports
            if getattr(node, "module", None) not in _PART_MODULES
        }
        self.docstring = "\n".join(lines[: docstring.end_lineno])
        self.imports = [ast.unparse(node) for node in own.values()]
        self.leads = len(own) < len(imports)
        """It imports the other part."""
        last = imports[-1].end_lineno if imports else docstring.end_lineno
        rest = "\n".join(lines[last:]).strip("\n")
        begins = _FIRST_DEFINITION.search(rest)
        place = begins.start() if begins else len(rest)
        self.constants = rest[:place].strip("\n")
        self.definitions = rest[place:].strip("\n")


def _sort_imports(lines: Iterable[str]) -> str:
    """In three groups, each with `import` before `from`: the library's, others', handful's."""
    groups: tuple[list[str], ...] = ([], [], [])
    for line in lines:
        package = line.split()[1].split(".")[0]
        number = 0 if package in sys.stdlib_module_names else 2 if package == "handful" else 1
        groups[number].append(line)
    by_name = [
        sorted(group, key=lambda one: (one.startswith("from"), one.lower())) for group in groups
    ]
    return "\n\n".join("\n".join(group) for group in by_name if group)


def _set_constant(text: str, name: str, value: str) -> str:
    """The text with another string behind `NAME =`."""
    line = re.compile(rf'^{name} = "[^"]*"', re.MULTILINE)
    return line.sub(lambda _: f"{name} = {_spell_string(value)}", text, count=1)


def _spell_string(text: str) -> str:
    """As Python spells it, in double quotes where that needs no escape."""
    plain = text.isprintable() and '"' not in text and "\\" not in text
    return f'"{text}"' if plain else repr(text)


def _replace_once(text: str, old: str, new: str) -> str:
    if text.count(old) != 1:
        raise ValueError(f"the template holds {text.count(old)} times: {old}")
    return text.replace(old, new)


def _name_for(document: str, kind: str) -> str:
    """A file name for a sample; of a glob one that it might find."""
    if not is_glob(document):
        return document
    return f"sample{_SAMPLE_ENDINGS[kind]}"
