"""The functions of this experiment: text from a column of LABEL_QUERY.

`handful reconcile` writes it into a file of the column's name: `text.txt` of the column `text`.

Each asks, by name, for just what it needs. `handful check` says at once if anything here does not
fit.
"""


def read_document(path):
    """The text. What raises an error here costs this document only."""
    return path.read_text(encoding="utf-8")
