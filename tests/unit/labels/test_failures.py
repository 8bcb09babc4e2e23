"""Each failure of a database has its own remedy, whichever driver it comes through."""

from __future__ import annotations

import gc
import secrets
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme
from sqlalchemy.engine import URL, make_url

from handful.errors import DataError, Denied, HandfulError, Unreachable, UserError
from handful.labels.database import DatabaseLabels
from tests.support.databases import (
    DUCKDB,
    MARIADB,
    POSTGRESQL,
    Driver,
    Firebird,
    MariaDB,
    running_mariadb,
    with_driver,
)
from tests.support.poolers import running_pgbouncer
from tests.support.servers import free_ports

ONE = "SELECT 1 AS artifact_id, 'x' AS label"


def rows(url: str | URL, query: str = ONE) -> list[dict[str, Any]]:
    return [row for b in DatabaseLabels(text(url), query).rows() for row in b.to_pylist()]


def text(url: str | URL) -> str:
    return url if isinstance(url, str) else url.render_as_string(hide_password=False)


def fails(
    url: str | URL, kind: type[HandfulError], remedy: str, *, query: str = ONE, seconds: float = 20
) -> str:
    """What is said: of `kind`, with `remedy` in its remedy, soon, and without the password."""
    start = time.monotonic()
    with pytest.raises(HandfulError) as caught:
        rows(url, query)
    error, password = caught.value, make_url(text(url)).password
    assert type(error) is kind, error
    assert remedy in error.fault.remedy, error
    assert time.monotonic() - start < seconds
    shown = "".join(traceback.format_exception(error))
    if password:
        assert str(password) not in shown
        assert quote(str(password), safe="") not in shown
    return str(error)


def nowhere(driver: Driver) -> URL:
    """A port of the loopback that nobody listens on."""
    password = f"pw-{secrets.token_hex(8)}"
    return make_url(f"{driver.name}://me:{password}@127.0.0.1:{free_ports(1)[0]}/db")


