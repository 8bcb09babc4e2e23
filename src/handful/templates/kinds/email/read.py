"""The functions of this experiment: e-mail, read by Python's own `email`, HTML in it by lxml.

Each asks, by name, for just what it needs. `handful check` says at once if anything here does not
fit.
"""

import email
import email.policy

import lxml.html

UNSEEN = "ancestor::script or ancestor::style or ancestor::template or ancestor::noscript"


def read_document(path):
    """Subject and body. What raises an error here costs this document only."""
    mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    if not mail.keys():
        raise ValueError("this is no e-mail: it has no headers")
    return f"{mail['subject'] or ''}\n{read_body(mail)}"


def read_body(mail):
    """The plain text of a mail; that of its HTML where there is no other."""
    for kind in ("plain", "html"):
        part = mail.get_body([kind])
        text = "" if part is None else decode(part)
        if text.strip():
            return read_page(text) if kind == "html" else text
    return ""


def decode(part):
    """The text of a part, also where it does not say in which encoding, or says it wrongly."""
    data = part.get_payload(decode=True) or b""
    try:
        return data.decode(part.get_content_charset("utf-8"))
    except (LookupError, UnicodeDecodeError):
        return data.decode("cp1252", "replace")


def read_page(text):
    """The text of a page, without its tags."""
    parser = lxml.html.HTMLParser(encoding="utf-8")
    page = lxml.html.document_fromstring(text.encode("utf-8", "replace"), parser=parser)
    pieces = page.xpath(f"//text()[not({UNSEEN})]")
    return " ".join(" ".join(pieces).split())
