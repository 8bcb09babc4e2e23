"""handful: from labels in a database and files in a bucket to a tested classifier.

The few public names; everything else is the command line's. They are imported when first used, so
that `handful --help` stays fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from handful.user_functions.load import Encoded, batched

if TYPE_CHECKING:
    from handful.inference.classifier import Classifier, Prediction
    from handful.pipeline.notebook import Experiment

__version__ = "0.1.0"
__all__ = ["Classifier", "Encoded", "Experiment", "Prediction", "__version__", "batched"]


def __getattr__(name: str) -> Any:
    if name in {"Classifier", "Prediction"}:
        from handful.inference import classifier

        return getattr(classifier, name)
    if name == "Experiment":
        from handful.pipeline import notebook

        return notebook.Experiment
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
