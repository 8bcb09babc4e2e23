"""What a function is made of: what counts, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from handful.errors import FunctionsError
from handful.user_functions.source_hash import function_hashes, list_defined_functions, not_followed

TEXT = '''
import functools
import torch
from helper import clean as tidy
import other

LIMIT = 256
UNUSED = 1


@functools.cache
def tokenizer(name):
    """Makes one."""
    return make(name)


def make(name):
    return name + str(LIMIT)


def get_dataset_features():
    return {}


def encode_data(instance, model_name):
    return tokenizer(model_name), tidy(instance)


def load_model():
    return other.build()
'''
HELPER = (
    "def clean(x):\n    return strip(x)\n\ndef strip(x):\n    return x\n\ndef unused():\n    pass\n"
)
OTHER = "def build():\n    return 1\n\ndef more():\n    return 2\n"


def hashes(
    folder: Path, text: str = TEXT, helper: str = HELPER, other: str = OTHER
) -> dict[str, str]:
    (folder / "functions.py").write_text(text)
    (folder / "helper.py").write_text(helper)
    (folder / "other.py").write_text(other)
    return function_hashes(folder)


@pytest.fixture
def before(tmp_path: Path) -> dict[str, str]:
    return hashes(tmp_path)


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def test_what_is_defined(tmp_path: Path, before: dict[str, str]) -> None:
    assert set(before) == {"get_dataset_features", "encode_data", "load_model"}
    assert list_defined_functions(tmp_path) == set(before)
    assert len(set(before.values())) == 3


def test_form_does_not_count(tmp_path: Path, before: dict[str, str]) -> None:
    text = TEXT.replace("    return {}", "    # a remark\n    return   {}")
    text = text.replace('"""Makes one."""', '"""Makes another one."""')
    assert not changed(before, hashes(tmp_path, "'''A docstring.'''\n" + text))


def test_what_nobody_uses_does_not_count(tmp_path: Path, before: dict[str, str]) -> None:
    assert not changed(before, hashes(tmp_path, TEXT.replace("UNUSED = 1", "UNUSED = 2")))
    assert not changed(before, hashes(tmp_path, helper=HELPER.replace("pass", "return 3")))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 256", "LIMIT = 512"),
        ("name + str", "name * 2 + str"),
        ("@functools.cache\n", ""),
        ("from helper import clean as tidy", "from helper import strip as tidy"),
    ],
)
def test_a_helper_two_levels_deep_counts(
    tmp_path: Path, before: dict[str, str], old: str, new: str
) -> None:
    assert old in TEXT
    assert changed(before, hashes(tmp_path, TEXT.replace(old, new))) == {"encode_data"}


def test_a_sibling_counts_by_what_is_taken_from_it(tmp_path: Path, before: dict[str, str]) -> None:
    after = hashes(tmp_path, helper=HELPER.replace("    return x\n", "    return x.strip()\n"))
    assert changed(before, after) == {"encode_data"}
    # `import other` may use anything of it.
    assert changed(before, hashes(tmp_path, other=OTHER.replace("2", "3"))) == {"load_model"}


def test_an_import_inside_a_function_counts(tmp_path: Path) -> None:
    text = TEXT.replace("    return {}", "    from helper import unused\n    return unused()")
    first = hashes(tmp_path, text)
    after = hashes(tmp_path, text, helper=HELPER.replace("pass", "return 3"))
    assert changed(first, after) == {"get_dataset_features"}


def test_statements_of_the_module_count_for_all(tmp_path: Path, before: dict[str, str]) -> None:
    after = hashes(tmp_path, TEXT + "\ntorch.set_num_threads(1)\n")
    assert changed(before, after) == set(before)


def test_what_cannot_be_followed_makes_the_whole_module_count(tmp_path: Path) -> None:
    text = TEXT.replace("return name + str(LIMIT)", "return globals()['LIMIT']")
    first = hashes(tmp_path, text)
    assert "encode_data" in changed(
        first, hashes(tmp_path, text.replace("UNUSED = 1", "UNUSED = 2"))
    )


def test_nothing_is_run(tmp_path: Path) -> None:
    assert hashes(tmp_path, TEXT + "\nraise RuntimeError('never run')\n")


def test_circles_of_helpers_end(tmp_path: Path) -> None:
    assert hashes(
        tmp_path,
        TEXT
        + "\ndef process_func():\n    return again()\n\ndef again():\n    return process_func()\n",
    )


def test_a_syntax_error_is_told_with_its_file(tmp_path: Path) -> None:
    with pytest.raises(FunctionsError, match=r"helper\.py:1"):
        hashes(tmp_path, helper="def clean(:\n")


REQUIRED = "\n\ndef get_dataset_features():\n    return {}\n\n\ndef encode_data(instance):\n"
FORMS = {
    "import a.b": "import pkg.sub\n" + REQUIRED + "    return pkg.sub.clean(1)\n",
    "import a.b as c": "import pkg.sub as s\n" + REQUIRED + "    return s.clean(1)\n",
    "from a.b": "from pkg.sub import clean\n" + REQUIRED + "    return clean(1)\n",
    "from a": "from pkg import sub\n" + REQUIRED + "    return sub.clean(1)\n",
    "by the package": "from pkg import clean\n" + REQUIRED + "    return clean(1)\n",
    "inside": REQUIRED + "    from pkg.sub import clean\n    return clean(1)\n",
    "import_module": "import importlib\n"
    + REQUIRED
    + "    return importlib.import_module('pkg.sub').clean(1)\n",
    "its name": "from importlib import import_module as load\nfrom importlib import "
    "import_module\n" + REQUIRED + "    return import_module('pkg.sub').clean(1)\n",
    "with a package": "import importlib\n"
    + REQUIRED
    + "    return importlib.import_module('.sub', package='pkg').clean(1)\n",
    "__import__": "import json\n"
    + REQUIRED
    + "    return __import__('pkg.sub', fromlist=['x']).clean(1)\n",
    "try": "try:\n    from pkg.sub import clean\nexcept ImportError:\n    clean = None\n"
    + REQUIRED
    + "    return clean(1)\n",
    "try, with a flag": "try:\n    import pkg.sub\n\n    HAVE = True\nexcept ImportError:\n"
    "    HAVE = False\n" + REQUIRED + "    return pkg.sub.clean(1)\n",
    "if, with a flag": "import os\n\nif os.name:\n    from pkg.sub import clean as c\n\n    F = 1\n"
    + REQUIRED
    + "    return c(1)\n",
    "with, by a name": "from contextlib import suppress\n\nwith suppress(ImportError) as s:\n"
    "    from pkg import sub\n" + REQUIRED + "    return sub.clean(1)\n",
    "another name": "from importlib import import_module as load\n"
    + REQUIRED
    + "    return load('pkg.sub').clean(1)\n",
    "a name of one's own": "import importlib\n\nload = importlib.import_module\n"
    + REQUIRED
    + "    return load('pkg.sub').clean(1)\n",
    "by keyword": "import importlib\n"
    + REQUIRED
    + "    return importlib.import_module(name='pkg.sub').clean(1)\n",
    "resolve_name": "import pkgutil\n"
    + REQUIRED
    + "    return pkgutil.resolve_name('pkg.sub:clean')(1)\n",
}
OLD = {
    "get_dataset_features": "ca313c3b6cc3c3591ec413e5eb1a5946dac4de66f2c436498a47b88ef57148dc",
    "encode_data": "2dc77d78cf41c994245bfefec6ff0735406a5a04abd64808b8967ebc6c65faf2",
    "load_model": "43c4788ee48715fc1b3ca2249c960329495be190cd91cffbd61cb4cff18ea85f",
}
"""Of TEXT, HELPER and OTHER, as they have always been: else every store would be out of date."""


def package(folder: Path, deep: str = "return x") -> None:
    (folder / "pkg" / "inner").mkdir(parents=True, exist_ok=True)
    (folder / "pkg/__init__.py").write_text("from .sub import clean\n")
    (folder / "pkg/sub.py").write_text(
        "from . import deep\nfrom .inner import most\n\n\n"
        "def clean(x):\n    return deep.one(most(x))\n"
    )
    (folder / "pkg/deep.py").write_text(f"def one(x):\n    {deep}\n")
    (folder / "pkg/inner/__init__.py").write_text("from .core import most\n")
    (folder / "pkg/inner/core.py").write_text(
        "from ..deep import one\n\n\ndef most(x):\n    return one(x)\n"
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("file", ["pkg/deep.py", "pkg/inner/core.py", "pkg/sub.py"])
def test_every_form_of_import_is_followed(form: str, file: str, tmp_path: Path) -> None:
    (tmp_path / "functions.py").write_text(FORMS[form])
    package(tmp_path)
    before = function_hashes(tmp_path)
    assert not_followed(tmp_path) == []
    text = (tmp_path / file).read_text()
    (tmp_path / file).write_text(text.replace("(x):\n    return", "(x):\n    x += 1\n    return"))
    assert text != (tmp_path / file).read_text()
    assert changed(before, function_hashes(tmp_path)) == {"encode_data"}


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("importlib.import_module(instance)", "import_module(instance)"),
        ("__import__(instance)", "__import__(instance)"),
        ("importlib.import_module('.sub', package=instance)", "package=instance"),
        ("importlib.util.spec_from_file_location('x', '../x.py')", "spec_from_file_location"),
        ("runpy.run_path('../x.py')", "run_path('../x.py')"),
        ("sys.path.insert(0, '..')", "sys.path.insert(0, '..')"),
        ("sys.path.append(str(Path(__file__).parent / 'lib'))", "/ 'lib'"),
    ],
)
def test_what_cannot_be_followed_is_said_with_its_line(
    call: str, told: str, tmp_path: Path
) -> None:
    text = f"import importlib, runpy, sys\n{REQUIRED}    return {call}\n"
    (tmp_path / "functions.py").write_text(text)
    (line,) = not_followed(tmp_path)
    assert line.startswith("functions.py:9: ")
    assert told in line


@pytest.mark.parametrize(
    "place",
    [
        "str(Path(__file__).parent)",
        "str(pathlib.Path(__file__).resolve().parent)",
        "os.path.dirname(os.path.abspath(__file__))",
    ],
)
def test_the_directory_itself_is_followed_anyhow(place: str, tmp_path: Path) -> None:
    (tmp_path / "functions.py").write_text(f"import sys\n\nsys.path.insert(0, {place})\n{REQUIRED}")
    with (tmp_path / "functions.py").open("a") as file:
        file.write("    return 1\n")
    assert not_followed(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("import pkg.sub\n", "pkg.LEVEL"),
        ("from pkg.sub import clean\n", "clean(1)"),  # the package is run first
        ("from pkg import made\n", "made"),
    ],
)
def test_the_packages_that_a_module_lies_in_count(text: str, used: str, tmp_path: Path) -> None:
    (tmp_path / "functions.py").write_text(f"{text}{REQUIRED}    return {used}\n")
    package(tmp_path)
    found = []
    for level in "12":
        (tmp_path / "pkg/__init__.py").write_text(
            f"from . import sub\n\nLEVEL = {level}\nsub.level = {level}\n\n\n"
            f"def __getattr__(name):\n    return {level}\n"
        )
        found.append(function_hashes(tmp_path))
    assert changed(*found) == {"encode_data"}


def test_a_package_goes_before_a_module_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "functions.py").write_text(f"import pkg\n{REQUIRED}    return pkg.clean(1)\n")
    package(tmp_path)
    (tmp_path / "pkg.py").write_text("def clean(x):\n    return x\n")
    before = function_hashes(tmp_path)
    package(tmp_path, "return x + 1")
    assert changed(before, function_hashes(tmp_path)) == {"encode_data"}


def test_hashes_of_other_forms_stay_as_they_were(before: dict[str, str]) -> None:
    assert before == OLD
