"""Options of a database's URL that its driver does not know or cannot use, named without values."""

from __future__ import annotations

import re

from sqlalchemy.engine import URL

from handful.errors import UserError
from handful.labels.failure_kinds import ENCODE

_URL_OPTIONS_PLACE = "[production] DATABASE_URL"
_NO = {"", "0", "false", "no", "disabled", "preferred"}
_UNKNOWN = re.compile(
    r"invalid connection option|unrecognized configuration|unsupported argument|unexpected keyword"
    r"|invalid keyword argument|unknown (option|parameter|argument)",
    re.IGNORECASE,
)
"""How drivers say that they do not know an option."""


def is_about_options(error: Exception, url: URL) -> bool:
    """Whether an error of the driver's own kind says that an option of the URL is unknown."""
    return bool(_find_options_in_error(error, url)) and bool(_UNKNOWN.search(str(error)))


def build_url_option_error(error: Exception, url: URL) -> UserError:
    """The error for what is no answer of a database, but a driver that cannot be called so."""
    driver = url.get_driver_name()
    if not url.query:
        return UserError(
            f"the driver {driver} cannot connect: {type(error).__name__}",
            where=_URL_OPTIONS_PLACE,
            remedy="is its client library installed?",
        )
    remedy = "look the option up in the driver's manual: drivers of one database differ in them"
    if "@" in str(url.query):
        remedy = f"if the '@' there is the password's, {ENCODE}; otherwise {remedy}"
    told = ", ".join(map(repr, _find_options_in_error(error, url) or url.query))
    verb = "does not know" if _UNKNOWN.search(str(error)) else "cannot use"
    return UserError(
        f"the driver {driver} {verb} what the URL says after '?': {told}",
        where=_URL_OPTIONS_PLACE,
        remedy=remedy,
    )


def demands_tls(url: URL) -> bool:
    """Whether an option of the URL asks for TLS, as drivers of MySQL spell it."""
    asking = {name: str(value).lower() for name, value in url.query.items() if "ssl" in name}
    if asking.pop("ssl_disabled", "false") in {"true", "1"}:
        return False
    return any(value not in _NO for value in asking.values())


def _find_options_in_error(error: Exception, url: URL) -> list[str]:
    words = str(error)
    return [name for name in url.query if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", words)]
