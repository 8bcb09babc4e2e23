"""The functions of this experiment: Word's documents (.docx), read by python-docx.

Each asks, by name, for just what it needs. `handful check` says at once if anything here does not
fit.
"""

import docx
from docx.oxml.ns import qn


def read_document(path):
    """The text of all paragraphs, also those in tables, without headers and footers.

    What raises an error here costs this document only.
    """
    paragraphs = docx.Document(str(path)).element.body.iter(qn("w:p"))
    return "\n".join(paragraph.text for paragraph in paragraphs)
