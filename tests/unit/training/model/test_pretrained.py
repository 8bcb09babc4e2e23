"""What a checkpoint has to give: all of its encoder, in files that are whole, without own code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from handful.errors import StepError, UserError
from handful.training.model.pretrained import in_encoder, load_pretrained, reopen_pretrained
from handful.training.model.weight_files import broken_file

LABEL2ID = {"a": 0, "b": 1, "c": 2}
SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}


def saved(folder: Path, kind: str = "BertModel", **more: Any) -> Path:
    torch.manual_seed(0)
    config = getattr(transformers, kind.removesuffix("Model").split("For")[0] + "Config")
    getattr(transformers, kind)(config(**{**SIZES, **more})).save_pretrained(folder)
    return folder


def renamed(folder: Path, new: Callable[[str], str | None]) -> Path:
    """Give each weight another name, or none."""
    path = folder / "model.safetensors"
    found = {new(name): tensor for name, tensor in load_file(path).items()}
    save_file({name: x for name, x in found.items() if name}, path, {"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("kind", "fresh"),
    [
        ("BertModel", {"classifier.weight", "classifier.bias"}),
        (
            "BertForMaskedLM",
            {"classifier.weight", "classifier.bias", "bert.pooler.dense.weight"}
            | {"bert.pooler.dense.bias"},
        ),
        (
            "RobertaForMaskedLM",
            {
                f"classifier.{part}.{x}"
                for part in ("dense", "out_proj")
                for x in ("weight", "bias")
            },
        ),
        ("BertForSequenceClassification", {"classifier.weight", "classifier.bias"}),
    ],
)
def test_new_is_the_head_and_a_pooler(kind: str, fresh: set[str], tmp_path: Path) -> None:
    found = load_pretrained(str(saved(tmp_path / "m", kind)), LABEL2ID)
    assert set(found.fresh) == fresh
    assert not any(in_encoder(found.model, key) for key in fresh)


@pytest.mark.parametrize(
    ("new", "says"),
    [
        (lambda name: f"my_wrapper.{name}", "my_wrapper.embeddings"),
        (lambda name: f"encoder.{name}" if "layer.1" in name else name, r"bert.encoder.layer.1"),
        (lambda name: None if "layer.0.output.dense" in name else name, r"layer.0.output.dense"),
        (lambda name: None if "word_embeddings" in name else name, "word_embeddings"),
    ],
)
def test_an_encoder_that_would_be_random_is_an_error(
    new: Callable[[str], str | None], says: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=says) as caught:
        load_pretrained(str(renamed(saved(tmp_path / "m"), new)), LABEL2ID)
    assert "weights of the encoder of BertForSequenceClassification" in str(caught.value)
    assert caught.value.exit_status == 2


def clip(folder: Path) -> Path:
    """Saved by one who looks at pictures; its classifier calls the encoder `vision_model`."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 64, "projection_dim": 16}
    config = transformers.CLIPConfig(
        vision_config={**sizes, "image_size": 32, "patch_size": 16},
        text_config={**sizes, "vocab_size": 60, "max_position_embeddings": 16},
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    return folder


def test_of_a_model_of_images_its_classifier_is_loaded(tmp_path: Path) -> None:
    found = load_pretrained(str(clip(tmp_path / "m")), LABEL2ID)
    assert type(found.model) is transformers.CLIPForImageClassification
    assert set(found.fresh) == {"classifier.weight", "classifier.bias"}
    renamed(tmp_path / "m", lambda name: None if "vision_model.post_layernorm" in name else name)
    with pytest.raises(UserError, match=r"vision_model\.post_layernorm\.weight"):
        load_pretrained(str(tmp_path / "m"), LABEL2ID)


def test_an_encoder_of_another_shape_is_an_error(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 70}))
    with pytest.raises(UserError, match=r"bert\.embeddings\.word_embeddings\.weight"):
        load_pretrained(str(folder), LABEL2ID)