@contextmanager
def refuses_logins(answer: bytes) -> Iterator[int]:
    """A port where everybody is sent `answer` and let go: a server that is not ready."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    client.settimeout(5)
                    asked = client.recv(1024)
                    if asked[4:8] in (b"\x04\xd2\x16\x2f", b"\x04\xd2\x16\x30"):  # TLS, GSS: no
                        client.sendall(b"N")
                        asked = client.recv(1024)
                    client.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


# PostgreSQL


@dataclass(frozen=True)
class Postgres:
    owner: URL
    admin: str
    execute: Callable[..., None]


@pytest.fixture
def pg(postgres: str, postgres_server: Any) -> Postgres:
    import psycopg

    owner = make_url(postgres)
    admin = postgres_server.get_uri(database=owner.database)

    def execute(*statements: str) -> None:
        with psycopg.connect(admin, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[call-overload]

    execute(
        "CREATE TABLE secrets (artifact_id text, label text)",
        "CREATE TABLE labels (artifact_id text, label text)",
        f"GRANT SELECT ON labels TO {owner.username}",
    )
    return Postgres(owner, admin, execute)


@pytest.mark.parametrize("driver", POSTGRESQL, ids=str)
def test_postgresql_query(pg: Postgres, driver: Driver) -> None:
    url, user = with_driver(text(pg.owner), driver), pg.owner.username
    fails(url, Denied, "GRANT SELECT", query="SELECT * FROM secrets")
    fails(url, DataError, "LABEL_QUERY", query="SELECT * FROM lables")
    fails(url, DataError, "LABEL_QUERY", query="SELECT * FROM lables.labels")
    fails(url, DataError, "check its name", query="SELECT nix FROM labels")
    fails(url, DataError, "own client", query="SELEC 1")
    fails(url, DataError, "own client", query="SELECT 1 / 0 AS artifact_id, '' AS label")
    pg.execute(f"ALTER ROLE {user} SET statement_timeout = '200ms'")
    slow = "SELECT pg_sleep(9)::text AS artifact_id, '' AS label"
    fails(url, Unreachable, "statement_timeout", query=slow)
    pg.execute(f"ALTER ROLE {user} RESET ALL", f"ALTER ROLE {user} SET lock_timeout = '200ms'")
    import psycopg

    with psycopg.connect(pg.admin) as locker:
        locker.execute("LOCK TABLE labels")
        fails(url, Unreachable, "holds a lock", query="SELECT * FROM labels")


@pytest.mark.parametrize("driver", POSTGRESQL, ids=str)
def test_postgresql_login(pg: Postgres, driver: Driver) -> None:
    def there(**changes: Any) -> str:
        return with_driver(text(pg.owner.set(**changes)), driver)

    user = f"few_{secrets.token_hex(4)}"
    pg.execute(
        f"CREATE ROLE {user} LOGIN PASSWORD 'pw-few' CONNECTION LIMIT 0",
        f"CREATE DATABASE {user}_db",
        f"REVOKE CONNECT ON DATABASE {user}_db FROM public",
    )
    if driver.module == "pg8000":  # which hears what the server said only now and then
        for changes, kind in ({"password": "wrong"}, Denied), ({"database": "none"}, DataError):
            with pytest.raises((kind, Unreachable), match="check the"):
                rows(there(**changes))
        return
    fails(there(password="wrong-password"), Denied, "check the user, the password")
    fails(there(username="no_such_user"), Denied, "check the user, the password")
    fails(there(database="none"), DataError, "check the database's name")
    fails(there(database=f"{user}_db"), Denied, "GRANT")
    fails(there(username=user, password="pw-few"), Unreachable, "no more connections")


@pytest.mark.parametrize("driver", POSTGRESQL, ids=str)
def test_postgresql_nobody_answers(driver: Driver) -> None:
    driver.require()
    url = nowhere(driver)
    fails(url, Unreachable, "is the server up")
    unknown = fails(url.set(host="no-such-host.invalid"), Unreachable, "of DATABASE_URL")
    assert "no-such-host.invalid" in unknown


@pytest.mark.parametrize("driver", POSTGRESQL[:2], ids=str)
def test_postgresql_is_not_ready(driver: Driver) -> None:
    driver.require()
    fields = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"
    answer = b"E" + (len(fields) + 4).to_bytes(4, "big") + fields
    with refuses_logins(answer) as port:
        fails(nowhere(driver).set(port=port), Unreachable, "in a minute")


@pytest.mark.parametrize("driver", POSTGRESQL, ids=str)
def test_postgresql_connection_lost(pg: Postgres, driver: Driver) -> None:
    many = "SELECT n::text AS artifact_id, repeat('x', 99) AS label "
    many += "FROM generate_series(1, 900000) AS n"
    batches = DatabaseLabels(with_driver(text(pg.owner), driver), many).rows()
    next(batches)
    pg.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE usename = '{pg.owner.username}'"
    )
    with pytest.raises(Unreachable, match="run it again"):
        list(batches)


@pytest.mark.parametrize("driver", POSTGRESQL, ids=str)
def test_pgbouncer_in_statement_mode(pg: Postgres, driver: Driver) -> None:
    with running_pgbouncer(text(pg.owner), "pool_mode = statement") as url:
        told = UserError if driver.module == "psycopg" else Unreachable
        fails(with_driver(text(url), driver), told, "session or transaction mode")


@pytest.mark.parametrize("driver", POSTGRESQL[:2], ids=str)
def test_pgbouncer_refuses_options_and_guests(pg: Postgres, driver: Driver) -> None:
    with running_pgbouncer(text(pg.owner), "pool_mode = transaction", "max_client_conn = 1") as url:
        there = make_url(with_driver(text(url), driver))
        path = there.update_query_dict({"options": "-c search_path=public"})
        fails(path, UserError, "leave it out")
        fails(there.set(password="wrong"), Denied, "check the user, the password")
        import psycopg

        with psycopg.connect(text(url.set(drivername="postgresql"))):
            fails(there, Unreachable, "no more connections")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.mark.parametrize("driver", POSTGRESQL[:2], ids=str)
def test_postgresql_tls(
    pg: Postgres, driver: Driver, authority: trustme.CA, tmp_path: Path
) -> None:
    good, other = tmp_path / "good.pem", tmp_path / "other.pem"
    authority.cert_pem.write_to_path(str(good))
    trustme.CA().cert_pem.write_to_path(str(other))
    issued = authority.issue_cert("127.0.0.1")
    files = {
        "key": issued.private_key_pem.bytes(),
        "cert": b"".join(blob.bytes() for blob in issued.cert_chain_pems),
    }
    options = ["client_tls_sslmode = require"]
    options += ["client_tls_key_file = {folder}/key", "client_tls_cert_file = {folder}/cert"]
    with running_pgbouncer(text(pg.owner), *options, files=files) as url:
        there = make_url(with_driver(text(url), driver))

        def by(mode: str, root: Path | None = None) -> URL:
            named = {"sslrootcert": str(root)} if root else {}
            return there.update_query_dict({"sslmode": mode, **named})

        fails(by("disable"), Denied, "sslmode=require")
        assert rows(by("require"))  # the remedy is one
        assert rows(by("verify-full", good))
        fails(by("verify-full", other), Denied, "sslrootcert")
        fails(by("verify-full", tmp_path / "none.pem"), Denied, "sslrootcert")
    with running_pgbouncer(text(pg.owner)) as url:
        there = make_url(with_driver(text(url), driver))
        fails(there.update_query_dict({"sslmode": "require"}), Denied, "the server has none")


# MariaDB


@pytest.fixture
def maria(mariadb: str, mariadb_server: MariaDB) -> URL:
    url = make_url(mariadb)
    mariadb_server.execute(
        "CREATE TABLE labels (artifact_id int, label int, hidden int) ENGINE = InnoDB",
        "INSERT INTO labels VALUES (1, 1, 1)",
        "CREATE OR REPLACE DATABASE others",
        "CREATE TABLE others.labels (artifact_id int, label int)",
        "CREATE OR REPLACE USER guest@'%' IDENTIFIED BY 'pw-guest'",
        f"GRANT SELECT (artifact_id, label) ON {url.database}.labels TO guest@'%'",
        "CREATE OR REPLACE USER few@'%' IDENTIFIED BY 'pw-few' WITH MAX_USER_CONNECTIONS 1",
        f"GRANT SELECT ON {url.database}.* TO few@'%'",
        database=url.database,
    )
    return url


@pytest.mark.parametrize("driver", MARIADB, ids=str)
@pytest.mark.slow
def test_mariadb_query(maria: URL, driver: Driver, mariadb_server: MariaDB) -> None:
    url = with_driver(text(maria), driver)
    guest = with_driver(text(maria.set(username="guest", password="pw-guest")), driver)
    fails(guest, Denied, "GRANT SELECT", query="SELECT * FROM others.labels")  # 1142
    fails(guest, Denied, "GRANT SELECT", query="SELECT hidden FROM labels")  # 1143
    fails(url, DataError, "LABEL_QUERY", query="SELECT * FROM lables")
    fails(url, DataError, "check its name", query="SELECT nix FROM labels")
    fails(url, DataError, "own client", query="SELEC 1")
    limit = "/*M!100100 SET STATEMENT {} FOR */ SELECT {} AS artifact_id, 1 AS label FROM labels"
    del limit
    mariadb_server.execute(
        "SET GLOBAL max_statement_time = 0.3", "SET GLOBAL lock_wait_timeout = 1"
    )
    try:
        slow = "SELECT sum(seq) AS artifact_id, 1 AS label FROM seq_1_to_100000000"
        fails(url, Unreachable, "max_statement_time", query=slow)
        mariadb_server.execute("SET GLOBAL max_statement_time = 0")
        with _locked(maria):
            fails(url, Unreachable, "holds a lock", query="SELECT * FROM labels")
    finally:
        mariadb_server.execute(
            "SET GLOBAL max_statement_time = 0", "SET GLOBAL lock_wait_timeout = 86400"
        )


@contextmanager
def _locked(url: URL) -> Iterator[None]:
    with _mysql(url) as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLES labels WRITE")
        yield


def _mysql(url: URL) -> Any:
    import pymysql

    return pymysql.connect(
        host=url.host or "",
        port=url.port or 0,
        user=url.username,
        password=str(url.password),
        database=url.database,
    )


@pytest.mark.parametrize("driver", MARIADB, ids=str)
def test_mariadb_login(maria: URL, driver: Driver, mariadb_server: MariaDB) -> None:
    def there(**changes: Any) -> str:
        return with_driver(text(maria.set(**changes)), driver)

    fails(there(password="wrong-password"), Denied, "check the user, the password")  # 1045
    fails(there(database="none"), Denied, "may not use that database")  # 1044
    root = mariadb_server.url(database="none")
    fails(with_driver(root, driver), DataError, "check the database's name")  # 1049
    guest = {"username": "guest", "password": "pw-guest", "database": "others"}
    fails(there(**guest), Denied, "may not use that database")
    few = maria.set(username="few", password="pw-few")
    with _mysql(few):
        fails(with_driver(text(few), driver), Unreachable, "no more connections")


@pytest.mark.parametrize("driver", MARIADB, ids=str)
def test_mariadb_nobody_answers(driver: Driver) -> None:
    driver.require()
    fails(nowhere(driver), Unreachable, "is the server up")
    unknown = nowhere(driver).set(host="no-such-host.invalid")
    assert "no-such-host.invalid" in fails(unknown, Unreachable, "spelled right?")


@pytest.mark.parametrize("driver", MARIADB, ids=str)
def test_mariadb_an_error_after_many_rows_is_no_end_of_them(maria: URL, driver: Driver) -> None:
    """MariaDB's own driver would give the rows before it, and nothing of the error."""
    many = "SELECT * FROM (SELECT seq AS artifact_id, IF(seq = 50000, "
    many += "(SELECT 1 UNION SELECT 2), 1) AS label FROM seq_1_to_60000) AS x"
    said = fails(with_driver(text(maria), driver), DataError, "own client", query=many)
    assert "more than 1 row" in said


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # PyMySQL's
@pytest.mark.parametrize("driver", MARIADB, ids=str)
@pytest.mark.slow
def test_mariadb_connection_lost(maria: URL, driver: Driver, mariadb_server: MariaDB) -> None:
    many = "SELECT seq AS artifact_id, repeat('x', 500) AS label FROM seq_1_to_200000"
    batches = DatabaseLabels(with_driver(text(maria), driver), many).rows()
    next(batches)
    with _mysql(make_url(mariadb_server.url(database="others"))) as root, root.cursor() as cursor:
        cursor.execute("SHOW PROCESSLIST")
        for identity, user, *_ in cursor.fetchall():
            if user == maria.username:
                cursor.execute(f"KILL {identity}")
    with pytest.raises(Unreachable, match="run it again"):
        list(batches)
    del batches
    gc.collect()  # PyMySQL reads on when a cursor goes, and complains


