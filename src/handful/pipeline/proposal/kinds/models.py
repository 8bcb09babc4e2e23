"""Models to begin with: open ones, of a licence that lets a business use them.

Sizes are those of the weights in fp32, in megabytes of 10⁶ bytes.
"""

from __future__ import annotations

from handful.pipeline.proposal.findings import KindProposal, ModelAdvice

_APACHE, _MIT = "Apache-2.0", "MIT"
_MULTILINGUAL = (
    ModelAdvice(
        "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        471,
        _APACHE,
        "about 50 languages, small and quick; documents of up to 512 tokens",
    ),
    ModelAdvice(
        "FacebookAI/xlm-roberta-base",
        1120,
        _MIT,
        "94 languages; slower, and often better where there are many documents",
    ),
)
_ENGLISH = (
    ModelAdvice(
        "sentence-transformers/all-MiniLM-L6-v2",
        91,
        _APACHE,
        "English, the smallest and quickest; good with few documents",
    ),
    ModelAdvice(
        "distilbert/distilbert-base-uncased",
        268,
        _APACHE,
        "English; often better where there are many documents",
    ),
    ModelAdvice(
        "answerdotai/ModernBERT-base",
        599,
        _APACHE,
        "English and long documents: up to 8,192 tokens (MAX_LENGTH in functions.py)",
    ),
)
_OWN = {
    "en": _ENGLISH,
    "de": (ModelAdvice("google-bert/bert-base-german-cased", 439, _MIT, "German alone"),),
    "fr": (ModelAdvice("almanach/camembert-base", 445, _MIT, "French alone"),),
}
_IMAGE_MODELS = (
    ModelAdvice(
        "facebook/dinov2-small",
        88,
        _APACHE,
        "small; trained without labels, good with few pictures",
    ),
    ModelAdvice("google/vit-base-patch16-224", 346, _APACHE, "trained on ImageNet's photographs"),
)


def advise_models(kind: KindProposal) -> tuple[ModelAdvice, ...]:
    """Models on the hub for documents of this kind and language, the best to begin with first.

    Without a language, those of many. Never empty.
    """
    if kind.kind == "images":
        return _IMAGE_MODELS
    own = _OWN.get(kind.language, ())
    return own if kind.language == "en" else (_MULTILINGUAL[0], *own, *_MULTILINGUAL[1:])
