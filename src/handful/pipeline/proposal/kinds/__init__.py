"""What kind of files the documents are, functions that read it, and a model to begin with."""

from __future__ import annotations

from handful.pipeline.proposal.kinds.models import advise_models
from handful.pipeline.proposal.kinds.recognise import recognise_kind
from handful.pipeline.proposal.kinds.write import EXTRAS, write_kind

__all__ = ["EXTRAS", "advise_models", "recognise_kind", "write_kind"]
