"""Real database servers for the tests: MariaDB and Firebird as Debian has them, and the drivers.

They start when the first test asks, serve 127.0.0.1 on a free port with all their files in a folder
of their own, never as root, and end with the tests. A server that does not start, or a driver that
pip alone installs, is a failure when it is missing. A skip, with what to install, are only the
drivers that are compiled with MariaDB's client library, and Firebird.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from tests.support.servers import free_ports

WAIT_SECONDS = 60
_numbers = count(1)
_SYSTEM = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin"


@dataclass(frozen=True)
class Driver:
    """A driver that people have: SQLAlchemy's name of it, its module, and what installs it."""

    name: str
    module: str
    install: str
    is_compiled: bool = False

    def __str__(self) -> str:
        return self.name

    def require(self) -> None:
        """Fail where the driver is missing; skip, loudly, where it would have to be compiled."""
        if find_spec(self.module):
            return
        told = f"NOT TESTED: the driver {self.name} is not installed: {self.install}"
        if self.is_compiled:
            pytest.skip(told)
        pytest.fail(told, pytrace=False)


_PARTS = "pip install -e '.[dev,parts]'"
_COMPILED = "apt-get install libmariadb-dev, then pip install -e '.[mariadb-c]'"
POSTGRESQL = tuple(
    Driver(f"postgresql+{name}", name, _PARTS) for name in ("psycopg", "psycopg2", "pg8000")
)
"""The drivers of PostgreSQL that block; asyncpg is another matter."""
ASYNCPG = Driver("postgresql+asyncpg", "asyncpg", _PARTS)
MARIADB = (
    Driver("mysql+pymysql", "pymysql", _PARTS),
    Driver("mysql+mysqlconnector", "mysql.connector", _PARTS),
    Driver("mysql+mysqldb", "MySQLdb", _COMPILED, is_compiled=True),
    Driver("mariadb+mariadbconnector", "mariadb", _COMPILED, is_compiled=True),
)
DUCKDB = Driver("duckdb", "duckdb_engine", _PARTS)
FIREBIRD = Driver("firebird+firebird", "firebird.driver", _PARTS, is_compiled=True)


def with_driver(url: str, driver: Driver) -> str:
    """`url`, to be opened by `driver`; the server of a `postgres` fixture listens on a socket."""
    driver.require()
    there = make_url(url).set(drivername=driver.name)
    if driver.module == "pg8000" and "host" in there.query:
        folder = there.query["host"]
        there = there.difference_update_query(["host"])
        there = there.update_query_dict({"unix_sock": f"{folder}/.s.PGSQL.5432"})
    return there.render_as_string(hide_password=False)


@dataclass(frozen=True)
class MariaDB:
    """A running MariaDB. `root` may do everything."""

    port: int
    socket: Path
    password: str

    def url(self, user: str = "root", password: str = "", database: str = "") -> str:
        """The SQLAlchemy URL for a user of it, for any driver that is preferred."""
        return f"mysql://{user}:{password or self.password}@127.0.0.1:{self.port}/{database}"

    def execute(self, *statements: str, database: str | None = None) -> None:
        """Run statements as `root`, one by one, and commit them."""
        import pymysql

        connection = pymysql.connect(
            unix_socket=str(self.socket),
            user="root",
            password=self.password,
            database=database,
            charset="utf8mb4",
        )
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            connection.commit()

    def fresh_database(self) -> str:
        """The URL of a new database, with its owner's password; the name is the owner's, too."""
        name, password = f"labels_{next(_numbers)}", f"pw-{secrets.token_hex(8)}"
        self.execute(
            f"CREATE DATABASE {name} CHARACTER SET utf8mb4",
            f"CREATE USER {name}@'%' IDENTIFIED BY '{password}'",
            f"GRANT ALL ON {name}.* TO {name}@'%'",
        )
        return self.url(name, password, name)


@contextmanager
def running_mariadb(*options: str) -> Iterator[MariaDB]:
    """Start MariaDB with more `options` of mariadbd, and stop it at the end."""
    install, server = _program("mariadb-install-db"), _program("mariadbd")
    if install is None or server is None:
        pytest.fail("MariaDB is not there: apt-get install mariadb-server", pytrace=False)
    with _private_folder("handful-maria-", "mysql") as (folder, environment, who):
        files = [f"--datadir={folder}/data", f"--tmpdir={folder}"]
        _run(
            [
                str(install),
                "--no-defaults",
                *files,
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ],
            environment,
            who,
        )
        (port,), path = free_ports(1), folder / "socket"
        command = [
            str(server),
            "--no-defaults",
            *files,
            f"--socket={path}",
            f"--pid-file={folder}/pid",
            "--bind-address=127.0.0.1",
            f"--port={port}",
            "--character-set-server=utf8mb4",
            "--skip-name-resolve",
            "--skip-log-bin",
            "--innodb-flush-log-at-trx-commit=0",
            *options,
        ]
        password = secrets.token_hex(16)
        with _running("MariaDB", command, environment, who, folder / "log") as ready:
            ready(lambda: _first_login(path, password))
            yield MariaDB(port, path, password)


def _first_login(path: Path, password: str) -> None:
    """Give `root` its password, and take away the users that have none."""
    import pymysql

    connection = pymysql.connect(unix_socket=str(path), user="root")
    with connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE OR REPLACE USER root@'127.0.0.1' IDENTIFIED BY '{password}'")
        cursor.execute("GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION")
        cursor.execute("SELECT user, host FROM mysql.user WHERE user IN ('', 'root')")
        kept = {("root", "localhost"), ("root", "127.0.0.1")}
        for name, host in set(cursor.fetchall()) - kept:
            cursor.execute("DROP USER %s@%s", (name, host))
        # Last: until here the whole can be tried again.
        cursor.execute(f"ALTER USER root@localhost IDENTIFIED BY '{password}'")