TLS = {
    "pymysql": {"ssl_ca": "{ca}"},
    "mysql.connector": {"ssl_ca": "{ca}", "ssl_verify_cert": "true"},
    "MySQLdb": {"ssl_ca": "{ca}", "ssl_mode": "REQUIRED"},
    "mariadb": {"ssl_ca": "{ca}", "ssl_verify_cert": "true"},
}


@pytest.fixture(scope="module")
def tls_mariadb(
    authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MariaDB]:
    """MariaDB that lets nobody in without TLS."""
    with ExitStack() as stack:
        import tempfile

        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="handful-tls-")))
        folder.chmod(0o755)
        issued = authority.issue_cert("127.0.0.1", "localhost")
        issued.private_key_pem.write_to_path(str(folder / "key"))
        (folder / "key").chmod(0o644)
        (folder / "cert").write_bytes(b"".join(b.bytes() for b in issued.cert_chain_pems))
        options = [f"--ssl-key={folder}/key", f"--ssl-cert={folder}/cert"]
        yield stack.enter_context(running_mariadb(*options, "--require-secure-transport=ON"))


@pytest.mark.parametrize("driver", MARIADB, ids=str)
def test_mariadb_tls(
    driver: Driver,
    tls_mariadb: MariaDB,
    mariadb: str,
    authority: trustme.CA,
    tmp_path: Path,
) -> None:
    good, other = tmp_path / "good.pem", tmp_path / "other.pem"
    authority.cert_pem.write_to_path(str(good))
    trustme.CA().cert_pem.write_to_path(str(other))

    def by(url: str, ca: Path) -> URL:
        options = {name: value.format(ca=ca) for name, value in TLS[driver.module].items()}
        return make_url(with_driver(url, driver)).update_query_dict(options)

    there = tls_mariadb.url(database="mysql")
    assert rows(by(there, good))
    plain = make_url(with_driver(there, driver))
    if driver.module in {"mysql.connector", "pymysql"}:  # TLS by themselves, where it is to be had
        assert rows(plain)
        plain = plain.update_query_dict({"ssl_disabled": "true"})
    fails(plain, Denied, "demand TLS: ?ssl_ca=FILE")
    fails(by(there, other), Denied, "certificate")
    # Some drivers would go on in the clear.
    fails(by(mariadb, good), Denied, "the server has none")


