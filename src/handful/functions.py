"""The five functions of an experiment, under the name by which others import them."""

from __future__ import annotations

from handful.user_functions.load import (
    FILE,
    MENUS,
    Encoded,
    Functions,
    Menu,
    batched,
    load_functions,
    missing_file,
)

__all__ = [
    "FILE",
    "MENUS",
    "Encoded",
    "Functions",
    "Menu",
    "batched",
    "load_functions",
    "missing_file",
]
