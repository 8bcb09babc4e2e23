"""pgbouncer, as Debian has it, in front of the tests' PostgreSQL: a pool, and its TLS."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL, make_url

from tests.support.databases import _program, _running
from tests.support.servers import free_ports


@contextmanager
def running_pgbouncer(
    database: str, *options: str, files: Mapping[str, bytes] | None = None
) -> Iterator[URL]:
    """The URL of `database` through pgbouncer with more `options` of its [pgbouncer] section.

    `{folder}` in an option is the folder that has the `files`.
    """
    program = _program("pgbouncer")
    if program is None:
        pytest.skip("NOT TESTED: pgbouncer is not there: apt-get install pgbouncer")
    folder = Path(tempfile.mkdtemp(prefix="handful-pgbouncer-"))
    url = make_url(database)
    place = str(url.query["host"])
    (port,) = free_ports(1)
    (folder / "users").write_text(f'"{url.username}" "{url.password}"\n')
    settings = [
        "[databases]",
        f"* = host={place}",
        "[pgbouncer]",
        "listen_addr = 127.0.0.1",
        f"listen_port = {port}",
        "unix_socket_dir =",
        "auth_type = scram-sha-256",
        f"auth_file = {folder}/users",
        *(option.format(folder=folder) for option in options),
    ]
    for name, content in (files or {}).items():
        (folder / name).write_bytes(content)
    (folder / "pgbouncer.ini").write_text("\n".join(settings) + "\n")
    # It refuses to be root, and PostgreSQL's socket lies in a folder of PostgreSQL's user.
    owner = Path(place).stat()
    who: dict[str, Any] = {}
    if os.geteuid() == 0:
        who = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
        for path in (folder, *folder.iterdir()):
            os.chown(path, owner.st_uid, owner.st_gid)
    command = [str(program), str(folder / "pgbouncer.ini")]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    try:
        with _running("pgbouncer", command, environment, who, folder / "log") as ready:
            ready(lambda: socket.create_connection(("127.0.0.1", port), 1).close())
            yield url.set(host="127.0.0.1", port=port, query={})
    finally:
        shutil.rmtree(folder, ignore_errors=True)