# Files, and Firebird


def test_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE labels (artifact_id, label)")
        connection.commit()
        url = f"sqlite:///{path}"
        fails(url, DataError, "LABEL_QUERY", query="SELECT * FROM lables")
        fails(url, DataError, "check its name", query="SELECT nix FROM labels")
        fails(url, DataError, "own client", query="SELEC 1")
        connection.execute("BEGIN EXCLUSIVE")
        fails(f"{url}?timeout=0.1", Unreachable, "holds a lock", query="SELECT * FROM labels")
    path.write_bytes(b"not a database, not even nearly so " * 99)
    fails(url, DataError, "a file of another kind", query="SELECT * FROM labels")


def test_duckdb(tmp_path: Path) -> None:
    DUCKDB.require()
    path = tmp_path / "labels.db"
    program = "import duckdb, sys; c = duckdb.connect(sys.argv[1])\n"
    program += "c.execute('CREATE TABLE labels AS SELECT 1 AS artifact_id')\n"
    program += "print('ready', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout
        holder.stdout.readline()
        url = f"duckdb:///{path}"
        assert str(holder.pid) in fails(url, Unreachable, "another process has")
    fails(url, DataError, "LABEL_QUERY", query="FROM lables")
    fails(url, DataError, "check its name", query="SELECT nix FROM labels")
    fails(url, DataError, "own client", query="SELEC 1")
    path.write_bytes(b"not a database, not even nearly so " * 999)
    fails(url, DataError, "a file of another kind")


