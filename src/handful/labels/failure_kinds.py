"""The kinds of failures that databases have, how each server spells them, and what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from handful.errors import DataError, Denied, HandfulError, Unreachable, UserError


@dataclass(frozen=True)
class FailureKind:
    """One kind of failure, known by an SQLSTATE, by MySQL's number, or by words."""

    name: str
    error: type[HandfulError]
    remedy: str
    states: tuple[str, ...] = ()
    """SQLSTATEs, or how they begin: PostgreSQL's and Firebird's; MySQL's codes say more."""
    codes: frozenset[int] = field(default_factory=frozenset)
    """MySQL's and MariaDB's."""
    words: re.Pattern[str] | None = None
    of_query: bool = False
    """The query is at fault, not the connection."""


def _words(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.IGNORECASE)


ENCODE = (
    "percent-encode the special characters of the password: "
    "@ is %40, / is %2F, # is %23, ? is %3F, : is %3A, % is %25"
)

LOST = FailureKind(
    "connection lost",
    Unreachable,
    "the connection was lost; run it again",
    ("08", "57P01", "57P02", "57P05", "25P03", "25P04"),
    frozenset({1053, 1927, 2006, 2013, 2055}),
    _words("server closed the connection", "connection (was )?(lost|killed|reset)", "broken pipe"),
)
ENDED_AT_ONCE = FailureKind(
    "session ended at once",
    Unreachable,
    "check the user, the password and the database's name (the driver does not say what is wrong; "
    "psycopg does); pgbouncer in statement mode ends sessions so, too: let DATABASE_URL name the "
    "server itself, or a pool in session or transaction mode",
    words=_words("^network error$", "server closed the connection"),
)
NO_ANSWER = FailureKind(
    "no answer", Unreachable, "is the server up, and the host and port of DATABASE_URL right?"
)
QUERY = FailureKind(
    "query", DataError, "run the query in the database's own client, and mend it", of_query=True
)

NO_TLS = FailureKind(
    "no TLS",
    Denied,
    "DATABASE_URL demands TLS and the server has none: is it the right port? "
    "Otherwise take the option about TLS out of DATABASE_URL",
    codes=frozenset({2026}),
    words=_words("does not support SSL", "SSL is required", "doesn't support it", "SSL error"),
)

