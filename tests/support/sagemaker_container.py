"""A container of the real image, in place of the process that the stand-in would start.

    python sagemaker_container.py IMAGE --root <its /opt/ml> --port <where the hosts meet>

It becomes `podman run`, which hands signals on. The hosts share this machine's network, where
their names are known; the job's variables go along, and nothing else of this machine's does.
"""

from __future__ import annotations

import argparse
import os

LABEL = "handful-test"
_GO_ALONG = ("HANDFUL_", "AWS_", "TRAINING_JOB_", "PYTHONUNBUFFERED", "OMP_NUM_THREADS")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("image")
    parser.add_argument("--root", required=True)
    parser.add_argument("--port", required=True)
    options = parser.parse_args()
    names = [name for name in os.environ if name.startswith(_GO_ALONG)]
    # The configuration's files are this machine's; the variables are complete without them.
    names = [name for name in names if not name.endswith("_FILE")]
    words = [word for name in names for word in ("--env", name)]
    command = [
        *("podman", "run", "--rm", "--label", LABEL, "--network", "host"),
        *("--volume", f"{options.root}:/opt/ml", *words),
        *(options.image, "train", "--port", options.port),
    ]
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
