"""Models: where they come from, what they have to take and return, and how they come back."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from handful.errors import StepError, UserError
from handful.experiment.context import Experiment
from handful.training.model.capabilities import check_features, check_output
from handful.training.model.final import Opened, open_final, save_final
from handful.training.model.load import (
    ModelSource,
    build_model,
    find_model,
    load_tokenizer,
    pad_values,
)
from handful.training.model.pretrained import load_pretrained
from handful.user_functions.load import Functions, load_functions
from tests.support.encoded import Encoded, make
from tests.support.progress import Recording

LABEL2ID = {"invoice": 0, "letter": 1, "report": 2}
RECORD = {
    "experiment": "EXP | `x`",
    "model": "m",
    "seed": 0,
    "label2id": LABEL2ID,
    "rows": {"train": 1},
    "data_hash": "0" * 64,
    "best_epoch": 1.0,
    "best_step": 3,
    "epochs": 2.0,
    "steps": 6,
    "metrics": {"macro_f1": 0.5},
    "settings": {"[train] EPOCHS": "2"},
    "environment": {"threads": 1},
    "versions": {"torch": "2"},
}

PLAIN: Any = SimpleNamespace(has=lambda _: False)
"""Functions without a load_model."""
OWN: Any = SimpleNamespace(has=lambda name: name == "load_model")


@pytest.fixture
def one(tmp_path: Path) -> Encoded:
    return make(tmp_path / "EXP-1", rows={})


def test_the_default_model_bears_the_labels(one: Encoded) -> None:
    model = load_pretrained(str(one.directory / "model"), LABEL2ID).model
    assert model.config.id2label == {0: "invoice", 1: "letter", 2: "report"}
    assert model.config.label2id == LABEL2ID
    assert model.classifier.out_features == 3  # the saved head had two


def test_a_hub_out_of_reach_is_told_with_the_ways_out(monkeypatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="nobody/nothing cannot be loaded") as caught:
        load_pretrained("nobody/nothing", LABEL2ID)
    for way in ("local directory", "s3://", "HF_HOME", "HF_TOKEN"):
        assert way in str(caught.value)
    assert caught.value.exit_status == 2


def test_a_directory_without_a_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be loaded"):
        load_pretrained(str(tmp_path), LABEL2ID)


def test_a_local_directory_that_is_not_there(one: Encoded, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such directory"):
        find_model(one.open(tmp_path / "s").settings, tmp_path, str(tmp_path / "nowhere"))


def test_a_hub_name_is_left_as_it_is(one: Encoded, tmp_path: Path) -> None:
    source = find_model(one.open(tmp_path / "s").settings, tmp_path, "org/name")
    assert (source.name, source.is_local) == ("org/name", False)


def built(experiment: Experiment, functions: Functions, source: ModelSource) -> torch.nn.Module:
    return build_model(functions, source, LABEL2ID, experiment.settings, experiment.progress)


def reopened(experiment: Experiment, functions: Functions, final: Path, weights: str) -> Opened:
    settings, progress = experiment.settings, experiment.progress
    return open_final(functions, ModelSource("m", "m"), final, weights, settings, progress)


class Own(torch.nn.Module):
    """A model of the user's own, of no library."""

    def __init__(self, labels: int = 3, ids: int = 60) -> None:
        super().__init__()
        self.inside, self.head = torch.nn.Embedding(ids, 8), torch.nn.Linear(8, labels)

    def forward(self, input_ids: Any, labels: Any = None) -> Any:
        logits = self.head(self.inside(input_ids).mean(dim=1))
        loss = torch.nn.functional.cross_entropy(logits, labels) if labels is not None else None
        return SimpleNamespace(loss=loss, logits=logits)


def test_a_feature_that_forward_does_not_take_is_named(one: Encoded) -> None:
    with pytest.raises(UserError, match=r"'bbox'.*\n.*it takes input_ids, labels"):
        check_features(Own(), ("input_ids", "bbox", "labels"))
    check_features(Own(), ("input_ids", "labels"))
    bert = load_pretrained(str(one.directory / "model"), LABEL2ID).model
    check_features(bert, ("input_ids", "attention_mask", "labels"))
    # forward of transformers takes any keyword, and would pass over this one in silence.
    with pytest.raises(UserError, match=r"'bbox'.*\n.*it takes input_ids, attention_mask"):
        check_features(bert, ("input_ids", "bbox", "labels"))


