"""The small frozen values that settings are made of. All of them can be pickled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class FrozenMap(Mapping[str, T], Generic[T]):
    """A mapping that cannot be changed, can be hashed, and can be sent to another process."""

    __slots__ = ("_items",)
    _items: dict[str, T]

    def __init__(self, items: Mapping[str, T] | None = None) -> None:
        object.__setattr__(self, "_items", dict(items or {}))

    def __getitem__(self, key: str) -> T:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("settings cannot be changed")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self._items),)

    def __repr__(self) -> str:
        return repr(self._items)


class Steps(int):
    """So many steps of the optimizer, where a duration could have stood."""

    def __str__(self) -> str:
        return f"{int(self)} steps"


@dataclass(frozen=True)
class Limit:
    """How many may go wrong: a share of all (written with `%`) or a count."""

    value: float
    """0.01 for `1%`; 5 for `5`."""
    is_share: bool

    def allows(self, count: int, total: int) -> bool:
        """Are `count` of `total` still within the limit?"""
        # 29 of 100 are within 29%, although 0.29 * 100 is a little less than 29 in floats.
        return count <= (self.value * total + 1e-9 if self.is_share else self.value)

    def __str__(self) -> str:
        return f"{self.value * 100:.12g}%" if self.is_share else f"{self.value:.12g}"


@dataclass(frozen=True)
class Range:
    """One line of `[tune]`: the values among which a trial may choose."""

    key: str
    """A key of `[train]`, or `user.KEY`."""
    kind: str
    """log | float | int | choice"""
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()
    """For `choice`: the values, each read as the key itself would be."""

    def __str__(self) -> str:
        if self.kind == "choice":
            return f"choice {' '.join(str(choice) for choice in self.choices)}"
        return f"{self.kind} {self.low:.12g} {self.high:.12g}"


@dataclass(frozen=True)
class User:
    """`[user]`: the experiment's own keys, as attributes and in `values`."""

    values: Mapping[str, int | float | bool | str] = field(default_factory=FrozenMap, repr=False)
    """Not in the repr: somebody may keep a token there."""

    def __getattr__(self, name: str) -> int | float | bool | str:
        # Only reached for what is no field. While a copy is being unpickled there is no `values`
        # yet, and Python asks for its own dunder names: neither may recurse.
        if name.startswith("_") or name == "values":
            raise AttributeError(name)
        if name in self.values:
            return self.values[name]
        import difflib  # only an error needs it

        near = difflib.get_close_matches(name, list(self.values), n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; add `{name} = ...` to settings.ini"
        raise AttributeError(f"[user] has no key {name}{hint}")