KINDS = (
    FailureKind(
        "option",
        UserError,
        "correct that option of DATABASE_URL",
        words=_words(
            r"invalid \w+ value", "bad value for", "invalid integer value", "failed to cast value"
        ),
    ),
    FailureKind(
        "statement pooling",
        UserError,
        "pgbouncer in statement mode has no transactions, so no read-only ones: let DATABASE_URL "
        "name the server itself, or a pool in session or transaction mode",
        words=_words("not allowed in statement pooling mode", "statement pooling"),
    ),
    FailureKind(
        "startup parameter",
        UserError,
        "the pooler refuses an option of DATABASE_URL: leave it out, or name the server itself",
        words=_words("unsupported startup parameter"),
    ),
    FailureKind(
        "TLS demanded",
        Denied,
        "the server does not let this user in from here without TLS: add ?sslmode=require to "
        "DATABASE_URL (psycopg, psycopg2), or what the driver has for it; "
        "if that changes nothing, ask to be let in",
        codes=frozenset({3159}),
        words=_words(
            "no pg_hba.conf entry.*(no encryption|SSL off)", "insecure transport", "SSL required"
        ),
    ),
    FailureKind(
        "certificate",
        Denied,
        "name the certificate of the authority that signed the server's in DATABASE_URL: "
        "?sslrootcert=FILE (PostgreSQL) or ?ssl_ca=FILE (MariaDB, MySQL); "
        "the host must be one that the certificate names",
        words=_words(
            "certificate verify failed",
            "local issuer certificate",
            "certificate is not trusted",
            "root certificate file",
            "self.signed certificate",
            "server certificate for",
            "certificate has expired",
            "validation of .*certificate failed",
        ),
    ),
    NO_TLS,
    FailureKind(
        "rights",
        Denied,
        "the login is right, but its user may not read that: ask for GRANT SELECT on it",
        ("42501",),
        frozenset({1142, 1143, 1227, 1345, 1370, 1410}),
        _words(
            r"no permission for \w+ access",
            "permission denied for",
            "insufficient privilege",
            "command denied to user",
        ),
    ),
    FailureKind(
        "database denied",
        Denied,
        "the login is right, but its user may not use that database, or there is none of that name "
        "(MySQL and MariaDB do not say which)",
        codes=frozenset({1044}),
    ),
    FailureKind(
        "login",
        Denied,
        "check the user, the password and the rights in [production] DATABASE_URL; "
        f"{ENCODE}; MySQL and MariaDB say so, too, where they demand TLS: ?ssl_ca=FILE",
        ("28",),
        frozenset({1045, 1130, 1251, 1275, 1396, 1698, 1820, 1862, 2054, 2059, 3118, 4151}),
        _words(
            "password authentication failed",
            "no password supplied",
            "no pg_hba.conf entry",
            "is not permitted to log in",
            "role .* does not exist",
            "access denied",
            "login failed",
            "authentication failed",
            "invalid username/password",
            "user name and password are not defined",
            "permission denied",
        ),
    ),
    FailureKind(
        "no database",
        DataError,
        "check the database's name in DATABASE_URL",
        ("3D000",),
        frozenset({1049}),
        _words(
            "unknown database",
            'database ".*" does not exist',
            "no such database",
            "error while trying to open file",
            "database does not exist",
        ),
    ),
    FailureKind(
        "held file",
        Unreachable,
        "another process has the database file open for writing: run it again when that is done, "
        "or name a copy of the file",
        words=_words(
            "could not set lock on file",
            "conflicting lock is held",
            "different configuration than existing connections",
            "used by another process",
            "already opened with engine instance",
        ),
    ),
    FailureKind(
        "no database file",
        DataError,
        "it is damaged, encrypted, or a file of another kind: does its own program open it?",
        words=_words(
            "file is not a database",
            "not a valid duckdb database",
            "malformed",
            "is not a valid database",
            "database file with version number",
        ),
    ),
    FailureKind(
        "standby",
        Unreachable,
        "the replica took the query back to catch up: run it again, or read from the primary",
        words=_words("conflict with recovery"),
    ),
    FailureKind(
        "locked",
        Unreachable,
        "somebody else holds a lock on it: run it again when that is done",
        ("55P03", "40001", "40P01"),
        frozenset({1205, 1213, 3572}),
        _words("database (table )?is locked", "lock conflict", "lock time-?out", "deadlock"),
    ),
    FailureKind(
        "time-out",
        Unreachable,
        "the server ends statements that take so long: let the query read less (an index, fewer "
        "columns), or have the time raised for this user (statement_timeout, max_statement_time)",
        ("57014",),
        frozenset({1317, 1969, 3024}),
        _words("statement timeout", "max_statement_time", "maximum statement execution time"),
    ),
    FailureKind(
        "too many connections",
        Unreachable,
        "the server takes no more connections now: run it again later, or have the limit raised",
        ("53300",),
        frozenset({1040, 1203, 1226}),
        _words(
            "too many (connections|clients)",
            "remaining connection slots",
            "no more connections allowed",
        ),
    ),
    FailureKind(
        "not ready",
        Unreachable,
        "the server is not ready yet, or is going down: run it again in a minute",
        ("57P03",),
        words=_words(
            r"database system is (starting up|shutting down|in recovery|not )",
            "not yet accepting connections",
            "server is starting up",
        ),
    ),
    FailureKind(
        "no room",
        Unreachable,
        "the server has no room or memory left for it: let the query sort and join less",
        ("53",),
        frozenset({1021, 1037, 1041}),
    ),
    FailureKind(
        "host unknown",
        Unreachable,
        "is the host of DATABASE_URL spelled right? If the password has special characters, "
        + ENCODE,
        codes=frozenset({2005}),
        words=_words(
            "failed to resolve host",
            "could not translate host name",
            "name or service not known",
            "name resolution",
            "nodename nor servname",
            "unknown server host",
            "failed to locate host",
            "getaddrinfo",
        ),
    ),
    FailureKind(
        "read-only",
        DataError,
        "the query would write, and production is read-only: write one that only reads",
        ("25006",),
        frozenset({1290, 1792, 1836}),
        _words(
            "read-only transaction",
            "read only transaction",
            "readonly database",
            "attached in read-only mode",
        ),
        of_query=True,
    ),
    FailureKind(
        "not authorized",
        DataError,
        "a query may not attach databases, write copies or load extensions",
        words=_words("^not authorized"),
        of_query=True,
    ),
    FailureKind(
        "no table",
        DataError,
        "check its name and schema in LABEL_QUERY; is it the right database, and the right user?",
        ("42P01", "42S02", "3F000"),
        frozenset({1146}),
        _words(
            "no such table",
            "table unknown",
            "table with name .* does not exist",
            "table or view does not exist",
            "invalid object name",
        ),
        of_query=True,
    ),
    FailureKind(
        "no column",
        DataError,
        "check its name in LABEL_QUERY",
        ("42703", "42S22"),
        frozenset({1054}),
        _words("no such column", "column unknown", "referenced column", "invalid column name"),
        of_query=True,
    ),
    LOST,
)
"""In the order in which words are looked for."""
