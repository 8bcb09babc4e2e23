"""`try_steps`: what `handful check` does with a model before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import Features, List, Value

from handful.errors import SettingsError, UserError
from handful.training.check import CheckResult, try_steps
from handful.user_functions.load import load_functions
from tests.support.encoded import Encoded, examples, make
from tests.support.progress import Recording

FEATURES = Features(
    {
        "input_ids": List(Value("int32")),
        "attention_mask": List(Value("int8")),
        "labels": Value("int64"),
    }
)


@pytest.fixture
def one(tmp_path: Path) -> Encoded:
    return make(tmp_path / "EXP-1", rows={})


def tried(one: Encoded, scratch: Path, features: Features = FEATURES, **more: Any) -> CheckResult:
    experiment = one.open(scratch)
    rows = [{**row, **more} for row in examples("train", 3)]
    return try_steps(
        experiment,
        experiment.settings.train.MODEL_NAMES[0],
        load_functions(one.directory),
        features,
        rows,
        one.prepared.label2id,
    )


def test_two_steps_and_their_metrics(one: Encoded, tmp_path: Path) -> None:
    result = tried(one, tmp_path / "s")
    assert len(result.losses) == 2
    assert result.losses[1] < result.losses[0] < 2
    assert 0 <= result.metrics["macro_f1"] <= 1
    assert result.parameters > 20_000
    assert 0 < result.seconds_per_step < 60
    assert (result.model, result.precision, result.device) == ("model", "fp32", "cpu")
    assert not one.store.joinpath("results").exists()


def test_a_second_precision_in_the_same_process(one: Encoded, tmp_path: Path) -> None:
    tried(one, tmp_path / "s")
    one.settings(PRECISION="bf16")
    assert tried(one, tmp_path / "t").precision == "bf16"


def test_rows_without_ids_will_do(one: Encoded, tmp_path: Path) -> None:
    experiment = one.open(tmp_path / "s")
    rows = [{name: row[name] for name in FEATURES} for row in examples("train", 3)]
    (model,) = experiment.settings.train.MODEL_NAMES
    functions = load_functions(one.directory)
    result = try_steps(experiment, model, functions, FEATURES, rows, one.prepared.label2id)
    assert len(result.losses) == 2


def test_a_feature_too_many(one: Encoded, tmp_path: Path) -> None:
    features = Features({**FEATURES, "colour": Value("int64")})
    with pytest.raises(UserError, match="does not take 'colour'"):
        tried(one, tmp_path / "s", features, colour=3)


def test_a_metric_that_is_not_there(one: Encoded, tmp_path: Path) -> None:
    one.settings(METRIC="macro_f2")
    with pytest.raises(SettingsError, match="no 'macro_f2'"):
        tried(one, tmp_path / "s")


@pytest.mark.parametrize("metric", ["log_loss", "roc_auc", "loss", "brier", "f1.letter"])
def test_a_metric_that_is_a_figure_of_the_report(metric: str, one: Encoded, tmp_path: Path) -> None:
    """Of three rows some are not defined, which is no fault of anybody."""
    one.settings(METRIC=metric)
    assert metric in tried(one, tmp_path / "s").metrics


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("", "ignore_mismatched_sizes=True to from_pretrained"),
        (", ignore_mismatched_sizes=True", r"shape \[2, 4\].*there are 3 labels"),
    ],
)
def test_a_model_with_another_number_of_labels(
    one: Encoded, tmp_path: Path, more: str, says: str
) -> None:
    one.functions(
        "\ndef load_model(model_name):\n"
        "    from transformers import AutoModelForSequenceClassification as Auto\n"
        f"    return Auto.from_pretrained(model_name, num_labels=4{more})\n"
    )
    with pytest.raises(UserError, match=says):
        tried(one, tmp_path / "s")


MEAN = """
import torch
from transformers.modeling_outputs import SequenceClassifierOutput


class Mean(torch.nn.Module):
    def __init__(self, labels):
        super().__init__()
        self.words, self.head = torch.nn.Embedding(60, 8), torch.nn.Linear(8, labels)
        self.norm = {norm}

    def forward(self, input_ids, attention_mask, labels=None):
        shown = {shown}
        logits = self.head(self.norm((self.words(input_ids) * shown).sum(1) / shown.sum(1)))
        loss = torch.nn.functional.cross_entropy(logits, labels{how})
        return SequenceClassifierOutput(loss=loss, logits=logits)


def load_model(label2id):
    return Mean(len(label2id))
"""
MASKED = "attention_mask.unsqueeze(-1).float()"
ALL = "torch.ones_like(attention_mask).unsqueeze(-1).float()"


def mean(shown: str = MASKED, norm: str = "torch.nn.Identity()", how: str = "") -> str:
    return MEAN.format(shown=shown, norm=norm, how=how)


def tried_rows(one: Encoded, scratch: Path, lengths: tuple[int, ...]) -> Recording:
    told = Recording()
    experiment = one.open(scratch, told)
    rows = [
        {
            "artifact_id": f"d{number}",
            "input_ids": [7] * length,
            "attention_mask": [1] * length,
            "labels": number % 2,
            "length": length,
        }
        for number, length in enumerate(lengths)
    ]
    (model,) = experiment.settings.train.MODEL_NAMES
    functions = load_functions(one.directory)
    try_steps(experiment, model, functions, FEATURES, rows, one.prepared.label2id)
    return told


@pytest.mark.parametrize(("shown", "warned"), [(MASKED, False), (ALL, True)])
def test_a_forward_that_reads_padding_is_told(
    one: Encoded, tmp_path: Path, shown: str, warned: bool
) -> None:
    one.functions(mean(shown))
    told = tried_rows(one, tmp_path / "s", (12, 3, 9))
    assert any("reads padding" in line for line in told.warnings) == warned


def test_a_document_beyond_the_positions_is_named(one: Encoded, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"longer than the 64 positions .*d1 \(65 tokens, tried\)"):
        tried_rows(one, tmp_path / "s", (12, 65, 9))


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (
            {"shown": "attention_mask[:, :, None] + torch.zeros(5 if self.training else 1, 1)"},
            r"functions.py:\d+ in forward",
        ),
        (
            {"how": ", reduction='none')[:, None].expand(-1, 1 + self.training"},
            r"loss of shape \[3, 2\]",
        ),
    ],
)
def test_what_only_the_training_does_is_told(
    one: Encoded, tmp_path: Path, module: dict[str, str], says: str
) -> None:
    one.functions(mean(**module))
    with pytest.raises(UserError, match=says):
        tried_rows(one, tmp_path / "s", (4, 4, 4))


def test_one_example_is_enough_for_batch_norm(one: Encoded, tmp_path: Path) -> None:
    one.functions(mean(norm="torch.nn.BatchNorm1d(8)"))
    tried_rows(one, tmp_path / "s", (5,))
