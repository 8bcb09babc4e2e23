"""The checkpoints of bench/quality.py: made from packages, each checked against its source.

    python bench/quality_checkpoints.py [NAME …]

Prints where each lies (all, if none is named). One that is there already is not checked again.
"""

from __future__ import annotations

import sys

from quality_parts.checkpoints import CHECKPOINTS, checkpoint

if __name__ == "__main__":
    for name in sys.argv[1:] or CHECKPOINTS:
        print(checkpoint(name))
