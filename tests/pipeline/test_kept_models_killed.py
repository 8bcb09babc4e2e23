"""A trained model is replaced: killed before any of its writes, no whole model is ever lost.

Real kills: a child of this process is ended by SIGKILL before the n-th time that it changes a file
of a local store, or when the n-th request that changes a bucket arrives.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from handful.experiment.context import Experiment, open_experiment
from handful.experiment.kept_models import ModelStore, TrainedModel, fingerprint_of
from handful.layout import FINAL_RECORD
from tests.support.encoded import SETTINGS, TRAIN
from tests.support.faults import Request, faulty
from tests.support.progress import Recording
from tests.support.servers import S3Server

pytestmark = pytest.mark.slow

FILES = ("config.json", "model.safetensors", "adapter/weights.bin")
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate"}


def record(name: str) -> dict[str, Any]:
    """What handful.json says of the model `name`, a letter; later letters were trained later."""
    return {
        "model": "model",
        "seed": 0,
        "made_from": {"[train] EPOCHS": name},
        "weights_hash": hashlib.sha256(name.encode()).hexdigest(),
        "label2id": {"a": 0, "b": 1},
        "data_hash": "0" * 64,
        "metrics": {"macro_f1": 0.5},
        "finished_at": f"2026-01-0{ord(name) - ord('A') + 1}T00:00:00+00:00",
    }


def fingerprint(name: str) -> str:
    return fingerprint_of(record(name))


def folder_of(scratch: Path, name: str) -> Path:
    folder = scratch / f"new-{name}"
    for file in FILES:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(f"{file} of {name}")
    (folder / FINAL_RECORD).write_text(json.dumps(record(name)))
    return folder


def opened(directory: Path, store: str, *more: str, told: Recording | None = None) -> Experiment:
    """An experiment of one model whose results lie in `store`."""
    (directory / "model").mkdir(parents=True, exist_ok=True)
    (directory / "model" / "config.json").write_text("{}")
    keys = "\n".join(f"{key} = {value}" for key, value in TRAIN.items())
    (directory / "settings.ini").write_text(f"{SETTINGS}{keys}\n[experiment]\nSTORE = {store}\n")
    (directory / "functions.py").write_text("")
    scratch = directory.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return open_experiment(directory, more, told or Recording(), scratch)


def models_of(experiment: Experiment) -> ModelStore:
    return ModelStore(experiment.store, experiment.layout)


def replace_final(experiment: Experiment, folder: Path, name: str) -> None:
    most = experiment.settings.train.MODELS_KEPT
    models_of(experiment).replace_final(folder, record(name), most, experiment.progress)


def remove_older(experiment: Experiment) -> None:
    most = experiment.settings.train.MODELS_KEPT
    models_of(experiment).remove_older("./model", 0, most, experiment.progress)


def put(experiment: Experiment, name: str) -> None:
    replace_final(experiment, folder_of(experiment.scratch, name), name)


def standing(experiment: Experiment) -> dict[str, bool]:
    """Letter → is it kept? Each one is seen to be whole."""
    found = {}
    for one in models_of(experiment).list_trained():
        name = one.record["made_from"]["[train] EPOCHS"]
        assert one.fingerprint == fingerprint(name)
        for file in FILES:
            assert experiment.store.read(f"{one.key}/{file}") == f"{file} of {name}".encode()
        found[name] = one.kept
    return found


def keys(experiment: Experiment) -> list[str]:
    batches = list(experiment.store.list("results/"))
    return sorted(key for batch in batches for key in batch.column("key").to_pylist())


def check_what_a_kill_left(experiment: Experiment) -> None:
    """B was about to be replaced by C, and A to go for it."""
    found = standing(experiment)
    assert "B" in found
    assert models_of(experiment).find_by_fingerprint(fingerprint("B")).record == record("B")
    if "C" in found:
        assert found["B"]
    else:
        assert "A" in found, "what is kept goes only when the new model stands"


def check_end(experiment: Experiment) -> None:
    assert standing(experiment) == {"C": False, "B": True}
    run = "results/full_dataset/models/model/seed-0"
    folders = ("final", f"kept/{fingerprint('B')}")
    expected = [f"{run}/{one}/{file}" for one in folders for file in (*FILES, FINAL_RECORD)]
    assert keys(experiment) == sorted(expected), "and nothing is left behind"


# --- local ---------------------------------------------------------------------------------------


def two(root: Path, store: str, *more: str) -> Experiment:
    """An experiment in which B is in use, and A is kept."""
    experiment = opened(root / "EXP-1", store, *more)
    put(experiment, "A")
    put(experiment, "B")
    assert standing(experiment) == {"B": False, "A": True}
    return experiment


def killed_before(number: int, experiment: Experiment) -> bool:
    """Put C in a child that is killed before its change `number` of any file; was it?"""
    folder = folder_of(experiment.scratch, "C")
    child = os.fork()
    if child == 0:
        count = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if event in CHANGES or writes:
                count += 1
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            replace_final(experiment, folder, "C")
        except BaseException:  # noqa: BLE001 - nothing of pytest may run on in the child
            os._exit(3)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def test_killed_before_any_change_of_a_local_store(tmp_path: Path) -> None:
    number = 1
    while True:
        root = tmp_path / str(number)
        experiment = two(root, str(root / "store"))
        if not killed_before(number, experiment):
            break
        check_what_a_kill_left(experiment)
        put(experiment, "C")
        if "A" in standing(experiment):
            # The new one stood already: nothing is trained, and the driver tidies up.
            remove_older(experiment)
        check_end(experiment)
        number += 1
    assert number > 20
    check_end(experiment)


def test_killed_and_then_undone(tmp_path: Path) -> None:
    """The settings are put back after the kill: B is what is wanted, and is trained if it must."""
    for number in range(1, 40):
        root = tmp_path / str(number)
        experiment = two(root, str(root / "store"))
        killed_before(number, experiment)
        before = standing(experiment)
        put(experiment, "B")
        remove_older(experiment)
        kept = "C" if "C" in before else "A"
        assert standing(experiment) == {"B": False, kept: True}


# --- S3 ------------------------------------------------------------------------------------------

CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from tests.pipeline.test_kept_models_killed import opened, folder_of, replace_final

experiment = opened(Path(sys.argv[1]), sys.argv[2], f"experiment.S3_ENDPOINT_URL={sys.argv[3]}")
folder = folder_of(experiment.scratch, "C")
replace_final(experiment, folder, "C")
"""
ROOT = str(Path(__file__).parents[2])


