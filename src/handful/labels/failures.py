"""Says what a database's error means: denied, unreachable, or a query that is at fault."""

from __future__ import annotations

import re
from urllib.parse import quote, quote_plus

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from handful.errors import DataError, Denied, HandfulError, Unreachable

_QUERY = "[production] LABEL_QUERY"
_DENIED_STATES = ("28", "42501")
_UNREACHABLE_STATES = ("08", "53", "57P")
_DENIED_CODES = {1044, 1045, 1142, 1143, 1227, 1698}
"""MySQL's and MariaDB's: a login, or a right on a database, table or column, is refused."""
_DENIED_WORDS = (
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "is not permitted to log in",
    "access denied",
    "login failed",
    "authentication failed",
    "invalid username/password",
    "insufficient privilege",
    "permission denied",
)
_NO_DATABASE = re.compile(r'unknown database|database ".*" does not exist', re.IGNORECASE)
_SECRET_OPTIONS = ("pass", "pwd", "secret", "token", "key", "credential")


def shown(url: URL) -> str:
    """The URL as a message may show it: no password, and no options, which may hold one too."""
    user = f"{url.username}@" if url.username else ""
    port = f":{url.port}" if url.port else ""
    return f"{url.get_backend_name()}://{user}{url.host or ''}{port}/{url.database or ''}"


def translated(error: DBAPIError, url: URL, *, connected: bool) -> HandfulError:
    """The error to raise for `error`, which came before or after the login succeeded."""
    words = without_secrets(_words(error), url)
    state = _state(error)
    if _is_denied(error, state, words):
        return Denied(
            words,
            where=shown(url),
            remedy="check the user, the password and the rights in [production] DATABASE_URL",
        )
    if state == "3D000" or _NO_DATABASE.search(words):
        return DataError(
            words, where=shown(url), remedy="check the database's name in DATABASE_URL"
        )
    lost = error.connection_invalidated or state.startswith(_UNREACHABLE_STATES)
    if lost or (not connected and isinstance(error, OperationalError | InterfaceError)):
        return Unreachable(
            words,
            where=shown(url),
            remedy="the connection was lost; run it again"
            if connected
            else "is the server up, and the host and port of DATABASE_URL right?",
        )
    return DataError(f"the query failed: {words}", where=f"{_QUERY} on {shown(url)}")


def without_secrets(words: str, url: URL) -> str:
    """`words` with every secret of the URL blotted out, however it was escaped."""
    secrets = [str(url.password)] if url.password else []
    for name, values in url.normalized_query.items():
        if any(part in name.lower() for part in _SECRET_OPTIONS):
            secrets.extend(values)
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        for form in {secret, quote(secret), quote_plus(secret), quote(secret, safe="")}:
            words = words.replace(form, "***")
    return words


def _words(error: DBAPIError) -> str:
    lines = str(error.orig if error.orig is not None else error).strip().splitlines()
    return " / ".join(line.strip() for line in lines if line.strip())


def _state(error: DBAPIError) -> str:
    """The SQLSTATE of the database's answer; "" if there was no answer."""
    original = error.orig
    return str(getattr(original, "sqlstate", None) or getattr(original, "pgcode", None) or "")


def _is_denied(error: DBAPIError, state: str, words: str) -> bool:
    arguments = getattr(error.orig, "args", ())
    if state:
        return state.startswith(_DENIED_STATES)
    if arguments and isinstance(arguments[0], int):
        return arguments[0] in _DENIED_CODES
    return any(word in words.lower() for word in _DENIED_WORDS)
