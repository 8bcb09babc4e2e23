"""What must never be shown: passwords inside URLs, and keys whose name says that they are secret."""

from __future__ import annotations

import re

HIDDEN = "***"

# From `//user:` to the last `@` of the line: a password may hold any character, `/` and `@` too.
_IN_URL = re.compile(r"(://[^\s/@:?]*:)(?!\*\*\*@)([^\n]*)(@)")
_NAMED = re.compile(
    r"(?i)((?<![a-z0-9])(?:password|passwd|pwd|[a-z_]*secret[a-z_]*|access_?key|api_?key"
    r"|(?:auth|access|api|security|session)_?token)\s*(?:=|%3D))"
    r"(?!\$\{[^}\n]*\}(?:[&;\s]|$))([^&;\s]+)"
)
_SECRET_KEY = re.compile(
    r"(?:^|_)(?:PASSWORD|PASSWD|PWD|SECRETS?|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIALS?)(?:_|$)"
    r"|(?:^|_)(?:HF|HUB|AUTH|ACCESS|API|BEARER|SESSION|REFRESH|GITHUB|GITLAB|WANDB)_TOKEN$|^TOKEN$",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"\$\{\w+\}")


def hide_passwords(text: str) -> str:
    """`text` with every password of a URL as `***`; one that is just `${NAME}` stays."""

    def hidden(match: re.Match[str]) -> str:
        kept = match[2] if _VARIABLE.fullmatch(match[2]) else HIDDEN
        return f"{match[1]}{kept}{match[3]}"

    return _NAMED.sub(rf"\1{HIDDEN}", _IN_URL.sub(hidden, text))


def without_login(url: str) -> str:
    """A URL without its user and password: who asks does not change the answer."""
    return hide_passwords(re.sub(r"(://)[^\n]*@", r"\1", url, count=1))


def is_secret(key: str) -> bool:
    """Does the name of a free key say that its value is a secret? (MAX_TOKENS does not.)"""
    return bool(_SECRET_KEY.search(key))


def is_variable(text: str) -> bool:
    """Is the whole text one `${NAME}`?"""
    return bool(_VARIABLE.fullmatch(text))
