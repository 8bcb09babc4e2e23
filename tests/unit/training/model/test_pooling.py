"""Pooling: what checkpoints say of it, what becomes of the states, and the model that pools."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, BertConfig, BertModel, PreTrainedTokenizerFast

from handful.errors import UserError
from handful.training.cpu.micro_batches import is_known
from handful.training.model.final import save_final
from handful.training.model.pooled import HEAD, PooledClassifier, class_name, reopen_pooled
from handful.training.model.pooling import Pooling, read_checkpoint_pooling
from handful.training.model.pretrained import load_pretrained
from handful.training.model.weight_views import part_storage
from tests.support.architectures import TEXT, tiny_config
from tests.support.encoded import tiny_bert

LABEL2ID = {"a": 0, "b": 1, "c": 2}
RECORD = {
    "experiment": "EXP-1",
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
MODES = ("cls", "mean", "max", "last", "weighted_mean", "mean_root_length")
MASKS = {
    "right": [[1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 0]],
    "left": [[0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 1]],
}


def by_loops(mode: str, rows: np.ndarray) -> np.ndarray:
    """The pooling of one document's own states [l, H]."""
    if mode == "cls":
        return rows[0]
    if mode == "last":
        return rows[-1]
    if mode == "max":
        return rows.max(axis=0)
    if mode == "weighted_mean":
        weights = [float(place + 1) for place in range(len(rows))]
        weighted = [weight * row for weight, row in zip(weights, rows, strict=True)]
        return np.sum(weighted, axis=0) / sum(weights)
    total = np.sum(rows, axis=0)
    return total / (len(rows) if mode == "mean" else len(rows) ** 0.5)


@pytest.mark.parametrize("side", MASKS)
@pytest.mark.parametrize("mode", MODES)
def test_padding_is_not_pooled(mode: str, side: str) -> None:
    states = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)) - 3  # max: no zero
    mask = torch.tensor(MASKS[side])
    found = Pooling((mode,)).of(states, mask).numpy()
    for row in range(3):
        own = states[row][mask[row] == 1].numpy()
        np.testing.assert_allclose(found[row], by_loops(mode, own), rtol=1e-5)


def test_several_stand_side_by_side_and_a_normalized_one_is_of_the_usual_size() -> None:
    states = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(1))
    found = Pooling(("mean", "max"), normalize=True).of(states, None)
    assert found.shape == (2, 16)
    assert torch.allclose(found.square().mean(dim=1), torch.ones(2))
    plain = Pooling(("mean", "max")).of(states, None)
    assert torch.allclose(torch.nn.functional.cosine_similarity(found, plain), torch.ones(2))


def told(folder: Path, pooling: dict[str, Any] | None, *more: str) -> Path:
    """The files of sentence-transformers, beside a model."""
    steps = [("Transformer", ""), *([("Pooling", "1_Pooling")] if pooling is not None else [])]
    steps += [(kind, f"{number}_{kind}") for number, kind in enumerate(more, start=2)]
    modules = [{"type": f"sentence_transformers.models.{k}", "path": path} for k, path in steps]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "modules.json").write_text(json.dumps(modules))
    if pooling is not None:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


OLD = {f"pooling_mode_{name}": False for name in ("cls_token", "mean_tokens", "max_tokens")}


@pytest.mark.parametrize(
    ("config", "modes"),
    [
        ({**OLD, "pooling_mode_mean_tokens": True}, ("mean",)),
        ({**OLD, "pooling_mode_cls_token": True}, ("cls",)),
        ({**OLD, "pooling_mode_max_tokens": True}, ("max",)),
        ({**OLD, "pooling_mode_lasttoken": True}, ("last",)),
        ({**OLD, "pooling_mode_weightedmean_tokens": True}, ("weighted_mean",)),
        ({**OLD, "pooling_mode_mean_sqrt_len_tokens": True}, ("mean_root_length",)),
        (
            {**OLD, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
            ("cls", "mean"),
        ),
        (OLD, ("mean",)),
        ({"pooling_mode": "lasttoken", "embedding_dimension": 8}, ("last",)),
        ({"pooling_mode": ["max", "mean"]}, ("max", "mean")),
    ],
)
def test_what_a_checkpoint_says(tmp_path: Path, config: dict[str, Any], modes: Any) -> None:
    assert read_checkpoint_pooling(str(told(tmp_path / "m", config))) == Pooling(modes)
    normalized = read_checkpoint_pooling(str(told(tmp_path / "n", config, "Dense", "Normalize")))
    assert normalized == Pooling(modes, normalize=True)
    assert Pooling.from_json(normalized.to_json()) == normalized


def test_a_checkpoint_that_says_nothing(tmp_path: Path) -> None:
    assert read_checkpoint_pooling(str(tmp_path)) is None
    assert read_checkpoint_pooling(str(told(tmp_path / "m", None))) is None


@pytest.mark.parametrize("text", ["{", '[{"type": "Pooling"}]', '["Pooling"]'])
def test_what_cannot_be_read_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "modules.json").write_text(text)
    with pytest.raises(UserError, match=r"modules\.json|pooling"):
        read_checkpoint_pooling(str(tmp_path))


