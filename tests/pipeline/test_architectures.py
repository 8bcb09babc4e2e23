"""Every architecture of texts and images, whole, beside plain Transformers; a dozen always.

What is seen has to be what docs/models.json says, and docs/models.md shows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.architecture_facts import KINDS, NOT_BUILT, ONNX, facts, onnx
from tests.support.architectures import TEXT
from tests.support.cuts import cheap_cut
from tests.support.image_architectures import IMAGES
from tests.support.models_page import page

DOCS = Path(__file__).parents[2] / "docs"
KNOWN = json.loads((DOCS / "models.json").read_text())
ALWAYS = {
    "text": "bert deberta-v2 gpt2 modernbert t5",
    "images": "resnet vit",
}


def chosen(group: str) -> Sequence[Any]:
    always = ALWAYS[group].split()
    assert set(always) <= set(KINDS[group])
    return cheap_cut(KINDS[group], always)


def said(group: str, kind: str) -> dict[str, Any]:
    return {name: value for name, value in KNOWN[group][kind].items() if name != "onnx"}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", chosen("text"))
def test_of_texts(kind: str, tmp_path: Path) -> None:
    assert facts(kind, tmp_path) == said("text", kind)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", chosen("images"))
def test_of_images(kind: str, tmp_path: Path) -> None:
    assert facts(kind, tmp_path, images=True) == said("images", kind)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", ONNX)
def test_export(kind: str, tmp_path: Path) -> None:
    assert onnx(kind, tmp_path) is KNOWN["text"][kind]["onnx"]


def test_all_that_transformers_has_are_tried_or_named() -> None:
    """A newer release may bring more: `python -m tests.support.architecture_facts` tries them."""
    assert KNOWN["not_tried"] == NOT_BUILT
    for group, everything in (("text", TEXT), ("images", IMAGES)):
        assert set(KNOWN[group]) == set(KINDS[group])
        assert set(everything) <= {*KNOWN[group], *NOT_BUILT[group]}


def test_the_page_shows_what_is_known() -> None:
    assert page(KNOWN) == (DOCS / "models.md").read_text(), (
        "run `python -m tests.support.models_page`"
    )
