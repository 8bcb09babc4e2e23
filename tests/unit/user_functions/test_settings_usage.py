"""Which settings the five functions read: by every way of reading that people have."""

from __future__ import annotations

from pathlib import Path

import pytest

from handful.errors import FunctionsError
from handful.settings import EVERYTHING
from handful.user_functions.settings_usage import settings_usage

ALL = EVERYTHING
HELPERS = """
import functools
from typing import NamedTuple

LIMIT = 3

def width(settings):
    return settings.user.WIDTH + LIMIT

def of_user(user, *, deep=False):
    return user.DEPTH if deep else user.WIDTH

def user_of(settings):
    return settings.user

@functools.cache
def kept(settings):
    return settings.user.KEPT

def count(settings, number):
    user = count(settings, number - 1) if number else None
    return settings if user is None else settings.user.COUNT or user.user.AGAIN

def spread(*rest, **more):
    return rest, more

def opt(settings, name, default=None):
    return getattr(settings.user, name, default)

def changed(settings, name):
    name = name.lower()
    return settings.user.values[name]

class Config:
    def __init__(self, settings):
        self.settings = settings

def logged(function):
    @functools.wraps(function)
    def inner(**given):
        print(given["settings"].user)
        return function(**given)
    return inner
"""

# The body of encode_data(instance, settings) → the keys that it reads, and what it hands on whole.
FORMS: dict[str, tuple[str, set[str], set[str]]] = {
    "nothing": ("return {}", set(), set()),
    "an attribute": ("return settings.user.A", {"user.A"}, set()),
    "twice": ("return settings.user.A + settings.user.B", {"user.A", "user.B"}, set()),
    "of another section": ("return settings.train.EPOCHS", {"train.EPOCHS"}, set()),
    "a model's section": ("return settings.train_for('m').EPOCHS", {"train.EPOCHS"}, set()),
    "getattr": ("return getattr(settings.user, 'A', 3)", {"user.A"}, set()),
    "getattr of a section": ("return getattr(settings, 'user').A", {"user.A"}, set()),
    "hasattr": ("return hasattr(settings.user, 'A')", {"user.A"}, set()),
    "a subscript": ("return settings.user.values['A']", {"user.A"}, set()),
    "get": ("return settings.user.values.get('A', 1)", {"user.A"}, set()),
    "in": ("return 'A' in settings.user.values", {"user.A"}, set()),
    "an alias": ("u = settings.user\n    return u.A", {"user.A"}, set()),
    "an alias of an alias": (
        "s = settings\n    u: object = s.user\n    return u.A",
        {"user.A"},
        set(),
    ),
    "a walrus": ("return (u := settings.user).A + u.B", {"user.A", "user.B"}, set()),
    "a pair": (
        "u, t = settings.user, settings.train\n    return u.A, t.SEEDS",
        {"user.A", "train.SEEDS"},
        set(),
    ),
    "either": (
        "u = settings.user if LIMIT else settings.train\n    return u.EPOCHS",
        {"user.EPOCHS", "train.EPOCHS"},
        set(),
    ),
    "or": ("return (settings or None).user.A", {"user.A"}, set()),
    "is None": ("return 1 if settings is None else settings.user.A", {"user.A"}, set()),
    "if settings": ("return settings.user.A if settings else 0", {"user.A"}, set()),
    "in a comprehension": ("return [x * settings.user.A for x in (1, 2)]", {"user.A"}, set()),
    "in an f-string": ("return f'{settings.user.A}'", {"user.A"}, set()),
    "in a lambda": ("return (lambda x: x + settings.user.A)(1)", {"user.A"}, set()),
    "a hidden name": ("return (lambda settings: settings.user.A)(1)", set(), set()),
    "in a nested function": (
        "def f():\n        return settings.user.A\n    return f()",
        {"user.A"},
        set(),
    ),
    "given to a nested function": (
        "def f(u):\n        return u.A\n    return f(settings.user)",
        {"user.A"},
        set(),
    ),
    "a nested function that calls itself": (
        "def f(s, n):\n        return f(s, n - 1) if n else s.user.A\n    return f(settings, 2)",
        {"user.A"},
        set(),
    ),
    "a name for two things": (
        "s = None\n    for _ in (1, 2):\n        x = s\n        s = settings\n    return x.user.A",
        {"user.A"},
        set(),
    ),
    "a helper": ("return width(settings)", {"user.WIDTH"}, set()),
    "a helper by keyword": ("return width(settings=settings)", {"user.WIDTH"}, set()),
    "a helper of a section": (
        "return of_user(settings.user, deep=True)",
        {"user.DEPTH", "user.WIDTH"},
        set(),
    ),
    "a helper that gives it back": ("return user_of(settings).A", {"user.A"}, set()),
    "a helper that is cached": ("return kept(settings)", {"user.KEPT"}, set()),
    "a helper that calls itself": (
        "return count(settings, 2).user.A",
        {"user.COUNT", "user.AGAIN", "user.A"},
        set(),
    ),
    "a helper of a module": ("return helpers.width(settings)", {"user.WIDTH"}, set()),
    "a helper under another name": ("return wide(settings)", {"user.WIDTH"}, set()),
    "a helper imported within": (
        "from helpers import kept as k\n    return k(settings)",
        {"user.KEPT"},
        set(),
    ),
    "a module imported within": (
        "import helpers as h\n    return h.width(settings)",
        {"user.WIDTH"},
        set(),
    ),
    "a value is passed on": ("return json.dumps(settings.user.A)", {"user.A"}, set()),
    "a helper that is given the name": (
        "return helpers.opt(settings, 'A', 1) + helpers.opt(settings, name='B')",
        {"user.A", "user.B"},
        set(),
    ),
    "a helper that is given a made name": (
        "return helpers.opt(settings, instance.id)",
        set(),
        {"user"},
    ),
    "a helper that changes the name": ("return helpers.changed(settings, 'A')", set(), {"user"}),
    "a nested helper that is given the name": (
        "def of(user, name):\n        return user.values[name]\n    return of(settings.user, 'A')",
        {"user.A"},
        set(),
    ),
    "a library is given a section": ("return json.dumps(settings.user)", set(), {"user"}),
    "a library is given all": ("return json.dumps(settings)", set(), {ALL}),
    "a section and a key": (
        "print(settings.train)\n    return settings.user.A",
        {"user.A"},
        {"train"},
    ),
    "a class is given it": ("return helpers.Config(settings)", set(), {ALL}),
    "a partial": ("return functools.partial(width, settings)()", set(), {ALL}),
    "starred": ("return width(*[settings])", set(), {ALL}),
    "any arguments": ("return helpers.spread(settings.user)", set(), {"user"}),
    "any keywords": ("return helpers.spread(user=settings.user)", set(), {"user"}),
    "a wrapped helper": (
        "@helpers.logged\n    def f(settings):\n        return 1\n    return f(settings=settings)",
        set(),
        {ALL},
    ),
    "a name made at run time": ("return getattr(settings.user, 'A' + 'B')", set(), {"user"}),
    "a subscript made at run time": ("return settings.user.values[instance.id]", set(), {"user"}),
    "all values": ("return dict(settings.user.values)", set(), {"user"}),
    "a loop over them": ("for k in settings.user.values:\n        print(k)", set(), {"user"}),
    "a list": ("return [settings.user]", set(), {"user"}),
    "returned": ("return settings", set(), {ALL}),
    "yielded": ("def f():\n        yield settings.user\n    return list(f())", set(), {"user"}),
    "a global": ("global LIMIT\n    LIMIT = settings.user", set(), {"user"}),
    "an attribute of another": ("instance.kept = settings.train", set(), {"train"}),
    "an attribute of a class": (
        "class C:\n        kept = settings.user\n    return C().kept.A",
        set(),
        {"user"},
    ),
    "a default": ("def f(u=settings.user):\n        return u.A\n    return f()", set(), {"user"}),
    "locals()": ("return locals()['settings'].user.A", set(), {ALL}),
    "vars()": ("return vars(settings.user)", set(), {ALL}),
    "eval": ("return eval('settings.user.A')", set(), {ALL}),
    "what is no key": ("return settings.tune.is_asked", set(), {"tune"}),
    "what is no section": ("return settings.for_models", set(), {ALL}),
    "matched": (
        "match settings.user.MODE:\n        case 'a':\n            return 1",
        {"user.MODE"},
        set(),
    ),
    "an error's words": (
        "raise ValueError(settings.hide(f'{settings.user.A}'))",
        {"user.A"},
        set(),
    ),
}
HEAD = """
import functools
import json
import helpers
from helpers import count, kept, of_user, user_of, width
from helpers import width as wide

LIMIT = 3

def get_dataset_features():
    return {}

"""