def test_a_pooling_that_nobody_knows_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="attention_heads"):
        read_checkpoint_pooling(str(told(tmp_path / "m", {"pooling_mode": "attention_heads"})))


def test_auto_takes_what_the_checkpoint_says_and_else_the_class(tmp_path: Path) -> None:
    tiny_bert(tmp_path / "m")
    assert load_pretrained(str(tmp_path / "m"), LABEL2ID, "auto").pooling is None
    told(tmp_path / "m", {"pooling_mode": "mean"}, "Normalize")
    found = load_pretrained(str(tmp_path / "m"), LABEL2ID, "auto")
    assert found.pooling == Pooling(("mean",), normalize=True)
    assert found.fresh == (f"{HEAD}.bias", f"{HEAD}.weight")
    assert is_known(found.model)
    assert load_pretrained(str(tmp_path / "m"), LABEL2ID, "model").pooling is None
    assert load_pretrained(str(tmp_path / "m"), LABEL2ID, "max").pooling == Pooling(("max",))


def test_the_head_is_computed_in_full_precision(tmp_path: Path) -> None:
    """Else a probe would answer otherwise under bf16 than it was fitted."""
    tiny_bert(tmp_path / "m")
    model = load_pretrained(str(tmp_path / "m"), LABEL2ID, "mean").model.eval()
    assert isinstance(model, PooledClassifier)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        logits = model(**batch()).logits
        states = model.encoder(
            input_ids=batch()["input_ids"], attention_mask=batch()["attention_mask"]
        ).last_hidden_state
    vectors = model.pooling.of(states, batch()["attention_mask"])
    with torch.inference_mode():
        assert torch.equal(logits, model.label_head(vectors))
    assert logits.dtype == torch.float32


def test_a_class_that_has_the_pooling_does_it_itself(tmp_path: Path) -> None:
    from transformers import ModernBertForSequenceClassification

    config = tiny_config("modernbert")
    config.classifier_pooling = "cls"
    ModernBertForSequenceClassification(config).save_pretrained(tmp_path / "m")
    found = load_pretrained(str(tmp_path / "m"), LABEL2ID, "mean")
    assert found.pooling is None
    assert found.model.config.classifier_pooling == "mean"
    gpt = tiny_config("gpt2")
    AutoModel.from_config(gpt).save_pretrained(tmp_path / "g")
    assert load_pretrained(str(tmp_path / "g"), LABEL2ID, "last").pooling is None
    assert load_pretrained(str(tmp_path / "g"), LABEL2ID, "mean").pooling == Pooling(("mean",))


def test_images_and_whole_decoders_are_told(tmp_path: Path) -> None:
    from transformers import BartConfig, BartModel, ViTConfig, ViTModel

    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ViTModel(ViTConfig(**small, intermediate_size=32, image_size=32)).save_pretrained(
        tmp_path / "v"
    )
    with pytest.raises(UserError, match="images"):
        load_pretrained(str(tmp_path / "v"), LABEL2ID, "mean")
    assert load_pretrained(str(tmp_path / "v"), LABEL2ID, "auto").pooling is None
    bart = BartConfig(
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        vocab_size=64,
    )
    BartModel(bart).save_pretrained(tmp_path / "b")
    with pytest.raises(UserError, match="encoder and decoder"):
        load_pretrained(str(tmp_path / "b"), LABEL2ID, "mean")


def encoders() -> Iterator[str]:
    """Of every architecture that has a classifier of texts; those without an encoder are told."""
    yield from ("bert", "roberta", "distilbert", "deberta_v2", "electra", "mpnet", "albert")
    yield from ("modernbert", "t5", "xlm-roberta", "gpt2", "llama", "qwen2", "nomic_bert", "fnet")


def batch() -> dict[str, torch.Tensor]:
    ids = torch.randint(3, 60, (3, 9), generator=torch.Generator().manual_seed(2))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([0, 1, 2])}


