"""No read is missed: what functions really read while they run, beside what their source tells."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from handful.settings import EVERYTHING
from handful.settings.values.types import FrozenMap, User
from handful.user_functions.load import load_functions
from handful.user_functions.settings_usage import settings_usage

KEYS = {"A": 5, "B": 6, "MODE": "slow", "LOWER": True}


class Recorder(FrozenMap[Any]):
    """`settings.user.values`, which notes what is asked of it."""

    __slots__ = ("read",)
    read: set[str]

    def __init__(self) -> None:
        super().__init__(KEYS)
        object.__setattr__(self, "read", set())

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[str]:
        self.read.update(KEYS)
        return super().__iter__()


# The body of encode_data(instance, settings), after `from helpers import …`.
BODIES = {
    "a lambda's default": "return (lambda t, n=settings.user.A: t[:n])('text')",
    "bound late": "return [f('t') for f in [lambda t, s=settings: t[: s.user.B]]]",
    "a key function's default": "return sorted('ab', key=lambda x, k=settings.user.A: k)",
    "a walrus in a default": "return (lambda n=(u := settings.user): n.A + u.B)()",
    "get for later": "get = settings.user.values.get\n    return get('A')",
    "mapped over": "return list(map(settings.user.values.get, ('A', 'B')))",
    "an item's getter": "return settings.user.values.__getitem__('B')",
    "getattr of a mapping": "return getattr(settings.user.values, 'get')('A')",
    "its dictionary": "return settings.user.__dict__['values']['A']",
    "of a user's own getattr": "return settings.user.__getattr__('B')",
    "spread": "return dict(**settings.user.values)",
    "joined": "return {**settings.user.values, 'x': 1}",
    "a local name hides a helper": "by_a = {'slow': by_b}['slow']\n    return by_a(settings)",
    "a loop hides a helper": "for by_a in [by_b]:\n        x = by_a(settings)\n    return x",
    "a comprehension hides a helper": "return [by_a(settings) for by_a in [by_b]]",
    "a lambda hides a helper": "by_a = lambda s: s.user.B\n    return by_a(settings)",
    "a lambda's parameter hides it": "return (lambda by_a: by_a(settings))(by_b)",
    "with hides a helper": "with given(by_b) as by_a:\n        return by_a(settings)",
    "case hides a helper": "match [by_b]:\n        case [by_a]:\n            return by_a(settings)",
    "a walrus hides a helper": "return (by_a := by_b)(settings) + by_a(settings)",
    "an import hides a helper": "from helpers import by_b as by_a\n    return by_a(settings)",
    "an import, or another": "if settings.user.LOWER:\n        from helpers import by_a as f\n"
    "    else:\n        from helpers import by_b as f\n    return f(settings)",
    "a module's name hides it": "helpers = Namespace(by_a=by_b)\n    return helpers.by_a(settings)",
    "a parameter that is called": "def f(g, s):\n        return g(s)\n    return f(by_b, settings)",
    "two of one name": "if settings.user.LOWER:\n        def f(s):\n            return s.user.B\n"
    "    else:\n        def f(s):\n            return s.user.A\n    return f(settings)",
    "an inner one hides": "def f(s):\n        return s.user.A\n    def g(s):\n"
    "        def f(s):\n            return s.user.B\n        return f(s)\n"
    "    return f(settings) + g(settings)",
    "a method hides nothing": "class C:\n        def by_a(self, s):\n            return s.user.B\n"
    "    return by_a(settings) + C().by_a(settings)",
    "a decorator made within": "def d(f):\n        return lambda s: f(s) + s.user.B\n    @d\n"
    "    def f(s):\n        return s.user.A\n    return f(settings)",
    "a decorator imported within": "from helpers import wrapped\n    @wrapped\n    def f(s):\n"
    "        return s.user.A\n    return f(settings)",
    "dispatched": "return dispatched('text', settings)",
    "an annotation": "def f(x: settings.user.A) -> settings.user.B:\n        return x\n"
    "    return f(1)",
    "named later": "def f():\n        return s.user.A\n    s = settings\n    return f()",
    "through a generator": "def f(s):\n        yield s.user.A\n    return list(f(settings))",
    "in a class": "class C:\n        x = settings.user.A\n    return C.x",
    "a class that keeps values": "return Values(settings).a",
    "a class that keeps all": "return Keeps(settings).b()",
    "a class with a parent": "return Child(settings).a",
    "a class made by its method": "return Values.of(settings).a",
    "a dataclass": "return Plain(settings).b",
    "two by position only": "return only(settings, s=settings)",
    "called like a builtin": "def getattr(u, name):\n        return u.B\n"
    "    return getattr(settings.user, 'A')",
    "in a dictionary": "return {'slow': by_b}[settings.user.MODE](settings)",
    "by a partial": "import functools\n    return functools.partial(by_b, s=settings)()",
    "by attrgetter": "import operator\n    return operator.attrgetter('user.A')(settings)",
    "copied": "import copy\n    return copy.copy(settings).user.A",
    "passed through": "return same(settings).user.B",
    "passed through, sometimes": "return (same(settings) if settings else None).user.B",
    "augmented": "total = 0\n    total += settings.user.A\n    return total",
    "chained": "a = b = settings\n    return a.user.A + b.user.B",
    "starred": "a, *b = settings, settings.user\n    return b[0].A",
    "swapped": "a, b = settings.user, None\n    a, b = b, a\n    return b.A",
    "kept on a function": "by_a.kept = settings\n    return by_a.kept.user.B",
    "global": "global KEPT\n    KEPT = settings.user\n    return of_kept()",
    "nonlocal": "u = None\n    def f():\n        nonlocal u\n        u = settings.user\n"
    "    f()\n    return u.A",
    "in a try": "try:\n        x = settings.missing\n    except AttributeError as error:\n"
    "        x = settings.user.A\n    finally:\n        y = settings.user.B\n    return x, y",
    "deleted": "s = settings\n    x = s.user.A\n    del s\n    return x",
    "each other": "return even(settings, 3)",
    "inspect": "return framed()",
    "eval": "return eval('settings.user.A')",
    "exec": "found = {}\n    exec('x = settings.user.A', {'settings': settings}, found)\n"
    "    return found",
    "its own reading": "import configparser\n    return 'settings.ini'",
    "a helper that is patched": "import helpers as h\n    return h.patched(settings)",
    "a helper that is set": "import helpers as h\n    return h.put(settings)",
    "a helper by cases": "import helpers as h\n    return h.cased(settings)",
    "a helper tried": "import helpers as h\n    return h.tried(settings)",
    "an import within hides outside of it": "def g():\n        from impl_b import tried as by_a\n"
    "        return by_a(settings)\n    return by_a(settings) + g()",
    "a def within hides outside of it": "def g():\n        def by_b(s):\n"
    "            return s.user.A\n        return by_b(settings)\n    return by_b(settings) + g()",
    "a module within hides outside of it": "def g():\n        import impl_b as helpers\n"
    "        return helpers.tried(settings)\n    return helpers.by_a(settings) + g()",
    "a class's import hides nothing": "class C:\n        from impl_b import tried as by_a\n"
    "    return by_a(settings) + C.by_a(settings)",
    "a helper made by another": "make_late(settings)\n    return late(settings)",
    "a decorator's argument": "return fallen(settings)",
    "a class made otherwise": "return helpers.Odd(settings).x",
    "a class whose making is set": "return helpers.Set(settings).x",
    "a helper of a patching module": "import impl_c\n    return helpers.mended(settings)",
    "a module by cases": "import helpers as h\n    return h.of_impl(settings)",
}
HEAD = """
from types import SimpleNamespace as Namespace
import helpers
from helpers import (Child, Keeps, Plain, Values, by_a, by_b, dispatched, even, fallen, framed)
from helpers import given, only, same