def usage(folder: Path, text: str, *names: str) -> tuple[set[str], set[str]]:
    (folder / "functions.py").write_text(text)
    (folder / "helpers.py").write_text(HELPERS)
    found = settings_usage(folder, names or ("encode_data",))
    assert type(found).from_text(found.to_text()) == found
    return {f"{section}.{key}" for section, key in found.keys}, set(found.whole)


@pytest.mark.parametrize("form", FORMS)
def test_what_a_function_reads(form: str, tmp_path: Path) -> None:
    body, keys, whole = FORMS[form]
    text = f"{HEAD}def encode_data(instance, settings):\n    {body}\n"
    assert usage(tmp_path, text) == (keys, whole)


def test_each_function_reads_for_itself(tmp_path: Path) -> None:
    text = (
        f"{HEAD}def encode_data(instance, settings):\n    return settings.user.TOKENS\n"
        "def load_model(model_name, settings):\n    return settings.user.LAYERS\n"
    )
    assert usage(tmp_path, text) == ({"user.TOKENS"}, set())
    assert usage(tmp_path, text, "load_model", "compute_metrics") == ({"user.LAYERS"}, set())
    assert usage(tmp_path, text, "process_func") == (set(), set())


def test_a_function_that_asks_for_no_settings_reads_none(tmp_path: Path) -> None:
    text = f"{HEAD}def encode_data(instance):\n    return settings.user.A\n"
    assert usage(tmp_path, text) == (set(), set())


