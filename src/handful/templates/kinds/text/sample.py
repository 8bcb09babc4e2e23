"""Small documents of plain text."""


def write_document(path, words):
    path.write_text(words, encoding="utf-8")
