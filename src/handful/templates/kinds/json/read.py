"""The functions of this experiment: text in JSON.

Each asks, by name, for just what it needs. `handful check` says at once if anything here does not
fit.
"""

import json

TEXT_PATH = ("text",)  # the keys that lead to the text


def read_document(path):
    """The text at TEXT_PATH. What raises an error here costs this document only."""
    return "\n".join(texts_at(json.loads(path.read_bytes()), TEXT_PATH))


def texts_at(value, keys):
    """The strings to which the keys lead: in a list, those of each of its items."""
    if isinstance(value, list):
        return [text for item in value for text in texts_at(item, keys)]
    if not keys:
        return [value] if isinstance(value, str) else []
    if not isinstance(value, dict):
        return []
    return texts_at(value.get(keys[0]), keys[1:])