@pytest.mark.parametrize(
    "text",
    [
        "encode_data = functools.partial(width, 3)",
        "class Encoder:\n    def __call__(self, settings): ...\nencode_data = Encoder()",
        "@helpers.logged\ndef encode_data(instance, settings):\n    return 1",
    ],
    ids=["an expression", "an object", "wrapped by a function of one's own"],
)
def test_what_no_reading_can_tell_reads_everything(text: str, tmp_path: Path) -> None:
    assert usage(tmp_path, f"{HEAD}{text}\n") == (set(), {ALL})


@pytest.mark.parametrize(
    "text",
    [
        "from helpers import encode_data",
        "try:\n    from helpers import encode_data\nexcept ImportError:\n    raise",
        "from handful import batched\nfrom helpers import encode_data",
        "import handful, torch\n@handful.batched\n@torch.no_grad()\n"
        "def encode_data(instances, settings):\n    return settings.user.A",
        "if True:\n    def encode_data(instance, settings):\n        return settings.user.A\n"
        "else:\n    def encode_data(instance, settings):\n        return settings.user.A",
    ],
    ids=["imported", "tried", "beside a library", "wrapped by libraries", "below if"],
)
def test_the_ways_of_defining_one(text: str, tmp_path: Path) -> None:
    (tmp_path / "functions.py").write_text(text)
    (tmp_path / "helpers.py").write_text(
        "def encode_data(instance, settings):\n    return settings.user.A\n"
    )
    found = settings_usage(tmp_path, ("encode_data",))
    assert (found.keys, found.whole) == ({("user", "A")}, {})


def test_packages_of_ones_own_are_followed(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours/__init__.py").write_text("")
    (tmp_path / "ours/reading.py").write_text(
        "from .deeper import depth\n\ndef read(settings):\n    return depth(settings.user)\n"
    )
    (tmp_path / "ours/deeper.py").write_text("def depth(user):\n    return user.DEPTH\n")
    for imported, call in {
        "from ours.reading import read": "read",
        "import ours.reading": "ours.reading.read",
        "from ours import reading": "reading.read",
        "import ours.reading as r": "r.read",
    }.items():
        (tmp_path / "functions.py").write_text(
            f"{imported}\ndef encode_data(instance, settings):\n    return {call}(settings)\n"
        )
        found = settings_usage(tmp_path, ("encode_data",))
        assert (found.keys, found.whole) == ({("user", "DEPTH")}, {}), call


def test_modules_that_import_each_other(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("from two import f\n")
    (tmp_path / "two.py").write_text("from one import f\n")
    text = "from one import f\ndef encode_data(instance, settings):\n    return f(settings)\n"
    (tmp_path / "functions.py").write_text(text)
    found = settings_usage(tmp_path, ("encode_data",))
    assert list(found.whole.values()) == [
        "encode_data in functions.py:3 passes it to f, which cannot be followed"
    ]


def test_a_syntax_error_is_told(tmp_path: Path) -> None:
    (tmp_path / "functions.py").write_text("def encode_data(:\n")
    with pytest.raises(FunctionsError, match=r"functions.py:1"):
        settings_usage(tmp_path, ("encode_data",))
