"""The functions of this experiment: HTML, read by lxml.

Each asks, by name, for just what it needs. `handful check` says at once if anything here does not
fit.
"""

import lxml.html

UNSEEN = "ancestor::script or ancestor::style or ancestor::template or ancestor::noscript"


def read_document(path):
    """What a reader of the page sees. What raises an error here costs this document only."""
    data = path.read_bytes()
    return read_page(data) if data.strip() else ""


def read_page(data):
    """The text of a page, without its tags."""
    page = lxml.html.document_fromstring(data, parser=lxml.html.HTMLParser(encoding=encoding(data)))
    pieces = page.xpath(f"//text()[not({UNSEEN})]")
    return " ".join(" ".join(pieces).split())


def encoding(data):
    """UTF-8 where it is that; None: what the page says itself."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return "utf-8"