def killed_at(number: int, root: Path, store: str, server: S3Server, fault: str) -> bool:
    """Put C in a child that is killed at its request `number` that changes something; was it?

    `fault`: "reset", if that request does not arrive, or "pass", if it is done.
    """
    seen = 0
    child: list[subprocess.Popen[bytes]] = []

    def rule(request: Request) -> str:
        nonlocal seen
        seen += request.is_write
        last = request.is_write and seen == number
        if seen < number or (last and fault == "pass"):
            return "pass"
        child[0].kill()
        return "reset"

    with faulty(server.endpoint_url, rule) as proxy:
        words = [str(root / "EXP-1"), store, proxy.endpoint_url, ROOT]
        child.append(subprocess.Popen([sys.executable, "-c", CHILD, *words]))
        status = child[0].wait(60)
        proxy.settle()
    assert status in (0, -signal.SIGKILL)
    return status != 0


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["reset", "pass"], ids=["not-arrived", "done"])
def test_killed_at_any_request_that_changes_a_bucket(
    tmp_path: Path, s3_server: S3Server, fault: str
) -> None:
    there, number = f"experiment.S3_ENDPOINT_URL={s3_server.endpoint_url}", 1
    while True:
        root, store = tmp_path / str(number), s3_server.place()
        experiment = two(root, store, there)
        if not killed_at(number, root, store, s3_server, fault):
            break
        check_what_a_kill_left(experiment)
        put(experiment, "C")
        remove_older(experiment)
        check_end(experiment)
        number += 1
    assert number > 8
    check_end(experiment)


def test_what_is_kept_in_a_bucket_can_be_fetched(tmp_path: Path, s3_server: S3Server) -> None:
    there = f"experiment.S3_ENDPOINT_URL={s3_server.endpoint_url}"
    experiment = opened(tmp_path / "EXP-1", s3_server.place(), there)
    put(experiment, "A")
    put(experiment, "B")
    found: TrainedModel = models_of(experiment).find_by_fingerprint(fingerprint("A")[:5])
    folder = experiment.store.fetch_tree(found.key, tmp_path / "fetched")
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {
        Path(name).name for name in (*FILES, FINAL_RECORD)
    }
