"""How long a user waits before anything happens: medians of nine whole processes.

    python bench/startup.py [EXP]

`EXP` is an experiment whose run is finished (the demo's by default): a run with nothing to do is
timed on it. The other two need nothing.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import tempfile
from pathlib import Path

from timing import line, run

RUNS = 9
ROOT = Path(__file__).parents[1]
HANDFUL = str(Path(sysconfig.get_path("scripts")) / "handful")
FAULTY = """[experiment]
SEDE = 1
[production]
FILES_URL = ./files
[train]
EPOCHS = many
"""


def main() -> int:
    experiment = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "examples/EXP-0001-licences")
    print(f"medians of {RUNS} on {os.cpu_count()} cores")
    kept = True
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "settings.ini").write_text(FAULTY)
        cases = [
            ("handful --help", [HANDFUL, "--help"], 0, 0.3),
            ("handful check, faulty settings", [HANDFUL, "check", folder], 2, 1.0),
            ("handful run, nothing to do", [HANDFUL, "run", experiment], 0, 3.0),
        ]
        for name, command, status, limit in cases:
            first = run(command)
            if first.status != status:
                print(f"{name}: left with {first.status} rather than {status}; is EXP finished?")
                return 1
            samples = [run(command) for _ in range(RUNS)]
            print(line(name, samples, limit))
            kept = kept and sorted(s.wall for s in samples)[RUNS // 2] < limit
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