KEPT = late = None

def make_late(settings):
    global late
    late = by_b
    return settings.user.A

def of_kept():
    return KEPT.B

def get_dataset_features():
    return {}

def encode_data(instance, settings):
"""
HELPERS = """
import contextlib, dataclasses, functools, inspect, sys

def by_a(s):
    return s.user.A

def by_b(s):
    return s.user.B

def given(x):
    return contextlib.nullcontext(x)

def wrapped(f):
    return lambda s: f(s) + s.user.B

@functools.singledispatch
def dispatched(x, s):
    return s.user.A

@dispatched.register
def _(x: str, s):
    return s.user.B

class Values:
    def __init__(self, settings):
        self.a = settings.user.A

    @classmethod
    def of(cls, settings):
        return cls(settings)

class Keeps:
    def __init__(self, settings):
        self.settings = settings

    def b(self):
        return self.settings.user.B

class Child(Values):
    pass

@dataclasses.dataclass
class Plain:
    settings: object

    @property
    def b(self):
        return self.settings.user.B

def only(s, /, **more):
    return more["s"].user.A

def same(s):
    return s

def even(s, n):
    return odd(s, n - 1) if n else s.user.A

def odd(s, n):
    return even(s, n - 1) if n else s.user.B

def late_decorator(fallback):
    def inner(f):
        return lambda s: fallback(s)
    return inner

