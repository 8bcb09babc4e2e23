"""What must never be shown: passwords inside URLs, tokens, and keys of [user] that say so."""

from __future__ import annotations

import re

HIDDEN = "***"

# From `//user:` to the last `@` of the line: a password may hold any character, `/` and `@` too.
_IN_URL = re.compile(r"(://[^\s/@:?]*:)([^\n]*)(@)")
_NAMED = re.compile(
    r"((?<![a-z0-9])(?:password|passwd|pwd|[a-z_]*secret[a-z_]*|access_?key|api_?key"
    r"|(?:auth|access|api|hf|security|session)_?token)\s*(?:=|%3D)\s*)([^&;\s]+)",
    re.IGNORECASE,
)
_TOKEN = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,})"
)
_SECRET_KEY = re.compile(
    r"(?:^|_)(?:PASSWORD|PASSWD|PWD|SECRET|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIALS?)(?:_|$)"
    r"|(?:^|_)(?:HF|HUB|AUTH|ACCESS|API|BEARER|SESSION|REFRESH|GITHUB|GITLAB|WANDB)_TOKEN$|^TOKEN$",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"\$\{\w+\}")


def hide_passwords(text: str) -> str:
    """`text` with every password and token as `***`; what is just `${NAME}` stays."""

    def hidden(match: re.Match[str]) -> str:
        kept = match[2] if is_variable(match[2]) else HIDDEN
        return match[1] + kept + (match[3] if match.re is _IN_URL else "")

    return _TOKEN.sub(HIDDEN, _NAMED.sub(hidden, _IN_URL.sub(hidden, text)))


def without_login(url: str) -> str:
    """A URL without its user and password: who asks does not change the answer."""
    return hide_passwords(re.sub(r"(://)[^\n]*@", r"\1", url, count=1))


def is_secret(section: str, key: str) -> bool:
    """Does the name of a free key say that its value is a secret? (MAX_TOKENS does not.)"""
    return section == "user" and bool(_SECRET_KEY.search(key))


def is_variable(text: str) -> bool:
    """Is the whole text one `${NAME}`?"""
    return bool(_VARIABLE.fullmatch(text))


_LOGIN = re.compile(r"://[^\s/@:?\"'{}]*:(?!\*\*\*@)[^\s/@\"'{}$]+@")


def shows_secret(text: str) -> bool:
    """Does a token, or a password inside a URL, stand in the text? Words like `password` do not."""
    return bool(_TOKEN.search(text) or _LOGIN.search(text))
