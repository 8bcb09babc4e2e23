"""The stores that an earlier commit made (see pipeline/test_first_stores.py), unpacked."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sysconfig
import tarfile
from pathlib import Path

ARCHIVE = Path(__file__).parents[1] / "fixtures" / "first_stores.tar.xz"
HANDFUL = str(Path(sysconfig.get_path("scripts")) / "handful")
WHOLE, HALF = "EXP-0001-whole", "EXP-0002-half"


def unpack(folder: Path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    for name, moment in json.loads((folder / "times.json").read_text()).items():
        if (folder / name).exists():
            os.utime(folder / name, ns=(moment, moment))
    return folder


def handful(root: Path, *words: str, status: int = 0) -> str:
    # A checkpoint goes on with the device and the number of threads that it was begun with.
    one = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [HANDFUL, *words],
        cwd=root,
        env={**os.environ, **one},
        capture_output=True,
        text=True,
        check=False,
    )
    told = done.stdout + done.stderr
    assert done.returncode == status, told
    return told


def contents(store: Path) -> dict[str, str]:
    return {
        path.relative_to(store).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in store.rglob("*")
        if path.is_file()
    }
