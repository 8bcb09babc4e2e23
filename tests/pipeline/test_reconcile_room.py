"""Whole reconciles that run out of room: in the store, on this machine, in the bucket.

Each test prints its counts.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from handful import layout
from handful.errors import Full
from tests.support.buckets import (
    HANDFUL,
    all_files,
    business_on_s3,
    copies_of,
    lasting,
    same,
    undisturbed,
    write_settings,
)
from tests.support.faults import Request, faulty, passes
from tests.support.reconciling import PROCESS, Business, tree
from tests.support.servers import S3Server

ARTIFACTS = 60
PAGE = 4_096
"""Bytes of the smallest file on a tmpfs."""


@pytest.fixture
def business(tmp_path: Path) -> Business:
    found = Business(tmp_path)
    found.settings["reconcile"]["FILES_ON_RESEARCH"] = "raw.txt, truth.json"
    found.functions += PROCESS
    for number in range(ARTIFACTS):
        found.artifact(f"doc-{number:03}", "cat" if number % 3 else "dog")
    return found


def on_a_small_disk(folder: Path, script: str) -> list[str]:
    """The lines that `script` prints with a file system of its own at `folder`, seen by nobody
    else; `room SIZE` makes it so large, and `handful` is the command."""
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    folder.mkdir()
    tried = [*unshare, "mount", "-t", "tmpfs", "none", str(folder)]
    if not shutil.which("unshare") or subprocess.run(tried, capture_output=True).returncode:
        pytest.skip("this system gives no file system of one's own")
    begin = f"""
        set -eu
        mount -t tmpfs -o size=64k none {folder}
        room() {{ mount -o remount,size=$1 {folder}; }}
        handful() {{ {HANDFUL} "$@" 2>&1 || echo "left with $?"; }}
        copies() {{ find {folder} -path '*/reconciled_artifacts/*' -name raw.txt; }}
    """
    done = subprocess.run(
        [*unshare, "sh", "-c", begin + script], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_a_full_disk_ends_it_and_with_more_room_it_goes_on(business: Business) -> None:
    expected = tree(business.folder / "store") if business.run() else {}
    write_settings(business)
    disk = business.folder / "small"
    room = (ARTIFACTS // 2) * PAGE
    said = on_a_small_disk(
        disk,
        f"""
        room {room}
        handful reconcile {business.directory} --set experiment.STORE={disk}
        copies | sort | xargs stat -c 'first %i %n'
        echo "left aside: $(find {disk} -name '*.part' | wc -l)"
        room 64m
        handful reconcile {business.directory} --set experiment.STORE={disk}
        copies | sort | xargs stat -c 'then %i %n'
        cp -r {disk} {business.folder}/kept
        """,
    )
    first = {line[6:] for line in said if line.startswith("first ")}
    then = {line[5:] for line in said if line.startswith("then ")}
    print(f"{len(first)} of {ARTIFACTS} copies on {room:,} bytes; {len(first & then)} of them stay")
    told = next(line for line in said if line.startswith("error: "))
    assert told.endswith("cannot be written: No space left on device")
    assert "    free some room, or point STORE somewhere else" in said
    assert "left with 1" in said
    assert said.count("left with 1") == 1
    assert "left aside: 0" in said
    assert 0 < len(first) < ARTIFACTS
    assert first <= then, "what had arrived is the same file, not a new copy"
    found = tree(business.folder / "kept")
    for key in (layout.LEDGER, layout.LABELS, layout.LISTING, layout.LABEL_COUNTS):
        assert found[f"EXP-1/{key}"] == expected[f"EXP-1/{key}"]
    copied = f"EXP-1/{layout.ARTIFACTS}/"
    assert {k: v for k, v in found.items() if k.startswith(copied)} == {
        k: v for k, v in expected.items() if k.startswith(copied)
    }


def test_a_full_scratch_folder_is_named(business: Business) -> None:
    write_settings(business)
    disk = business.folder / "small"
    said = on_a_small_disk(
        disk,
        f"""
        room {PAGE}
        TMPDIR={disk} handful reconcile {business.directory}
        find {disk} -type f
        """,
    )
    told = next(n for n, line in enumerate(said) if line.startswith("error: "))
    assert said[told].startswith(f"error: {disk}/")
    assert said[told].endswith("no room is left for this step's own files")
    assert "TMPDIR" in said[told + 1]
    assert said[told + 2 :] == ["left with 1"]


@pytest.mark.slow
def test_a_full_bucket_ends_it_and_what_arrived_is_not_copied_again(
    tmp_path: Path, s3_server: S3Server
) -> None:
    seen: Counter[str] = Counter()

    def full_after_forty(request: Request) -> str:
        if request.is_copy:
            seen["copies"] += 1
        return "507" if seen["copies"] > 40 and request.is_copy else "pass"

    with faulty(s3_server.endpoint_url, full_after_forty) as between:
        business = business_on_s3(tmp_path / "b", s3_server, between.endpoint_url, ARTIFACTS)
        with pytest.raises(Full, match="free some room in the bucket"):
            business.run()
        first, refused = copies_of(business, between), between.done["507"]
        between.rule = passes
        in_all = (business.run(), copies_of(business, between))[1]
        print(
            f"{first.total()} copies, then {refused} times 507 and it ended; run again: "
            f"{in_all.total() - first.total()} copies"
        )
        assert first.total() == 40
        assert refused < 100
        assert in_all == Counter(all_files(ARTIFACTS)), "each object once"
        found = lasting(business, s3_server)
    with tempfile.TemporaryDirectory() as folder:
        same(found, undisturbed(Path(folder) / "calm", s3_server, ARTIFACTS))