@pytest.mark.parametrize("part", ["classifier", "bert.pooler", "bert.encoder.layer.1"])
def test_in_a_final_nothing_may_be_new(part: str, tmp_path: Path) -> None:
    model = load_pretrained(str(saved(tmp_path / "m")), LABEL2ID).model
    model.save_pretrained(tmp_path / "final")
    assert reopen_pretrained(tmp_path / "final", LABEL2ID) is not None
    renamed(tmp_path / "final", lambda name: None if name.startswith(part) else name)
    with pytest.raises(StepError, match=f"lacks weights of BertForS.*{part}") as caught:
        reopen_pretrained(tmp_path / "final", LABEL2ID)
    assert "--redo train" in str(caught.value)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def as_bin(path: Path, share: float = 1) -> Path:
    """The safetensors file as torch.save writes it, or only the beginning of that."""
    new = path.with_name("pytorch_model.bin")
    torch.save(load_file(path), new)
    path.unlink()
    data = new.read_bytes()
    new.write_bytes(data[: int(len(data) * share)])
    return new


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.write_bytes(POINTER), "pointer of Git LFS"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "is cut off: .* of .* bytes"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "do not even hold its header"),
        (lambda path: path.write_bytes(b"\x04" + b"\0" * 7 + b"oh,no"), "is no safetensors file"),
        (lambda path: path.write_bytes(b"\x04" + b"\0" * 7 + b"[{}]"), "is no safetensors file"),
        (lambda path: path.write_bytes(b"\x08" + b"\0" * 7 + b'{"a":{}}'), "tells of no tensors"),
        (lambda path: path.rename(path.with_name("pytorch_model.bin")).write_bytes(POINTER), "LFS"),
        (lambda path: as_bin(path, 0.5), "is cut off: the end of its archive"),
        (lambda path: as_bin(path).write_bytes(b"<html>Not found</html>"), "is no file of torch"),
    ],
)
def test_a_broken_file_is_named(spoil: Callable[[Path], object], says: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    assert broken_file(folder) == ""
    spoil(folder / "model.safetensors")
    with pytest.raises(UserError, match=says) as caught:
        load_pretrained(str(folder), LABEL2ID)
    assert "weights_only" not in str(caught.value)
    assert "get the file again" in str(caught.value)


def test_files_that_nobody_reads_may_be_broken(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    for name in ("pytorch_model.bin", "training_args.bin", "consolidated.safetensors"):
        (folder / name).write_bytes(POINTER)
    assert load_pretrained(str(folder), LABEL2ID).model is not None
    as_bin(folder / "model.safetensors")
    assert load_pretrained(str(folder), LABEL2ID).model is not None


def test_a_file_that_holds_more_than_weights_is_not_read(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    torch.save({"config": transformers.BertConfig()}, as_bin(folder / "model.safetensors"))
    with pytest.raises(UserError, match="might run code") as caught:
        load_pretrained(str(folder), LABEL2ID)
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"quantization_config": {"quant_method": "fp8"}}, "is stored quantized"),
        ({"_attn_implementation": "flash_attention_2"}, "FlashAttention2"),
    ],
)
def test_what_a_config_asks_for_and_cannot_be_had_is_told(
    more: dict[str, Any], says: str, tmp_path: Path
) -> None:
    folder = saved(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | more))
    with pytest.raises(UserError, match=says):
        load_pretrained(str(folder), LABEL2ID)


def test_code_of_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "of_nobody",
        "auto_map": {
            "AutoConfig": "own.OwnConfig",
            "AutoModelForSequenceClassification": "own.OwnModel",
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(UserError, match="wants code of its own") as caught:
        load_pretrained(str(folder), LABEL2ID)
    assert "load_model" in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_where_transformers_has_the_architecture_its_own_class_is_taken(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForSequenceClassification": "own.OwnModel"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text("raise SystemExit('was run')\n")
    found = load_pretrained(str(folder), LABEL2ID)
    assert type(found.model) is transformers.BertForSequenceClassification


def test_a_bare_adapter_is_no_model(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    base = transformers.BertModel.from_pretrained(saved(tmp_path / "m"))
    adapted = peft.get_peft_model(base, peft.LoraConfig(target_modules=["query"]))
    adapted.save_pretrained(tmp_path / "adapter")
    with pytest.raises(UserError, match="is an adapter of PEFT") as caught:
        load_pretrained(str(tmp_path / "adapter"), LABEL2ID)
    assert "merge_and_unload" in str(caught.value)
    # Transformers would take the adapter and its base, freeze it, and pass over these weights.
    whole = shutil.copytree(tmp_path / "m", tmp_path / "both")
    shutil.copytree(tmp_path / "adapter", whole, dirs_exist_ok=True)
    with pytest.raises(UserError, match="is an adapter of PEFT"):
        load_pretrained(str(whole), LABEL2ID)


def test_the_weights_are_fp32_whatever_they_are_stored_in(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    for dtype, told in ((torch.bfloat16, "bf16"), (torch.float16, "fp16"), (torch.float32, "")):
        model = transformers.BertModel.from_pretrained(folder, dtype=dtype)
        shutil.rmtree(tmp_path / "stored", ignore_errors=True)
        model.save_pretrained(tmp_path / "stored")
        found = load_pretrained(str(tmp_path / "stored"), LABEL2ID)
        assert {p.dtype for p in found.model.parameters()} == {torch.float32}
        assert found.stored == told


def test_views_of_one_storage_get_storages_of_their_own_and_ties_stay(tmp_path: Path) -> None:
    from safetensors.torch import save_model

    from handful.training.model.weight_views import part_storage

    together = torch.arange(12.0)
    model = torch.nn.Module()
    for name, at in (("q", 0), ("k", 4), ("v", 8)):
        setattr(model, name, torch.nn.Parameter(together[at : at + 4].view(2, 2)))
    model.tied, model.twin = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    model.twin.weight = model.tied.weight
    model.register_buffer("seen", together[:2])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(RuntimeError):
        save_model(model, str(tmp_path / "saved.safetensors"))
    part_storage(model)
    assert all(torch.equal(before[name], x) for name, x in model.state_dict().items())
    assert model.twin.weight is model.tied.weight
    with torch.no_grad():
        model.q.zero_()
    assert model.seen.tolist() == [0.0, 1.0]
    save_model(model, str(tmp_path / "saved.safetensors"))
