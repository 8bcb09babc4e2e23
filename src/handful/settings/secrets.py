"""What must never be shown, by where it came from; a second net goes by names.

A secret is

- the login (user and password) and every option of a URL: of DATABASE_URL, and of a `[user]` value;
- what DATABASE_URL, LABEL_QUERY and `[user]` take from the environment, unless PUBLIC_VARIABLES
  names the variable;
- the value of a `[user]` key whose name says so (`DB_PASS`, `MY_TOKEN`), written in the clear.

Records and reports show such a value as `***` or as the `${NAME}` that it is, and count it by its
hash; in words that come from elsewhere (a driver's, a user's exception) it is blotted out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from urllib.parse import unquote, unquote_plus

from handful.errors.redaction import HIDDEN

DATABASE = ("production", "DATABASE_URL")
QUERY = ("production", "LABEL_QUERY")


def _parse_secret_words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# From `//user:` to the last `@` of the line: a password may hold any character, `/` and `@` too.
_LOGIN_TO_AT = re.compile(r"(://)(?:([^\s/@:?]*)(:)([^\n]*)|([^\s/@:?]+))@")
_OPTIONS = re.compile(r"(://[^\s?'\"<>]*)(\?[^\s'\"<>]*)")
# In JDBC's form they follow a `;`.
_OPTIONS_TO_END = re.compile(r"(://[^\n?]*?)(\?[^\n]*|;(?=[\w .-]+=)[^\n]*)")
_OPTION_NAME = re.compile(r"[\w.-]{1,64}")
_IN_URL = re.compile(r"(://[^\s/@:?]*:)([^\n]*)(@)")
_SECRET_ASSIGNMENT_PATTERN = re.compile(
    r"((?<![a-z0-9])(?:password|passwd|pwd|[a-z_]*secret[a-z_]*|access_?key|api_?key"
    r"|(?:auth|access|api|hf|security|session)_?token)\s*(?:=|%3D)\s*)([^&;\s]+)",
    re.IGNORECASE,
)
_IN_DSN = re.compile(
    r"(\b(?:user(?:name|\s?id)?|uid|account_?key|shared_?access_?(?:key|signature)|sig)\s*=\s*)"
    r"([^&;\s]+)",
    re.IGNORECASE,
)
_TOKEN = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,})"
)
_NEVER_COUNTED = re.compile(
    r"(?:^|_)(?:PASSWORD|PASSWD|PWD|SECRET|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIALS?)(?:_|$)"
    r"|(?:^|_)(?:HF|HUB|AUTH|ACCESS|API|BEARER|SESSION|REFRESH|GITHUB|GITLAB|WANDB)_TOKEN$|^TOKEN$",
    re.IGNORECASE,
)
_SECRET_WORDS = _parse_secret_words(
    "APIKEY AUTH AUTHORIZATION BEARER COOKIE CREDENTIAL CREDENTIALS CREDS DSN JWT OAUTH PASSCODE "
    "PASSPHRASE PASSWD PASSWORD PASSWORDS PWD SAS SECRET SECRETS WEBHOOK WEBHOOKS"
)
_COUNTS = "FIRST LAST MAX MIN MULTI N NUM ONE SECOND SINGLE TOP TWO "
_NO_SECRET_BEFORE = {
    "KEY": _parse_secret_words(
        _COUNTS + "CACHE COLUMN COMPOSITE DATA DICT FEATURE FIELD FILE FOREIGN GROUP HASH ID INDEX "
        "INPUT JOIN JSON LABEL LOOKUP MAIN MAP NATURAL OUTPUT PARTITION PRIMARY QUERY RESULT ROW "
        "SORT SPLIT TARGET TEXT TITLE UNIQUE VALUE"
    ),
    "TOKEN": _parse_secret_words(
        _COUNTS + "ANSWER ASSISTANT BLANK BODY BOS CLS CONTEXT DOC DOCUMENT EMPTY END EOS IMAGE "
        "LABEL LINE MASK MISSING NEWLINE PAD PAGE PARAGRAPH PER PREFIX PROMPT QUERY QUESTION "
        "SECTION SEGMENT SEP SPECIAL SPLIT START STOP SUFFIX SYSTEM TEXT TITLE UNK USER"
    ),
    "PASS": _parse_secret_words(_COUNTS + "BAND HIGH LOW"),
}
"""Last word of a name → the word before it with which it means no secret."""
_CONNECTION = re.compile(r"(?:^|_)CONN(?:ECTION)?_?STR(?:ING)?(?:_|$)", re.IGNORECASE)
_URL_SECRET_MASK_PATTERN = re.compile(
    r"://(?:[^\s/@]*:)?\*\*\*@|://\*\*\*:|://[^\n]*[?&;](?:[\w.-]+=)?\*\*\*(?:[&;]|$)"
)
_WHOLE_VARIABLE_PATTERN = re.compile(r"\$\{\w+\}")
_REFERENCE = re.compile(r"(?<!\$)\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_HASHED = re.compile(r" \(sha256 ([0-9a-f]{16})\)$")


# --- a text as it may be shown -------------------------------------------------------------------


def shown(section: str, key: str, text: str) -> str:
    """The text of an entry as it may be shown; a `${NAME}` in it stays."""
    if section == "user":
        if is_secret(section, key, text):
            return text if is_variable(text) else HIDDEN
        return _TOKEN.sub(HIDDEN, _in_dsn(_hide_urls(text, _OPTIONS_TO_END)))
    if (section, key) == DATABASE:
        return hide_passwords(_hide_urls(text, _OPTIONS_TO_END))
    return hide_passwords(text)


def hide_passwords(text: str) -> str:
    """Free text with every login of a URL, password and token as `***`; a `${NAME}` stays."""
    return _TOKEN.sub(
        HIDDEN, _SECRET_ASSIGNMENT_PATTERN.sub(_value_hidden, _LOGIN_TO_AT.sub(_login_hidden, text))
    )


def hide_urls(text: str) -> str:
    """`hide_passwords`, and every option of a URL."""
    return hide_passwords(_hide_urls(text, _OPTIONS))


def as_counted(text: str) -> str:
    """What of a text has always counted in fingerprints; logins and options are in it."""

    def hidden(match: re.Match[str]) -> str:
        return match[1] + _piece(match[2]) + (match[3] if match.re is _IN_URL else "")

    return _TOKEN.sub(HIDDEN, _SECRET_ASSIGNMENT_PATTERN.sub(hidden, _IN_URL.sub(hidden, text)))


def without_login(url: str) -> str:
    """`as_counted` of a database's URL: who asks does not change the answer."""
    return as_counted(drop_login(url))


