"""torchrun, whose end is a line: an ordinary stop, or a process that has told why, is no traceback.

python -m handful.training.loop.torchrun [torchrun's options] -m MODULE …
"""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """torchrun's status: 1 if one of the processes failed, 128 + N after signal N."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    try:
        run(parse_args(sys.argv[1:]))  # type: ignore[no-untyped-call]
    except SignalException as stopped:
        name = signal.Signals(stopped.sigval).name
        sys.stderr.write(f"stopped by {name}; its processes have ended\n")
        return 128 + int(stopped.sigval)
    except ChildFailedError:
        return 1  # which one, and with which status, torchrun's log has told
    return 0


if __name__ == "__main__":
    sys.exit(main())
