"""handful: from labels in a database and files in a bucket to a tested classifier.

The few public names; everything else is the command line's. They are imported when first used, so
that `handful --help` stays fast.
"""

from __future__ import annotations

from handful.functions import Encoded, batched

__version__ = "0.1.0"
__all__ = ["Encoded", "__version__", "batched"]
