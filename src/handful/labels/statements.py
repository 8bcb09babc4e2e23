"""Looks at LABEL_QUERY before it is sent: a statement that would write is refused.

The database itself is opened read-only where it can be (see `connection`). What a read-only
transaction lets through all the same (files of the server, sequences, locks, other connections) and
what databases without one do is found here, in the words of the query and by sqlglot.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy.engine import URL

from handful.errors import DataError
from handful.labels.drivers.duckdb_file import is_in_memory
from handful.labels.plain_select import is_plain_select
from handful.labels.writing_words import (
    FOLLOWS,
    OTHER_QUERY,
    READING,
    ROW_LOCKS,
    WRITING,
    WRITING_FUNCTION,
    WRITING_PARTS,
)
from handful.progress import Progress, Silent

if TYPE_CHECKING:
    from sqlglot import Token

_STATEMENT_FAULT_PLACE = "[production] LABEL_QUERY"
_REMEDY = "write one statement that only reads: a SELECT, with WITH, VALUES or SHOW"
_SQLGLOT_DIALECTS = {
    "awsathena": "athena",
    "bigquery": "bigquery",
    "clickhouse": "clickhouse",
    "clickhousedb": "clickhouse",
    "cockroachdb": "postgres",
    "databricks": "databricks",
    "doris": "doris",
    "duckdb": "duckdb",
    "hive": "hive",
    "mariadb": "mysql",
    "mssql": "tsql",
    "mysql": "mysql",
    "oracle": "oracle",
    "postgresql": "postgres",
    "presto": "presto",
    "redshift": "redshift",
    "snowflake": "snowflake",
    "sqlite": "sqlite",
    "starrocks": "starrocks",
    "teradatasql": "teradata",
    "trino": "trino",
}
"""SQLAlchemy's kind of database → sqlglot's dialect; any other is read as plain SQL."""
_READ_ONLY = {"duckdb", "firebird", "mariadb", "mysql", "oracle", "postgresql", "sqlite"}
"""Kinds that refuse to write by themselves, as `connection` opens them."""
_OWN_TRANSACTIONS = {"mariadb", "mysql"}
"""Kinds that are read-only, but in which a procedure may begin a transaction that is not."""
_SEQUENCE_ATTRIBUTE = {"db2", "ibm_db_sa", "hana", "oracle", "snowflake"}
"""Kinds in which `name.NEXTVAL` draws from a sequence."""


def check_statement(query: str, url: URL, progress: Progress | None = None) -> None:
    """`DataError` if `query` would write; a warning if nobody can tell and the server is read-only.

    A stored procedure may do what it likes in a database that is not read-only: that is said, too.
    """
    kind = url.get_backend_name()
    progress = progress or Silent()
    is_read_only = kind in _READ_ONLY and not (kind == "duckdb" and is_in_memory(url))
    if kind == "duckdb":
        _check_with_duckdb(query)
    if is_read_only and is_plain_select(query):
        return
    dialect = _SQLGLOT_DIALECTS.get(kind, "")
    doubts = [
        _check_statement_tokens(text, dialect, kind)
        for text in _as_servers_may_read_it(query, dialect)
    ]
    doubt = next(filter(None, doubts), "")
    if doubt and not (is_read_only or kind == "duckdb"):
        raise DataError(
            f"whether the query writes cannot be told: {doubt}; and {kind} is not read-only here",
            where=_STATEMENT_FAULT_PLACE,
            remedy=f"{_REMEDY}; or make a view of it in the database, and take that",
        )
    if doubt and kind != "duckdb":
        progress.warn(
            f"{_STATEMENT_FAULT_PLACE}: whether it writes cannot be told ({doubt}); "
            f"{kind} runs it in a read-only session, which refuses most of what writes"
        )
    elif _calls_procedure(query) and (kind in _OWN_TRANSACTIONS or not is_read_only):
        progress.warn(
            f"{_STATEMENT_FAULT_PLACE} calls a procedure, which in {kind} may write "
            "whatever the user of "
            "DATABASE_URL may write: give it a user who may only read"
        )


def _as_servers_may_read_it(query: str, dialect: str) -> Sequence[str]:
    """MySQL runs what stands in `/*! … */`, other databases take it for a comment."""
    query = query.strip().lstrip(";")  # SQL Server's people write ;WITH
    if dialect != "mysql" or not re.search(r"/\*M?!", query):
        return (query,)
    return (query, re.sub(r"/\*M?!\d*(.*?)\*/", r" \1 ", query, flags=re.DOTALL))


def _check_statement_tokens(query: str, dialect: str, kind: str) -> str:
    """Why it cannot be told whether the query writes; "" if it does not."""
    tokens = _tokens(query, dialect)
    for what in _writing(tokens, kind):
        raise _build_statement_error(what)
    return (
        _check_statement_tree(query, dialect, tokens) if tokens else "it cannot be split into words"
    )


def _build_statement_error(what: str, remedy: str = _REMEDY) -> DataError:
    return DataError(
        f"the query is not run: it {what}", where=_STATEMENT_FAULT_PLACE, remedy=remedy
    )


def _writing(tokens: Sequence[Token], kind: str) -> Iterator[str]:
    """What in the words of a query writes."""
    words = [_word(token) for token in tokens]
    opening = _opening(words)
    if opening in WRITING:
        yield f"is {opening}"
    is_block = words[:2] == ["EXECUTE", "BLOCK"]  # Firebird: its statements end in semicolons
    behind = words[words.index(";") :] if ";" in words else []
    if not is_block and any(word != ";" for word in behind):
        yield "is several statements"
    if opening == "EXPLAIN" and {*FOLLOWS, "UPDATE", "CREATE", "COPY", "EXPORT"} & set(words):
        yield "explains what writes, and may run it for that"
    if opening in {"EXEC", "EXECUTE"} and _runs_text(words):
        yield "runs a text as a statement"
    for index in range(len(words)):
        yield from _writing_at(tokens, words, index, kind)


def _writing_at(
    tokens: Sequence[Token], words: Sequence[str], index: int, kind: str
) -> Iterator[str]:
    word, following = words[index], words[index + 1] if index + 1 < len(words) else ""
    before = words[index - 1] if index else ""
    if following == "(" and WRITING_FUNCTION.fullmatch(word) and not _only_looks(words, index):
        yield f"calls {word.lower()}()"
    if word in OTHER_QUERY and following == "(":
        yield from _in_other_query(tokens, index)
    if word == "INTO" and following in {"OUTFILE", "DUMPFILE"}:
        yield f"writes a file of the server (INTO {following})"
    if words[index : index + 3] == ["NEXT", "VALUE", "FOR"]:
        yield "draws from a sequence (NEXT VALUE FOR)"
    if word == "NEXTVAL" and before == "." and kind in _SEQUENCE_ATTRIBUTE:
        yield "draws from a sequence (NEXTVAL)"
    if [word, following] in (["FOR", "UPDATE"], ["FOR", "SHARE"]):
        yield f"locks the rows that it reads ({word} {following})"
    updates = word == "UPDATE" and "SET" in words[index + 2 : index + 6]
    if before == "(" and (updates or (word in FOLLOWS and following == FOLLOWS[word])):
        yield f"has {word} in it"


def _opening(words: Sequence[str]) -> str:
    return next((word for word in words if word != "("), "")


def _runs_text(words: Sequence[str]) -> bool:
    procedures = {"SP_EXECUTESQL", "XP_CMDSHELL"}
    return words[1:2] in (["IMMEDIATE"], ["("]) or not procedures.isdisjoint(words)


def _word(token: Token) -> str:
    """A word as it is compared; a text in quotes is none."""
    from sqlglot import TokenType

    texts = {TokenType.STRING, TokenType.NATIONAL_STRING, TokenType.RAW_STRING}
    texts |= {TokenType.HEREDOC_STRING, TokenType.UNICODE_STRING, TokenType.BYTE_STRING}
    return "'…'" if token.token_type in texts else token.text.upper()


def _only_looks(words: Sequence[str], index: int) -> bool:
    """`GEN_ID(g, 0)` looks; `set_config(…, true)` ends with the transaction."""
    arguments = _arguments(words, index)
    if words[index] == "GEN_ID":
        return arguments[-2:] == [",", "0"]
    return words[index] == "SET_CONFIG" and arguments[-2:] == [",", "TRUE"]


def _arguments(words: Sequence[str], index: int) -> list[str]:
    """What stands between the parentheses after `index`."""
    depth, found = 0, []
    for word in words[index + 1 :]:
        depth += (word == "(") - (word == ")")
        if depth == 0:
            break
        found.append(word)
    return found[1:]


def _in_other_query(tokens: Sequence[Token], index: int) -> Iterator[str]:
    """A query in quotes that another server is to run, such as OPENQUERY's."""
    length = len(_arguments([_word(token) for token in tokens], index))
    for token in tokens[index + 2 : index + 2 + length]:
        if _word(token) == "'…'" and any(True for _ in _writing(_tokens(token.text), "")):
            yield f"passes on what writes ({tokens[index].text})"


