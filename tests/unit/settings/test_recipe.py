"""What `auto` stands for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from torch import nn

from handful.settings.recipe import Facts, Recipe, by_data, recipe_of
from handful.training.model.load import facts_of

MINILM, BASE, LARGE = 10_600_000, 85_000_000, 300_000_000


@dataclass(frozen=True)
class Section:
    EPOCHS: float | None = None
    BATCH_SIZE: int | None = None
    LEARNING_RATE: float | None = None


def test_the_rule_never_trains_more_documents_for_fewer_steps() -> None:
    steps = []
    for documents in (8, 50, 200, 800, 1_999, 2_000, 5_000, 20_000, 1_000_000):
        found = by_data(Facts(documents, MINILM))
        assert 3 <= found.epochs <= 12
        steps.append(found.epochs * documents / found.batch_size)
        assert steps[-1] >= 0.8 * max(steps), "but where the batch grows"


def test_the_larger_the_model_the_smaller_its_steps() -> None:
    rates = [by_data(Facts(1000, size)).learning_rate for size in (1, MINILM, BASE, LARGE)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < rates[0]


def test_what_is_written_counts_and_the_rest_is_the_rules() -> None:
    facts = Facts(500, MINILM)
    rule = by_data(facts)
    found = recipe_of(Section(EPOCHS=0.5, LEARNING_RATE=1e-9), facts, 1)
    assert found == Recipe(0.5, rule.batch_size, 1e-9, ("BATCH_SIZE",))
    assert str(found) == f"BATCH_SIZE = {rule.batch_size}"
    whole = recipe_of(Section(EPOCHS=1.0, LEARNING_RATE=1.0, BATCH_SIZE=7), facts, 1)
    assert (whole.by_rule, str(whole)) == ((), "")


@pytest.mark.parametrize("processes", [1, 2, 3, 5, 8, 24, 100])
def test_a_batch_of_the_rules_can_be_shared_evenly(processes: int) -> None:
    found = recipe_of(Section(), Facts(500, MINILM), processes)
    assert found.batch_size % processes == 0


def test_a_training_goes_on_by_what_it_began_with() -> None:
    began = Recipe(9.0, 48, 3e-3, ("EPOCHS",))
    facts = Facts(500, MINILM)
    found = recipe_of(Section(BATCH_SIZE=8), facts, 1, began)
    # Its rate was written out when it began: what auto stands for now is the rule's.
    rate = by_data(facts).learning_rate
    assert found == Recipe(9.0, 8, rate, ("EPOCHS", "LEARNING_RATE"))
    assert Recipe.from_json(replace(began).to_json()) == began


def test_embeddings_and_what_is_frozen_do_not_count() -> None:
    model = nn.Sequential(nn.Embedding(1000, 4), nn.Linear(4, 3), nn.Linear(3, 2))
    model[2].requires_grad_(False)
    assert facts_of(model, 7) == Facts(7, 4 * 3 + 3)
