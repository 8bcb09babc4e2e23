"""Says what a database's error means, and what to do about it, without showing any secret."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError

from handful.errors import HandfulError, Unreachable
from handful.errors.redaction import blotter
from handful.labels.failure_kinds import (
    ENCODE,
    ENDED_AT_ONCE,
    KINDS,
    LOST,
    NO_ANSWER,
    QUERY,
    FailureKind,
)

_QUERY = "[production] LABEL_QUERY"
_CLIENT_CODES = range(2000, 3000)
"""MySQL's codes that are its client's own, and say little: the words say more."""


def shown(url: URL) -> str:
    """The URL as a message may show it: no login, and no options, which may hold one too."""
    if _may_hold_password(url):
        return f"{url.get_backend_name()}://…"
    port = f":{url.port}" if url.port else ""
    return f"{url.get_backend_name()}://{url.host or ''}{port}/{url.database or ''}"


def _may_hold_password(url: URL) -> bool:
    """An `@` behind the host: a part of a password that was not encoded may stand there."""
    return bool(url.host or url.username) and "@" in f"{url.database}{url.query}"


def translate_database_error(error: DBAPIError, url: URL, *, connected: bool) -> HandfulError:
    """The error to raise for `error`, which came before or after the login succeeded."""
    said = _format_driver_message(error)
    words, kind = without_secrets(said, url), _kind(error, said, connected=connected)
    if kind.of_query:
        where = f"{_QUERY} on {shown(url)}"
        return kind.error(f"the query failed: {words}", where=where, remedy=kind.remedy)
    if not connected and _may_hold_password(url):
        return Unreachable(
            f"cannot be opened ({kind.name}); what the driver says is left out, since it may hold "
            "a part of the password",
            where=shown(url),
            remedy=f"there is an '@' behind the host; if it is the password's, {ENCODE}",
        )
    return kind.error(words, where=shown(url), remedy=kind.remedy)


def build_mysql_query_error(code: int, words: str, url: URL) -> HandfulError:
    """The error for what MySQL or MariaDB said, where its driver kept it to itself."""
    kind = next((kind for kind in KINDS if code in kind.codes), QUERY)
    told = without_secrets(words, url)
    return kind.error(f"the query failed: {told}", where=shown(url), remedy=kind.remedy)


def _kind(error: DBAPIError, words: str, *, connected: bool) -> FailureKind:
    kind = _kind_of_words_and_codes(error, words, connected=connected)
    if kind is LOST and not connected:
        at_once = ENDED_AT_ONCE.words and ENDED_AT_ONCE.words.search(words)
        return ENDED_AT_ONCE if at_once else NO_ANSWER
    return kind


def _kind_of_words_and_codes(error: DBAPIError, words: str, *, connected: bool) -> FailureKind:
    code, state = _code(error), _state(error)
    by_code = next((kind for kind in KINDS if code in kind.codes), None)
    is_servers = bool(code) and code not in _CLIENT_CODES
    if is_servers:
        return by_code or QUERY
    # What a server says in a code says more than its words, which may quote anything.
    if not (state and connected and _is_postgresql(error)):
        for kind in KINDS:
            if kind.words and kind.words.search(words):
                return kind
    if by_code:
        return by_code
    for kind in KINDS:
        if state and not code and state.startswith(kind.states or ("-",)):
            return kind
    if error.connection_invalidated:
        return LOST
    if not connected and isinstance(error, OperationalError | InterfaceError):
        return NO_ANSWER
    return QUERY


def without_secrets(words: str, url: URL) -> str:
    """`words` with the login and every option's value of the URL blotted out, however escaped."""
    secrets = {str(url.password)} if url.password else set()
    for values in url.normalized_query.values():
        for value in values:
            secrets.add(value)
            # A connection string of its own, as `odbc_connect` has it.
            secrets |= {part.partition("=")[2] for part in value.split(";") if "=" in part}
    open_parts = {url.host, url.database, url.get_backend_name(), url.get_driver_name()}
    user = {url.username} if url.username and url.username not in open_parts else set()
    return blotter({*secrets, *user}, shortest=1)(words)


def hider(url: str, shown_as: str) -> Callable[[str], str]:
    """Hides where the database lies, and shows `shown_as` instead; if that is empty, nothing."""
    if not shown_as:
        return str
    try:
        found = make_url(re.sub(r"^postgres(?=\+|://)", "postgresql", url))
    except (ArgumentError, ValueError):
        return str
    parts = {found.host or "", found.database or "", Path(found.database or "").name} - {""}
    address = shown(found)

    def hide(words: str) -> str:
        return blotter(parts, shortest=1)(words.replace(address, shown_as))

    return hide


@contextmanager
def without_address(hide: Callable[[str], str]) -> Iterator[None]:
    """Errors of the body, with their words as `hide` has them."""
    try:
        yield
    except HandfulError as error:
        if hide(str(error)) == str(error):
            raise
        fault = error.fault
        told = hide(fault.what), hide(fault.where), hide(fault.remedy)
        raise type(error)(told[0], where=told[1], remedy=told[2]) from None


def _format_driver_message(error: DBAPIError) -> str:
    said = error.orig if error.orig is not None else error
    fields = _fields(error)
    text = "\n".join(fields[key] for key in "MDH" if key in fields) if fields else str(said)
    return " / ".join(line.strip() for line in text.strip().splitlines() if line.strip())


def _fields(error: DBAPIError) -> dict[str, Any]:
    """What pg8000 gives instead of a text: PostgreSQL's fields by their letters."""
    arguments = getattr(error.orig, "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], dict) else {}


def _state(error: DBAPIError) -> str:
    """The SQLSTATE of the database's answer; "" if there was no answer."""
    original = error.orig
    found = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
    return str(found or _fields(error).get("C") or "")


def _code(error: DBAPIError) -> int:
    """MySQL's number of the error, which each driver carries in its own way; 0: there is none."""
    arguments = getattr(error.orig, "args", ())
    for found in (getattr(error.orig, "errno", None), *arguments[:1]):
        if isinstance(found, int):
            return found
    return 0


def _is_postgresql(error: DBAPIError) -> bool:
    return type(error.orig).__module__.split(".")[0] in {"psycopg", "psycopg2", "pg8000"}