@dataclass(frozen=True)
class Firebird:
    """A running Firebird. `SYSDBA` may do everything."""

    port: int
    folder: Path
    password: str

    def fresh_database(self) -> str:
        """The SQLAlchemy URL of a new, empty database in UTF-8."""
        from firebird.driver import create_database

        path = self.folder / f"labels_{next(_numbers)}.fdb"
        login = f"SYSDBA:{self.password}@127.0.0.1:{self.port}"
        url = f"firebird+firebird://{login}/{path}?charset=UTF8"
        place = self.place(url)
        create_database(place, user="SYSDBA", password=self.password, charset="UTF8").close()
        return url

    def place(self, url: str) -> str:
        """The database of `url` as Firebird's own tools name it."""
        return f"127.0.0.1/{self.port}:{make_url(url).database}"


@contextmanager
def running_firebird() -> Iterator[Firebird]:
    """Start Firebird with a root folder and a list of users of its own, and stop it at the end."""
    FIREBIRD.require()
    server, isql = _program("firebird"), _program("isql-fb")
    installed = next(Path("/usr/lib").glob("*/firebird/3.0"), None)
    if server is None or isql is None or installed is None:
        pytest.skip("NOT TESTED: Firebird is not there: apt-get install firebird3.0-server")
    with _private_folder("handful-firebird-", "firebird") as (folder, environment, who):
        (port,), password = free_ports(1), secrets.token_hex(8)
        _firebird_root(folder, installed, port)
        environment |= {"FIREBIRD": str(folder), "FIREBIRD_LOCK": str(folder / "lock")}
        users = (
            f"CREATE DATABASE '{folder}/security3.fdb';\n"
            "IN /usr/share/firebird/3.0/security.sql;\nCOMMIT;\n"
            f"CREATE USER SYSDBA PASSWORD '{password}';\nCOMMIT;\n"
        )
        _run([str(isql), "-q"], environment, who, users)
        with _running("Firebird", [str(server)], environment, who, folder / "log") as ready:
            ready(lambda: socket.create_connection(("127.0.0.1", port), 1).close())
            yield Firebird(port, folder, password)


def _firebird_root(folder: Path, installed: Path, port: int) -> None:
    for name in ("UDF", "intl", "lib", "plugins", "firebird.msg", "plugins.conf"):
        (folder / name).symlink_to(installed / name)
    users = folder / "security3.fdb"
    (folder / "firebird.conf").write_text(
        f"RemoteBindAddress = 127.0.0.1\nRemoteServicePort = {port}\nUdfAccess = None\n"
        f"SecurityDatabase = {users}\nAuthServer = Srp\nUserManager = Srp\nWireCrypt = Enabled\n"
    )
    (folder / "databases.conf").write_text(f"security.db = {users}\n{{\n  RemoteAccess = false\n}}")
    (folder / "lock").mkdir()
    (folder / "lock").chmod(0o777)


def _program(name: str) -> Path | None:
    """Where Debian puts servers is not on everybody's PATH."""
    found = shutil.which(name, path=_SYSTEM)
    return Path(found) if found else None


_Who = dict[str, Any]


@contextmanager
def _private_folder(prefix: str, user: str) -> Iterator[tuple[Path, dict[str, str], _Who]]:
    """A temporary folder, and the environment and user for what runs in it: never root."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    who: _Who = {}
    if os.geteuid() == 0:
        names = {entry.pw_name: entry for entry in pwd.getpwall()}
        entry = names.get(user) or names["nobody"]
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        who = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    folder.chmod(0o755)
    try:
        yield folder, {"PATH": _SYSTEM, "HOME": str(folder), "TMPDIR": str(folder)}, who
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: Sequence[str], env: Mapping[str, str], who: _Who, text: str = "") -> None:
    done = subprocess.run(
        command, input=text, env=env, cwd=env["HOME"], capture_output=True, text=True, **who
    )
    if done.returncode:
        pytest.fail(f"{command[0]}: {done.stdout[-2000:]}\n{done.stderr[-2000:]}", pytrace=False)


@contextmanager
def _running(
    name: str, command: Sequence[str], env: Mapping[str, str], who: _Who, log: Path
) -> Iterator[Callable[[Callable[[], None]], None]]:
    """The server runs inside; what is yielded waits until a try no longer fails."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=env, cwd=env["HOME"], **who
        )

    def ready(attempt: Callable[[], None]) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                return attempt()
            except Exception as error:  # noqa: BLE001 - each driver has errors of its own
                if process.poll() is not None or time.monotonic() > deadline:
                    tail = log.read_text(errors="replace")[-3000:]
                    pytest.fail(f"{name} did not start: {error}\n{tail}", pytrace=False)
                time.sleep(0.05)

    try:
        yield ready
    finally:
        process.kill()  # nothing of it is kept, and a polite end may take it twenty seconds
        process.wait()


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDB]:
    """A real MariaDB server."""
    with running_mariadb() as server:
        yield server


@pytest.fixture
def mariadb(mariadb_server: MariaDB) -> str:
    """The SQLAlchemy URL (`mysql://`) of a fresh, empty database of a real MariaDB."""
    return mariadb_server.fresh_database()


@pytest.fixture(scope="session")
def firebird_server() -> Iterator[Firebird]:
    """A real Firebird server."""
    with running_firebird() as server:
        yield server


@pytest.fixture
def firebird(firebird_server: Firebird) -> str:
    """The SQLAlchemy URL of a fresh, empty database of a real Firebird."""
    return firebird_server.fresh_database()
