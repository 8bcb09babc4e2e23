"""functions.py: loaded by path, checked together, asked by name."""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

import pytest

import handful
from handful.errors import FunctionsError
from handful.user_functions.load import MENUS, Functions, load_functions

GOOD = """
def get_dataset_features():
    return {}

def encode_data(instance):
    return {"x": instance}
"""


def load(folder: Path, text: str, **siblings: str) -> Functions:
    folder.mkdir(exist_ok=True)
    (folder / "functions.py").write_text(textwrap.dedent(text))
    for name, content in siblings.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(content))
    return load_functions(folder)


def faults(folder: Path, text: str, **siblings: str) -> list[str]:
    with pytest.raises(FunctionsError) as caught:
        load(folder, text, **siblings)
    return [str(fault) for fault in caught.value.faults]


def test_a_function_gets_just_what_it_asks_for(tmp_path: Path) -> None:
    functions = load(tmp_path, GOOD)
    assert functions.has("encode_data")
    assert not functions.has("process_func")
    assert not functions.batched
    menu = {"instance": 7, "label2id": {}, "model_name": "m", "settings": None}
    assert functions.call("encode_data", **menu) == {"x": 7}
    assert functions.call("get_dataset_features", **menu) == {}


def test_a_parameter_with_a_default_may_be_the_users_own(tmp_path: Path) -> None:
    text = GOOD.replace("encode_data(instance)", "encode_data(instance, limit=3)")
    functions = load(tmp_path, text.replace("return {", "return {'limit': limit, "))
    assert functions.call("encode_data", instance=1, label2id={}) == {"limit": 3, "x": 1}


def test_batched_takes_lists(tmp_path: Path) -> None:
    text = "import handful\n" + GOOD.replace(
        "def encode_data(instance):\n    return {",
        "@handful.batched\ndef encode_data(instances):\n    return {",
    ).replace("instance}", "instances}")
    functions = load(tmp_path, text)
    assert functions.batched
    told = faults(
        tmp_path / "wrong",
        "import handful\n" + GOOD.replace("def enc", "@handful.batched\ndef enc"),
    )
    assert len(told) == 1
    assert "instances" in told[0]


def test_all_faults_come_together(tmp_path: Path) -> None:
    told = faults(
        tmp_path,
        """
        def encode_dat(instance):
            return {}

        def process_func(artefact, **others):
            pass

        async def load_model():
            pass

        compute_metrics = 3
        """,
    )
    assert len(told) == 6
    text = "\n".join(told)
    assert re.search(
        r"functions\.py:5 process_func: asks for 'artefact'.*did you mean artifact\?", text
    )
    assert "takes **others" in text
    assert "the function get_dataset_features is missing" in text
    assert "functions.py:2 encode_dat: is none of the five; did you mean encode_data?" in text
    assert "functions.py:8 load_model: is async" in text
    assert "compute_metrics: is no function but int" in text
    assert "experiment_path" in text, "the menu is shown"


def test_a_misspelt_optional_function_is_no_helper(tmp_path: Path) -> None:
    told = faults(tmp_path, GOOD + "\ndef compute_metric(logits):\n    return {}\n")
    assert len(told) == 1
    assert "did you mean compute_metrics?" in told[0]


def test_a_generator_is_refused(tmp_path: Path) -> None:
    told = faults(tmp_path, GOOD.replace("return {", "yield {", 2))
    assert any("generator" in one for one in told)


def test_a_syntax_error_has_its_line(tmp_path: Path) -> None:
    told = faults(tmp_path, "def encode_data(instance:\n    return {}\n")
    assert told[0].startswith("functions.py:1: syntax error")


def test_a_library_that_is_missing_is_told_from_an_error_inside(tmp_path: Path) -> None:
    told = faults(tmp_path / "a", "import no_such_library_at_all\n" + GOOD)
    assert "functions.py:1: cannot import no_such_library_at_all" in told[0]
    assert "pip install no_such_library_at_all" in told[0]
    inside = "x = 1\n\ny = {}['key']\n"
    told = faults(tmp_path / "b", "import my_helper_b\n" + GOOD, my_helper_b=inside)
    assert told == ["my_helper_b.py:3: an error while it was imported: KeyError: 'key'"]
    told = faults(tmp_path / "c", "import my_helper_c.deeper\n" + GOOD, my_helper_c="")
    assert "pip install" not in told[0]
    assert "my_helper_c.deeper" in told[0]


@pytest.mark.parametrize(
    ("module", "package"),
    [("pypdf", "'handful[pdf]'"), ("lxml", "'handful[html]'"), ("docx", "'handful[docx]'")],
)
def test_a_reader_that_is_missing_is_told_by_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    told = faults(tmp_path, f"import {module}\n" + GOOD)
    assert f"pip install {package}" in told[0]


def test_sibling_modules_are_found(tmp_path: Path) -> None:
    functions = load(
        tmp_path,
        "from my_helper_d import encode_data\n\ndef get_dataset_features():\n    return {}\n",
        my_helper_d="def encode_data(instance):\n    return 'sibling'\n",
    )
    assert functions.call("encode_data", instance=1) == "sibling"


def test_it_is_imported_once(tmp_path: Path) -> None:
    counting = """
        from pathlib import Path
        count = Path(__file__).with_name("count")
        count.write_text((count.read_text() if count.exists() else "") + "x")
    """
    first = load(tmp_path, textwrap.dedent(counting) + GOOD)
    assert load_functions(tmp_path) is first
    assert (tmp_path / "count").read_text() == "x"


def test_two_experiments_in_one_process_are_kept_apart(tmp_path: Path) -> None:
    one = load(tmp_path / "one", GOOD)
    other = load(tmp_path / "other", GOOD.replace('"x"', '"y"'))
    assert one.call("encode_data", instance=1) == {"x": 1}
    assert other.call("encode_data", instance=1) == {"y": 1}


def test_a_missing_file_names_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(FunctionsError, match="handful init"):
        load_functions(tmp_path)


def test_an_error_of_the_function_itself_is_raised_as_it_is(tmp_path: Path) -> None:
    functions = load(tmp_path, GOOD.replace('return {"x": instance}', "raise ValueError('mine')"))
    with pytest.raises(ValueError, match="mine"):
        functions.call("encode_data", instance=1)


def test_encoded_says_how_long_it_was() -> None:
    encoded = handful.Encoded({"input_ids": [1]}, full_length=9)
    assert (encoded.features, encoded.full_length) == ({"input_ids": [1]}, 9)


def test_the_menus_are_those_of_the_documentation() -> None:
    page = (Path(__file__).parents[3] / "docs" / "functions.md").read_text()
    for menu in MENUS:
        row = next(line for line in page.splitlines() if line.startswith(f"| `{menu.name}` |"))
        assert ("yes" in row.split("|")[2]) == menu.required
        for parameter in menu.parameters:
            assert f"`{parameter}`" in row
