"""The demo as a stranger gets it: a fresh copy, its time by step, and its scores beside TF-IDF.

    python bench/demo.py

Copies the experiment and builds the business in a temporary folder, runs it once from nothing
with `handful run`, then measures TF-IDF with logistic regression on the same split.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from startup import HANDFUL, ROOT
from timing import line, run

BARS = {"accuracy": 0.79, "macro_f1": 0.79}
EXPERIMENT = "EXP-0002-reviews"
RECORDS = {
    "reconcile": "data/reconciliation/reconciled.json",
    "prepare": "data/prepared_data/full_dataset/prepared.json",
    "train": "results/full_dataset/trained.json",
    "test": "results/full_dataset/tested.json",
    "report": "results/full_dataset/reported.json",
}


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        examples = Path(folder)
        built = run([sys.executable, f"{ROOT}/examples/build_reviews.py", f"{folder}/reviews"])
        print(line("building the business", [built]))
        run([sys.executable, f"{ROOT}/examples/get_model.py", f"{folder}/models"])
        experiment = examples / EXPERIMENT
        shutil.copytree(ROOT / "examples" / EXPERIMENT, experiment)
        whole = run([HANDFUL, "run", str(experiment)])
        print(line("handful run, from nothing", [whole], 300.0))
        if whole.status:
            print(f"the run left with status {whole.status}")
            return 1
        store = examples / "store" / EXPERIMENT
        for step, kept_at in RECORDS.items():
            record = json.loads((store / kept_at).read_text())
            print(f"  {step:32} {record['seconds']:6.1f} s")
        kept = True
        for evaluation in json.loads((store / RECORDS["test"]).read_text())["evaluations"]:
            for name, bar in BARS.items():
                value = evaluation["metrics"][name]
                kept = kept and value >= bar
                verdict = "kept" if value >= bar else "MISSED"
                print(f"  {name} {value:.3f} (bar {bar}: {verdict})")
        sys.stdout.flush()
        subprocess.run(
            [sys.executable, f"{ROOT}/bench/demo_baseline.py", str(experiment)], check=True
        )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
