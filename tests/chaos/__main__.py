"""Disturbs runs of the tiny experiment at random, and looks whether anything was lost.

    python -m tests.chaos [--minutes N | --rounds N] [--seed S] [--kinds K,…] [--stores S,…]
    python -m tests.chaos --round-seed R     that round again, with the same --kinds and --stores

Each round begins from a state of the experiment, does one to four things, one after the other and
each to a running `handful run`, and then lets a plain one end. That must end with 0, and the store
must be what an undisturbed run leaves (see `equal`). Meanwhile no command may end but with 0, 1 or
130, or by our own SIGKILL, nor show a traceback. What fails is kept, and how to do that round again
is said.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from tests.chaos.playing import main

    sys.exit(main(__doc__.partition("\n")[0]))