@late_decorator(fallback=lambda s: s.user.B)
def fallen(s):
    return s.user.A

def odd_init(self, settings):
    self.x = settings.user.B

class Odd:
    def __init__(self, settings):
        self.x = settings.user.A

    __init__ = odd_init

class Set:
    def __init__(self, settings):
        self.x = settings.user.A

Set.__init__ = odd_init

def mended(s):
    return s.user.A

def framed():
    return inspect.currentframe().f_back.f_locals["settings"].user.A

def patched(s):
    return s.user.A

sys.modules[__name__].patched = by_b

def put(s):
    return s.user.A

setattr(sys.modules[__name__], "put", by_b)

if (cased := by_b) is None:
    def cased(s):
        return s.user.A

def tried(s):
    return s.user.A

try:
    from impl_b import tried
except ImportError:
    pass

try:
    import impl_missing as impl
except ImportError:
    import impl_b as impl

def of_impl(s):
    return impl.tried(s)
"""
OTHERS = {
    "helpers.py": HELPERS,
    "impl_b.py": "def tried(s):\n    return s.user.B\n",
    "impl_c.py": "import helpers\nhelpers.mended = helpers.by_b\n",
    "stars.py": "def encode_data(instance, settings):\n    return settings.user.A\n"
    "def wrapped(f):\n    return lambda instance, settings: f(instance) + settings.user.B\n",
    "lib/decos.py": "def wrapped(f):\n    return lambda instance, settings: settings.user.B\n",
}
WHOLE = {
    "by a star import": "from stars import *\n",
    "by a star import, over another": "def encode_data(instance):\n    return 1\n"
    "from stars import *\n",
    "wrapped by a star import's": "from stars import *\n@wrapped\n"
    "def encode_data(instance):\n    return 1\n",
    "wrapped by a folder's": "from lib import decos\n@decos.wrapped\n"
    "def encode_data(instance):\n    return 1\n",
    "made by a class": "class E:\n    def __call__(self, instance, settings):\n"
    "        return settings.user.A\nencode_data = E()\n",
    "assigned over": "def encode_data(instance):\n    return 1\nfrom helpers import by_a\n"
    "encode_data = lambda instance, settings: by_a(settings)\n",
    "with a default of its own": "from helpers import by_a, by_b\n"
    "def encode_data(instance, settings, by_a=by_b):\n    return by_a(settings)\n",
}


@pytest.fixture(autouse=True)
def apart(tmp_path: Path) -> Iterator[None]:
    """Modules of one experiment are not those of the next."""
    before, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(tmp_path)):
            del sys.modules[name]
    sys.modules.pop("lib", None)
    sys.path[:] = path


def missed(folder: Path, text: str) -> set[str]:
    for name, content in {**OTHERS, "functions.py": text}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    found = settings_usage(folder, ("encode_data",))
    functions = load_functions(folder)
    recorder = Recorder()
    settings = SimpleNamespace(user=User(recorder))
    functions.call("encode_data", instance="text", settings=settings)
    assert recorder.read or found.why("user"), "the example reads nothing"
    return {key for key in recorder.read if not found.reads("user", key)}


@pytest.mark.parametrize("name", BODIES)
def test_what_is_read_is_told(name: str, tmp_path: Path) -> None:
    assert missed(tmp_path, f"{HEAD}    {BODIES[name]}\n") == set()


@pytest.mark.parametrize("name", WHOLE)
def test_what_the_function_is_reads_is_told(name: str, tmp_path: Path) -> None:
    text = f"{WHOLE[name]}\ndef get_dataset_features():\n    return {{}}\n"
    assert missed(tmp_path, text) == set()


def test_chains_and_nests_come_to_an_end(tmp_path: Path) -> None:
    chain = "".join(f"def f{n}(s):\n    return f{n + 1}(s)\n" for n in range(400))
    (tmp_path / "functions.py").write_text(
        f"{chain}def f400(s):\n    return s.user.A\n"
        "def encode_data(instance, settings):\n    return f0(settings)\n"
    )
    assert settings_usage(tmp_path, ("encode_data",)).reads("user", "A")
    nested = "lambda: " * 40 + "settings.user.A"
    calls = "same(" * 60 + "settings" + ")" * 60
    (tmp_path / "functions.py").write_text(
        "def same(s):\n    return s\n"
        f"def encode_data(instance, settings):\n    return {nested}, {calls}.user.B\n"
    )
    found = settings_usage(tmp_path, ("encode_data",))
    assert found.keys == {("user", "A"), ("user", "B")}
    assert EVERYTHING not in found.whole
