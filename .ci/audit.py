"""Asks whether a release in constraints.txt has a known vulnerability (`make check`).

Findings fail the check. Where nobody can be asked, as on a machine without the network, that is
said loudly, and the check goes on: what could not be looked at is not called safe.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
SERVICE = "https://pypi.org/pypi/pip/25.0/json"
"""Any release: its page names vulnerabilities, perhaps none."""
ASK_SECONDS, ALL_SECONDS = 5, 120


def can_be_asked() -> str:
    """Why the service cannot be asked; "" if it can."""
    try:
        with urllib.request.urlopen(SERVICE, timeout=ASK_SECONDS) as answer:
            told = json.load(answer)
    except (OSError, ValueError) as error:
        return str(error)
    return "" if "vulnerabilities" in told else "its answer speaks of no vulnerabilities"


def audit() -> subprocess.CompletedProcess[str]:
    """Every release of constraints.txt, itself; nothing is resolved or installed."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "pip_audit", "--requirement", "constraints.txt", "--no-deps"),
            *("--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "5"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=ALL_SECONDS,
        check=False,
    )


def unasked(why: str) -> int:
    print(f"\n!!! pip-audit: NOT DONE: {why}", "!!! No release was looked at.\n", sep="\n")
    return 0


def main() -> int:
    if why := can_be_asked():
        return unasked(f"{SERVICE} cannot be asked: {why}")
    try:
        done = audit()
        releases = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return unasked(f"no answer within {ALL_SECONDS} s")
    except (ValueError, KeyError):
        return unasked(done.stderr.strip()[-500:])
    known = [one for one in releases if "vulns" in one]
    found = [(one, vulnerability) for one in known for vulnerability in one["vulns"]]
    for one, vulnerability in found:
        mended = ", ".join(vulnerability["fix_versions"]) or "no release yet"
        print(f"{one['name']} {one['version']}: {vulnerability['id']}; mended in {mended}")
    if not known:
        return unasked("the service knows none of the releases")
    left = (
        f"; {len(releases) - len(known)} the service does not know"
        if len(known) < len(releases)
        else ""
    )
    print(f"pip-audit: {len(found)} vulnerabilities in {len(known)} releases{left}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