def test_labels_are_wanted() -> None:
    with pytest.raises(UserError, match="no 'labels'"):
        check_features(Own(), ("input_ids",))


BATCH = {"labels": torch.tensor([0, 1])}


@pytest.mark.parametrize(
    ("output", "says"),
    [
        (SimpleNamespace(loss=torch.tensor(1.0), logits=torch.zeros(2, 5)), r"shape \[2, 5\]"),
        (SimpleNamespace(loss=torch.tensor(1.0), logits=torch.zeros(3)), r"shape \[3\]"),
        (SimpleNamespace(loss=None, logits=torch.zeros(2, 3)), "no loss"),
        (SimpleNamespace(loss=torch.tensor(1.0)), "without .logits"),
        ((torch.tensor(1.0), torch.zeros(2, 3)), "tuple without .logits"),
    ],
)
def test_what_forward_returns_is_checked(output: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        check_output(output, BATCH, labels=3)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return 'bert'", "returned str, not a torch.nn.Module"),
        ("raise RuntimeError('no luck')", r"functions.py:\d+ in load_model: RuntimeError: no luck"),
    ],
)
def test_faults_of_load_model_have_their_place(
    one: Encoded, tmp_path: Path, body: str, says: str
) -> None:
    one.functions(f"\ndef load_model(model_name):\n    {body}\n")
    experiment = one.open(tmp_path / "s")
    with pytest.raises(UserError, match=says):
        built(experiment, load_functions(one.directory), ModelSource("m", "m"))


def test_load_model_sees_the_overrides_of_its_model(one: Encoded, tmp_path: Path) -> None:
    one.settings(extra="[train:./model]\nEPOCHS = 9\n[user]\nPOOLING = mean\n")
    one.functions(
        "\ndef load_model(model_name, label2id, id2label, settings):\n"
        "    raise ValueError(f'{settings.train.EPOCHS} {settings.user.POOLING} {id2label}')\n"
    )
    experiment = one.open(tmp_path / "s")
    (model,) = experiment.settings.train.MODEL_NAMES
    source = find_model(experiment.settings, tmp_path, model)
    with pytest.raises(UserError, match=r"9.0 mean \{0: 'invoice', 1: 'letter', 2: 'report'\}"):
        built(experiment, load_functions(one.directory), source)


def test_the_padding_token_is_the_models_then_the_tokenizers() -> None:
    model = Own()
    assert pad_values(model, None) == {"input_ids": 0}
    assert pad_values(model, SimpleNamespace(pad_token_id=7)) == {"input_ids": 7}
    model.config = SimpleNamespace(pad_token_id=3)  # type: ignore[assignment]
    assert pad_values(model, SimpleNamespace(pad_token_id=7)) == {"input_ids": 3}
    segments = SimpleNamespace(pad_token_id=7, pad_token_type_id=3)
    assert pad_values(model, segments) == {"input_ids": 3, "token_type_ids": 3}


