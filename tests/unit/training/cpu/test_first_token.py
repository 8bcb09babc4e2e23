"""The last layer for the first token alone: the same logits, or hands off."""

from __future__ import annotations

from types import MethodType
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from handful.training.cpu.first_token import first_token_only
from handful.training.loop import runtime
from tests.support.classifiers import classifier

KINDS = ("Bert", "Roberta", "XLMRoberta", "Camembert", "Electra", "DistilBert")
LENGTH = 20


def batch(padded: bool = True) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(2, 50, (5, LENGTH), generator=draw)
    mask = torch.ones_like(ids)
    if padded:
        mask[1, 10:], mask[3, 3:], mask[4, 1:] = 0, 0, 0
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.arange(5) % 3}


def both(model: Any, told: dict[str, torch.Tensor]) -> tuple[Any, Any, bool]:
    """Its own answer, that with the first token only, and whether it was so."""
    with torch.inference_mode():
        own = model(**told)
        with first_token_only(model) as known:
            quick = model(**told)
    assert not any("forward" in vars(part) for part in list(model.modules())[1:])
    return own, quick, known


@pytest.mark.parametrize("chunks", [0, 4])
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_logits_are_the_same(kind: str, padded: bool, chunks: int) -> None:
    model = classifier(kind, chunk_size_feed_forward=chunks)
    own, quick, known = both(model, batch(padded))
    assert known
    assert own.logits.std() > 0.1
    torch.testing.assert_close(quick.logits, own.logits, rtol=1e-5, atol=2e-6)
    torch.testing.assert_close(quick.loss, own.loss)


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_layer_answers_for_the_first_token_only(kind: str) -> None:
    model = classifier(kind)
    base = model.base_model
    told = {name: value for name, value in batch().items() if name != "labels"}
    with torch.inference_mode():
        whole = base(**told).last_hidden_state
        with first_token_only(model):
            first = base(**told).last_hidden_state
    assert (whole.shape[1], first.shape[1]) == (LENGTH, 1)
    torch.testing.assert_close(first, whole[:, :1], rtol=1e-5, atol=1e-5)


def test_a_document_of_padding_alone_is_no_worse_than_before() -> None:
    told = batch()
    told["attention_mask"][2] = 0
    own, quick, known = both(classifier(), told)
    assert known
    torch.testing.assert_close(quick.logits, own.logits, rtol=1e-5, atol=2e-6)


class Odd(torch.Tensor):
    """As libraries that quantise put them into layers."""


def test_weights_that_are_no_plain_numbers_are_asked_and_not_looked_into() -> None:
    model = classifier()
    layer = model.bert.encoder.layer[-1].attention.self.key
    layer.weight = nn.Parameter(layer.weight.detach().as_subclass(Odd))
    own, quick, known = both(model, batch())
    assert known
    assert type(layer.weight) is Odd
    torch.testing.assert_close(quick.logits, own.logits, rtol=1e-5, atol=2e-6)


def test_bf16_by_accelerate() -> None:
    model = classifier()
    with runtime.open_accelerator("bf16") as accelerator:
        prepared = accelerator.prepare_model(model, evaluation_mode=True)
        own, quick, known = both(prepared, batch())
    assert known
    exact = classifier()(**batch()).logits.detach()
    off = [float((one.logits - exact).abs().mean()) for one in (own, quick)]
    assert 0 < off[1] < 1.5 * off[0]


@pytest.mark.parametrize("targets", [["query", "value"], ["key", "dense"]])
def test_lora_keeps_its_part(targets: list[str]) -> None:
    peft = pytest.importorskip("peft")
    told = peft.LoraConfig(task_type="SEQ_CLS", target_modules=targets, init_lora_weights=False)
    own, quick, known = both(peft.get_peft_model(classifier(), told).eval(), batch())
    assert known
    assert (own.logits - classifier()(**batch()).logits).abs().max() > 0.01
    torch.testing.assert_close(quick.logits, own.logits, rtol=1e-5, atol=2e-6)


class MeanHead(nn.Module):
    def forward(self, features: torch.Tensor, **_: Any) -> torch.Tensor:
        return features.mean(1)[:, :3]