def drop_login(url: str) -> str:
    return re.sub(r"(://)[^\n]*@", r"\1", url, count=1)


def _hide_urls(text: str, options: re.Pattern[str]) -> str:
    return options.sub(_options_hidden, _LOGIN_TO_AT.sub(_login_hidden, text))


def _in_dsn(text: str) -> str:
    """`Server=…;User=…;Password=…`: of a value that has the form of a connection string."""
    text = _SECRET_ASSIGNMENT_PATTERN.sub(_value_hidden, text)
    return _IN_DSN.sub(_value_hidden, text) if ";" in text else text


def _value_hidden(match: re.Match[str]) -> str:
    return match[1] + _piece(match[2])


def _login_hidden(match: re.Match[str]) -> str:
    if match[5] is not None:
        return f"{match[1]}{_piece(match[5])}@"
    user = _piece(match[2]) if match[2] else ""
    return f"{match[1]}{user}:{_piece(match[4])}@"


def _options_hidden(match: re.Match[str]) -> str:
    mark, told = match[2][0], match[2][1:]
    pieces = re.split(r"([&;])", told)
    return match[1] + mark + "".join(map(_option_hidden, pieces))


def _option_hidden(piece: str) -> str:
    if piece in ("", "&", ";"):
        return piece
    name, equals, value = piece.partition("=")
    if not equals or not _OPTION_NAME.fullmatch(name):
        return _piece(piece)
    return f"{name}={_piece(value)}" if value else piece


def _piece(text: str) -> str:
    return text if is_variable(text) else HIDDEN


def conceal_entry_secrets(
    section: str, key: str, text: str, public: Set[str], environment: Mapping[str, str]
) -> str | None:
    """How an entry with a secret in it is shown, public variables written out; None: has none."""
    names = variables_in(text)
    told = with_public(text, public, environment)
    if section == "user" and names and set(names) <= public:
        # Whoever says that it is public knows better than its name.
        hidden = _TOKEN.sub(HIDDEN, _hide_urls(told, _OPTIONS_TO_END))
    else:
        hidden = shown(section, key, told)
    secret = hidden != told or (takes_secrets(section, key) and not set(names) <= public)
    return hidden if secret else None


def is_left_out(section: str, key: str, text: str) -> bool:
    """Was the value left out of this copy of settings.ini, so that there is none to be read?"""
    if section == "user" and is_secret(section, key) and text == HIDDEN:
        return True
    return (section == "user" or (section, key) == DATABASE) and bool(
        _URL_SECRET_MASK_PATTERN.search(text)
    )


# --- names ---------------------------------------------------------------------------------------