def test_duckdb_that_this_process_writes_to(tmp_path: Path) -> None:
    DUCKDB.require()
    import duckdb

    with duckdb.connect(str(tmp_path / "labels.db")):
        fails(f"duckdb:///{tmp_path}/labels.db", Unreachable, "run it again when that is done")


def test_firebird(firebird: str, firebird_server: Firebird) -> None:
    from firebird.driver import connect

    url = make_url(firebird)
    one = "SELECT 1 AS artifact_id, 2 AS label FROM RDB$DATABASE"
    place = f"127.0.0.1/{url.port}:{url.database}"
    guest = f"G{secrets.token_hex(3)}".upper()
    with connect(place, user="SYSDBA", password=firebird_server.password) as admin:
        cursor = admin.cursor()
        for statement in (
            "CREATE TABLE labels (artifact_id INT, label INT)",
            f"CREATE USER {guest} PASSWORD 'pw-guest'",
        ):
            cursor.execute(statement)
            admin.commit()
        assert rows(url, one)
        fails(url, DataError, "LABEL_QUERY", query="SELECT * FROM lables")
        fails(url, DataError, "check its name", query="SELECT nix FROM labels")
        fails(url, DataError, "own client", query="SELEC 1")
        fails(url.set(password="wrong-one"), Denied, "check the user, the password", query=one)
        other = url.set(username=guest, password="pw-guest")
        fails(other, Denied, "GRANT SELECT", query="SELECT * FROM labels")
        fails(url.set(database=f"{url.database}x"), DataError, "database's name", query=one)
        fails(url.set(host="no-such-host.invalid"), Unreachable, "spelled right?", query=one)
        fails(url.set(port=free_ports(1)[0]), Unreachable, "is the server up", query=one)
