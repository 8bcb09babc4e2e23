"""The functions of this experiment: plain text.

Each asks, by name, for just what it needs. `handful check` says at once if anything here does not
fit.
"""

import codecs

ENCODING = "cp1252"  # of documents that are not UTF-8; this one is Windows' for Western Europe


def read_document(path):
    """The text. What raises an error here costs this document only."""
    text = decode(path.read_bytes())
    if "\0" in text:
        raise ValueError("this is no text: it holds bytes of zero")
    return text


def decode(data):
    """UTF-8, UTF-16 or ENCODING, whichever it is."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    if data[1:2] == b"\0":  # Latin letters, as some programs of Windows write them
        return data.decode("utf-16-le")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode(ENCODING)
