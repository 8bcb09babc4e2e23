"""The functions of this experiment: PDF with a text layer, read by pypdf.

A scan has no text for pypdf: it is left out. Text has to be made of its pictures first, by an OCR
program in a process_func, for example.

Each asks, by name, for just what it needs. `handful check` says at once if anything here does not
fit.
"""

import logging

import pypdf

logging.getLogger("pypdf").setLevel(logging.ERROR)  # small faults of a PDF it mends by itself


def read_document(path):
    """The text of all pages. What raises an error here costs this document only."""
    return "\n".join(page.extract_text() for page in pypdf.PdfReader(path).pages)