def test_no_tokenizer_asks_whether_its_code_may_be_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", asked.append)
    own = {"AutoConfig": "own.OwnConfig", "AutoTokenizer": ["own.OwnTokenizer", None]}
    for name, more in (("config", {"model_type": "of_nobody"}), ("tokenizer_config", {})):
        (tmp_path / f"{name}.json").write_text(json.dumps({"auto_map": own, **more}))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    told = Recording()
    assert load_tokenizer(ModelSource("m", str(tmp_path)), PLAIN, told) is None
    assert "wants code of its own" in told.warnings[0]
    assert not asked
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "functions", "cached", "asked"),
    [
        ("my-cnn", OWN, False, False),
        ("acme/my-cnn", OWN, False, False),
        ("a name of mine", OWN, False, False),
        ("-.-", OWN, False, False),
        ("bert-base-uncased", OWN, True, True),
        ("org/model", OWN, True, True),
        ("bert-base-uncased", PLAIN, False, True),
        ("org/model", PLAIN, False, True),
    ],
)
def test_the_hub_is_asked_only_for_what_is_the_hubs(
    name: str,
    functions: Any,
    cached: bool,
    asked: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where load_model has fetched something by that name, it is; so it is without a load_model."""
    import transformers
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    if cached:
        (tmp_path / f"models--{name.replace('/', '--')}" / "blobs").mkdir(parents=True)
    names: list[str] = []

    def from_pretrained(asked_for: str, **_: Any) -> str:
        names.append(asked_for)
        return "a tokenizer"

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", from_pretrained)
    told = Recording()
    found = load_tokenizer(ModelSource(name, name), functions, told)
    assert (found, names) == (("a tokenizer", [name]) if asked else (None, []))
    assert not told.warnings


def test_a_tokenizer_that_cannot_be_loaded_is_told_and_does_not_stop(tmp_path: Path) -> None:
    told = Recording()
    assert load_tokenizer(ModelSource("m", str(tmp_path)), PLAIN, told) is None
    assert not told.warnings  # a model without a tokenizer is nothing to warn about
    (tmp_path / "tokenizer.json").write_text("{")
    assert load_tokenizer(ModelSource("m", str(tmp_path)), PLAIN, told) is None
    assert "its tokenizer cannot be loaded" in told.warnings[0]


def test_the_final_model_opens_without_handful(one: Encoded, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    model = load_pretrained(str(one.directory / "model"), LABEL2ID).model.eval()
    final = tmp_path / "final"
    record = save_final(final, model, None, RECORD)
    again = AutoModelForSequenceClassification.from_pretrained(final).eval()
    assert again.config.id2label == {0: "invoice", 1: "letter", 2: "report"}
    ids = torch.arange(1, 9).reshape(2, 4)
    assert torch.equal(model(input_ids=ids).logits, again(input_ids=ids).logits)
    assert record["weights"] == {"model.safetensors": record["weights_hash"]}
    card = (final / "README.md").read_text()
    assert r"EXP \| \`x\`" in card
    assert "macro\\_f1 | 0.5000" in card


OWN_MODEL = """
import sys
sys.path.insert(0, {folder!r})
import torch

def load_model(label2id):
    from test_training_model_parts import Own
    return Own({labels})
"""


def own_final(one: Encoded, tmp_path: Path, labels: str = "len(label2id)") -> Any:
    (tmp_path / "test_training_model_parts.py").write_text(Path(__file__).read_text())
    one.functions(OWN_MODEL.format(folder=str(tmp_path), labels=labels))
    experiment = one.open(tmp_path / "s")
    model = Own()
    record = save_final(tmp_path / "final", model, None, RECORD)
    return experiment, model, record


def test_a_module_of_the_users_comes_back_through_load_model(one: Encoded, tmp_path: Path) -> None:
    experiment, model, record = own_final(one, tmp_path)
    functions = load_functions(one.directory)
    opened = reopened(experiment, functions, tmp_path / "final", record["weights_hash"])
    saved = model.state_dict()
    assert opened.model is not model
    assert all(torch.equal(saved[name], value) for name, value in opened.model.state_dict().items())
    assert set(load_file(tmp_path / "final" / "model.safetensors")) == set(saved)


def test_a_load_model_that_changed_is_found_out(one: Encoded, tmp_path: Path) -> None:
    experiment, _, record = own_final(one, tmp_path, labels="7")
    functions = load_functions(one.directory)
    with pytest.raises(UserError, match="builds another model than was trained"):
        reopened(experiment, functions, tmp_path / "final", record["weights_hash"])


def test_other_weights_than_those_that_were_trained(one: Encoded, tmp_path: Path) -> None:
    experiment, _, _ = own_final(one, tmp_path)
    functions = load_functions(one.directory)
    with pytest.raises(StepError, match="not those that were trained"):
        reopened(experiment, functions, tmp_path / "final", "0" * 64)
