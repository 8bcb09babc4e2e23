"""Small texts, as of a column."""


def write_document(path, words):
    path.write_text(words, encoding="utf-8")