def is_secret(section: str, key: str, text: str = "") -> bool:
    """Does the name of a free key say that its value is a secret? (MAX_TOKENS does not.)

    `text` is the value as written: a number or a truth is none behind `_KEY`, `_TOKEN` or `_PASS`.
    """
    if section != "user":
        return False
    if never_counts(key) or _CONNECTION.search(key):
        return True
    words = key.upper().split("_")
    if _SECRET_WORDS & set(words):
        return True
    if len(words) < 2 or words[-1] not in _NO_SECRET_BEFORE or _is_number_or_boolean(text):
        return False
    return words[-2] not in _NO_SECRET_BEFORE[words[-1]]


def never_counts(key: str) -> bool:
    """Is the `[user]` key one whose value no fingerprint ever held, be it by its hash?"""
    return bool(_NEVER_COUNTED.search(key))


def _is_number_or_boolean(text: str) -> bool:
    return bool(re.fullmatch(r"\d{1,2}|true|false", text, re.IGNORECASE))


# --- variables -----------------------------------------------------------------------------------


def is_variable(text: str) -> bool:
    """Is the whole text one `${NAME}`?"""
    return bool(_WHOLE_VARIABLE_PATTERN.fullmatch(text))


def variables_in(text: str) -> list[str]:
    """The names of the environment variables that a value asks for."""
    return _REFERENCE.findall(text)


def takes_secrets(section: str, key: str) -> bool:
    """Is what this entry takes from the environment a secret unless it is said to be public?"""
    return section == "user" or (section, key) in (DATABASE, QUERY)


def with_public(text: str, public: Set[str], environment: Mapping[str, str]) -> str:
    """`text` with the public variables written out."""

    def value(match: re.Match[str]) -> str:
        return environment.get(match[1], match[0]) if match[1] in public else match[0]

    return _REFERENCE.sub(value, text)


# --- counted by their hashes ---------------------------------------------------------------------


def format_secret_hash(told: str, value: str) -> str:
    """What a fingerprint holds of a secret: how it is shown, and the hash of its value."""
    import hashlib  # seldom needed

    return f"{told} (sha256 {hashlib.sha256(value.encode()).hexdigest()[:16]})"


def is_hashed(told: str) -> bool:
    return bool(_HASHED.search(told))


def counts_the_same(before: str, after: str) -> bool:
    """Do two entries of fingerprints stand for one value, be one of them told by its hash alone?

    Stores of before hold in the clear what is told by its hash by now.
    """
    return before == after or (
        (is_hashed(before) or is_hashed(after)) and _digest(before) == _digest(after)
    )


def _digest(told: str) -> str:
    match = _HASHED.search(told)
    return match[1] if match else _digest(format_secret_hash("", told))


# --- blotted out of words that come from elsewhere -----------------------------------------------


def secrets_of_entry(
    section: str,
    key: str,
    text: str,
    value: object,
    public: Set[str],
    environment: Mapping[str, str],
) -> set[str]:
    """What of an entry's `value`, written as `text`, is to be blotted out of other words."""
    found: set[str] = set()
    if takes_secrets(section, key):
        for name in variables_in(text):
            if name not in public and name in environment:
                found |= {environment[name], environment[name].strip()}
    if (section, key) == DATABASE or section == "user":
        found |= secrets_of_url(str(value))
    if section == "user":
        found |= {match[2] or match[5] for match in _LOGIN_TO_AT.finditer(str(value))}
        for pattern in (_SECRET_ASSIGNMENT_PATTERN, _IN_DSN) if ";" in str(value) else ():
            found |= {match[2] for match in pattern.finditer(str(value))}
    by_name = is_secret(section, key, text) or (section == "user" and _TOKEN.search(str(value)))
    if by_name and not set(variables_in(text)) & public:
        found.add(str(value))
    return found


def secrets_of_url(url: str) -> set[str]:
    """The passwords and the options' values of the URLs in a text.

    A user's name is only one if there is no password: a word such as `admin` says little, and
    would be blotted out everywhere.
    """
    found: set[str] = set()
    for match in _LOGIN_TO_AT.finditer(url):
        found.add(match[4] if match[5] is None else match[5])
    for match in _OPTIONS_TO_END.finditer(_LOGIN_TO_AT.sub(r"\1", url)):
        for piece in re.split(r"[&;]", match[2][1:]):
            name, equals, value = piece.partition("=")
            found.add(value if equals else name)
            # `odbc_connect=UID%3Dme;PWD%3D…`: a connection string of its own.
            inner = unquote_plus(value if equals else name)
            found |= {part.partition("=")[2] for part in inner.split(";") if "=" in part}
    return found | {unquote(one) for one in found} | {unquote_plus(one) for one in found}


_LOGIN = re.compile(r"://[^\s/@:?\"'{}]*:(?!\*\*\*@)[^\s/@\"'{}$]+@")


def shows_secret(text: str) -> bool:
    """Does a token, or a password inside a URL, stand in the text? Words like `password` do not."""
    return bool(_TOKEN.search(text) or _LOGIN.search(text))