def _tokens(query: str, dialect: str = "") -> list[Token]:
    """The words of a query; none if it cannot be split into words."""
    from sqlglot import TokenType
    from sqlglot.dialects import Dialect
    from sqlglot.errors import SqlglotError

    speaks = Dialect.get_or_raise(dialect or None)
    try:
        found = speaks.tokenize(query)
    except SqlglotError:
        return []
    # Behind a word such as EXPLAIN or EXECUTE sqlglot leaves the rest in one piece.
    is_command = bool(found) and found[0].token_type in speaks.tokenizer_class.COMMANDS
    if is_command and len(found) > 1 and found[1].token_type == TokenType.STRING:
        return [found[0], *_tokens(found[1].text, dialect), *found[2:]]
    return list(found)


def _check_statement_tree(query: str, dialect: str, tokens: Sequence[Token]) -> str:
    """Why the query cannot be understood; "" if it can, and only reads."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        with _quiet():
            (statement, *_) = sqlglot.parse(query, read=dialect or None) or [None]
    except (SqlglotError, RecursionError) as error:
        return f"sqlglot cannot read it: {str(error).splitlines()[0].split('. Line')[0]}"
    if statement is None:
        return ""  # nothing is there; the database says so
    for node in statement.walk():
        if isinstance(node, exp.Into):
            raise _build_statement_error("is SELECT INTO")
        if isinstance(node, exp.Lock):
            raise _build_statement_error("locks the rows that it reads", ROW_LOCKS)
        if type(node).__name__ in WRITING_PARTS:
            raise _build_statement_error(f"has {node.key.upper()} in it")
    known = isinstance(statement, exp.Query | exp.Values | exp.Table | exp.Pivot | exp.Show)
    opening = _opening([_word(token) for token in tokens])
    return "" if known or opening in READING else f"{opening or 'it'} is unknown here"


@contextmanager
def _quiet() -> Iterator[None]:
    """sqlglot logs a query that it does not know every word of."""
    logger = logging.getLogger("sqlglot")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _calls_procedure(query: str) -> bool:
    return query.lstrip().upper().startswith(("EXEC", "CALL", "{"))


def _check_with_duckdb(query: str) -> None:
    """DuckDB's own parser knows its statements; what it cannot read, it will not run."""
    import duckdb

    try:
        with duckdb.connect(":memory:") as connection:
            statements = connection.extract_statements(query)
    except duckdb.Error:
        return
    kinds = [statement.type.name for statement in statements]
    if len(kinds) > 1:
        raise _build_statement_error("is several statements")
    # PIVOT without IN is MULTI: it makes a temporary type first.
    reading = {"SELECT", "EXPLAIN", "PRAGMA", "CALL", "MULTI", "RELATION"}
    for kind in set(kinds) - reading:
        raise _build_statement_error(f"is {kind}")
