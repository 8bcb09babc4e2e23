"""Small documents of Word's."""

import docx


def write_document(path, words):
    document = docx.Document()
    document.add_paragraph(words)
    document.save(str(path))
