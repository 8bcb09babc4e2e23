"""Asks whether a release in constraints.txt has a known vulnerability (`make check`).

Findings fail the check. Where nobody can be asked, as on a machine without the network, that is
said loudly, and the check goes on: what could not be looked at is not called safe.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ALL = ROOT / "constraints.txt"
ONE_SECONDS, ALL_SECONDS = 20, 120


def audit(releases: Path, seconds: float) -> list[dict[str, Any]]:
    """What is known of every release in the file, itself; nothing is resolved or installed."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip_audit", "--requirement", str(releases), "--no-deps"),
            *("--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "5"),
        ],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        raise OSError(done.stderr.strip()[-500:]) from None
    if not any("vulns" in one for one in found):
        raise OSError("the service of vulnerabilities cannot be asked, or knows no release")
    return found


def audit_one() -> None:
    """Ask for one release first: two hundred answers of a proxy would take a while."""
    with tempfile.TemporaryDirectory() as folder:
        one = Path(folder) / "one.txt"
        one.write_text("pip==25.0\n")
        audit(one, ONE_SECONDS)


def unasked(why: str) -> int:
    print(f"\n!!! pip-audit: NOT DONE: {why}", "!!! No release was looked at.\n", sep="\n")
    return 0


def main() -> int:
    try:
        audit_one()
        releases = audit(ALL, ALL_SECONDS)
    except subprocess.TimeoutExpired as error:
        return unasked(f"no answer within {error.timeout:.0f} s")
    except OSError as error:
        return unasked(str(error))
    known = [one for one in releases if "vulns" in one]
    found = [(one, vulnerability) for one in known for vulnerability in one["vulns"]]
    for one, vulnerability in found:
        mended = ", ".join(vulnerability["fix_versions"]) or "no release yet"
        print(f"{one['name']} {one['version']}: {vulnerability['id']}; mended in {mended}")
    left = (
        f"; {len(releases) - len(known)} the service does not know"
        if len(known) < len(releases)
        else ""
    )
    print(f"pip-audit: {len(found)} vulnerabilities in {len(known)} releases{left}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