class Mean(nn.Module):
    """A user's own: the mean of all tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = classifier()

    def forward(self, **told: torch.Tensor) -> Any:
        states = self.inner.bert(told["input_ids"], told["attention_mask"]).last_hidden_state
        return transformers.modeling_outputs.SequenceClassifierOutput(
            loss=states.sum(), logits=states.mean(1)[:, :3]
        )


class Subclass(transformers.BertForSequenceClassification):
    pass


def other_head() -> Any:
    model = classifier("Roberta")
    model.classifier = MeanHead()
    return model


def other_forward() -> Any:
    model, mean = classifier(), Mean()
    mean.inner = model
    model.forward = MethodType(lambda self, **told: mean.forward(**told), model)
    return model


def part_with_other_forward() -> Any:
    model = classifier()
    encoder = model.bert.encoder
    whole = encoder.forward
    encoder.forward = lambda *told, **named: whole(*told, **named)
    return model


def watched() -> Any:
    model = classifier()
    model.bert.encoder.layer[-1].output.register_forward_hook(lambda *_: None)
    return model


def adapted(kind: str, **more: Any) -> Any:
    peft = pytest.importorskip("peft")
    told = getattr(peft, f"{kind}Config")(task_type="SEQ_CLS", **more)
    return peft.get_peft_model(classifier(), told).eval()


def tuner_alone() -> Any:
    peft = pytest.importorskip("peft")
    told = peft.LoraConfig(target_modules=["query"])
    return peft.LoraModel(classifier(), told, "default").eval()


def mixed() -> Any:
    peft = pytest.importorskip("peft")
    told = peft.LoraConfig(target_modules=["query"])
    return peft.get_peft_model(classifier(), told, mixed=True).eval()


def compiled() -> Any:
    model = classifier()
    model._compiled_call_impl = model.forward  # what `model.compile()` sets
    return model


def kept_forward() -> Any:
    """The name that Accelerate uses is used by others, too."""
    model = other_forward()
    model._original_forward = MethodType(type(model).forward, model)
    return model


class OverTokens(nn.LayerNorm):
    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return super().forward(states) + states.mean(1, keepdim=True)


def other_leaf() -> Any:
    model = classifier()
    output = model.bert.encoder.layer[-1].output
    output.LayerNorm, own = OverTokens(32), output.LayerNorm
    output.LayerNorm.load_state_dict(own.state_dict())
    return model


def batch_norm() -> Any:
    model = classifier()
    model.bert.encoder.layer[-1].output.LayerNorm = nn.BatchNorm1d(32)
    return model


def leaf_with_other_forward() -> Any:
    model = classifier()
    model.bert.encoder.layer[-1].output.dropout.forward = lambda states: states * 2
    return model


def the_same_layer_twice() -> Any:
    model = classifier()
    model.bert.encoder.layer[0] = model.bert.encoder.layer[-1]
    return model


@pytest.mark.parametrize(
    "make",
    [
        kept_forward,
        other_leaf,
        batch_norm,
        leaf_with_other_forward,
        the_same_layer_twice,
        lambda: classifier(attention="eager"),
        lambda: classifier(is_causal=True),
        lambda: adapted("IA3", target_modules=["key"], feedforward_modules=[]),
        tuner_alone,
        mixed,
        other_head,
        other_forward,
        watched,
        lambda: adapted("PromptTuning", num_virtual_tokens=3),
        compiled,
        Mean,
        lambda: Subclass(classifier().config).eval(),
        lambda: classifier(output_hidden_states=True),
        lambda: classifier(is_decoder=True),
        lambda: torch.compile(classifier()),
        lambda: nn.Linear(3, 3),
        part_with_other_forward,
    ],
)
def test_what_is_not_known_is_left_alone(make: Any) -> None:
    model = make()
    before = [dict(vars(part)) for part in model.modules()]
    with first_token_only(model) as known:
        assert not known
        assert [dict(vars(part)) for part in model.modules()] == before


@pytest.mark.parametrize("part", ["BertPooler", "BertSelfAttention", "BertLayer"])
def test_a_class_that_somebody_changed_is_left_alone(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.bert import modeling_bert

    own = getattr(modeling_bert, part).forward
    monkeypatch.setattr(getattr(modeling_bert, part), "forward", lambda *a, **k: own(*a, **k))
    with first_token_only(classifier()) as known:
        assert not known


def test_another_attention_of_that_name_is_left_alone() -> None:
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    AttentionInterface.register(
        "sdpa", lambda *told, **named: sdpa_attention_forward(*told, **named)
    )
    try:
        with first_token_only(classifier()) as known:
            assert not known
    finally:
        AttentionInterface.register("sdpa", sdpa_attention_forward)
    with first_token_only(classifier()) as known:
        assert known


def test_two_who_judge_with_one_model_do_not_harm_each_other() -> None:
    model, told = classifier(), batch()
    with torch.inference_mode():
        own = model(**told).logits
        first, second = first_token_only(model), first_token_only(model)
        assert first.__enter__()
        assert not second.__enter__()
        torch.testing.assert_close(model(**told).logits, own, rtol=1e-5, atol=2e-6)
        first.__exit__(None, None, None)
        torch.testing.assert_close(model(**told).logits, own)
        second.__exit__(None, None, None)
    assert "forward" not in vars(model.bert.encoder.layer[-1])


def test_an_attention_mask_of_another_kind_takes_the_whole_layer() -> None:
    """flash attention's masks are [B, L]."""
    states = torch.randn(2, 7, 32)
    model = classifier()
    layer = model.bert.encoder.layer[-1]
    with torch.inference_mode(), first_token_only(model):
        assert layer(states).shape[1] == 1
        for_each_head = torch.ones(2, 4, 7, 7, dtype=torch.bool)
        assert layer(states, for_each_head).shape[1] == 7
        assert layer(states, torch.zeros(2, 1, 7, 7)).shape[1] == 7
        assert layer(states, is_causal=True).shape[1] == 7
        assert layer(states, None, states).shape[1] == 7  # as a decoder's would be asked