@pytest.mark.parametrize("kind", [kind for kind in encoders() if kind in TEXT])
def test_every_kind_of_encoder_is_pooled_trained_and_opened_again(
    tmp_path: Path, kind: str
) -> None:
    torch.manual_seed(0)
    AutoModel.from_config(tiny_config(kind)).save_pretrained(tmp_path / "m")
    wanted = {"modernbert": "max", "gpt2": "mean"}.get(kind, "mean")
    found = load_pretrained(str(tmp_path / "m"), LABEL2ID, wanted)
    model = found.model
    assert isinstance(model, PooledClassifier)
    part_storage(model)
    assert model.config.label2id == LABEL2ID
    model.train()
    model(**batch()).loss.backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    model.eval()
    with torch.inference_mode():
        logits = model(**batch()).logits
    full = save_final(tmp_path / "final", model, None, RECORD)
    again = reopen_pooled(tmp_path / "final", full["pooling"], len(LABEL2ID))
    from safetensors.torch import load_model

    load_model(again, str(tmp_path / "final" / "model.safetensors"), strict=True)
    with torch.inference_mode():
        assert torch.equal(again.eval()(**batch()).logits, logits)
    # The encoder alone, as Transformers opens it.
    theirs = type(model.encoder).from_pretrained(tmp_path / "final")
    mine = model.encoder.state_dict()
    assert all(torch.equal(mine[n], t) for n, t in theirs.state_dict().items() if n in mine)
    assert mine.keys() <= theirs.state_dict().keys()


def tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {f"w{number}": number for number in range(60)}
    raw = Tokenizer(models.WordLevel(words, unk_token="w1"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    found = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="w0", unk_token="w1")
    found.save_pretrained(folder)
    return found


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("modes", [*((mode,) for mode in MODES), ("cls", "mean")])
def test_the_cards_lines_give_the_same_logits_without_handful(
    tmp_path: Path, modes: tuple[str, ...], normalize: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_bert(tmp_path / "m")
    names = {"weighted_mean": "weightedmean", "mean_root_length": "mean_sqrt_len_tokens"}
    named = [{"last": "lasttoken"}.get(mode, names.get(mode, mode)) for mode in modes]
    told(tmp_path / "m", {"pooling_mode": named}, *(["Normalize"] if normalize else []))
    model = load_pretrained(str(tmp_path / "m"), LABEL2ID, "auto").model.eval()
    own = tokenizer(tmp_path / "m")
    save_final(tmp_path / "final", model, own, RECORD)
    card = (tmp_path / "final" / "README.md").read_text()
    code = card.partition("```python\n")[2].partition("```")[0].replace("a text", "w5 w6 w7")
    monkeypatch.chdir(tmp_path / "final")
    names_of: dict[str, Any] = {}
    exec(code, names_of)
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        expected = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    assert torch.allclose(names_of["logits"], expected, atol=1e-5)
    assert names_of["labels"] == [list(LABEL2ID)[int(expected.argmax())]]


def test_no_class_of_transformers_takes_the_head_for_its_own(tmp_path: Path) -> None:
    """`AutoModelForSequenceClassification` would answer wrongly without a word."""
    from transformers import AutoModelForSequenceClassification

    BertModel(
        BertConfig(
            **AutoConfig.for_model(
                "bert",
                hidden_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=32,
                vocab_size=64,
            ).to_dict()
        )
    ).save_pretrained(tmp_path / "m")
    model = load_pretrained(str(tmp_path / "m"), LABEL2ID, "mean").model
    save_final(tmp_path / "final", model, None, RECORD)
    _, report = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "final", output_loading_info=True
    )
    assert "classifier.weight" in report["missing_keys"]
    assert f"{HEAD}.weight" in report["unexpected_keys"]


def test_stores_know_the_class_of_a_model_by_the_name_that_it_always_had(tmp_path: Path) -> None:
    """Kept features, probes and activations are found by it; of others' classes it is their own."""
    tiny_bert(tmp_path / "m")
    pooled = load_pretrained(str(tmp_path / "m"), LABEL2ID, "mean").model
    assert isinstance(pooled, PooledClassifier)
    assert class_name(pooled) == "handful.training.pooled.BertModelPooled"
    assert class_name(pooled.encoder) == "transformers.models.bert.modeling_bert.BertModel"
    assert class_name(torch.nn.Linear(1, 1)) == "torch.nn.modules.linear.Linear"
