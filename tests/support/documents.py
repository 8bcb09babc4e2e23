"""Small documents of several kinds that hold given words."""

from __future__ import annotations

import io
import random
from email.message import EmailMessage


def page(words: str) -> bytes:
    head = (
        "<head><title>Page</title><style>p { color: red }</style><script>let x = 1</script></head>"
    )
    return f"<html>{head}<body><p>{words}</p><!-- unseen --></body></html>".encode()


def mail(words: str) -> bytes:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "Hello", "a@x.org", "b@x.org"
    message.set_content(f"<p>{words}</p>", subtype="html", charset="utf-8")
    if "dear" in words:
        message.set_content(words)
    return message.as_bytes()


def paper(words: str) -> bytes:
    """A PDF of one page, with a font and a stream, made by pypdf."""
    import pypdf
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = pypdf.PdfWriter()
    blank = writer.add_blank_page(600, 200)
    font = DictionaryObject()
    for key, value in {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica"}.items():
        font[NameObject(key)] = NameObject(value)
    fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
    blank[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    stream = DecodedStreamObject()
    stream.set_data(f"BT /F1 9 Tf 9 99 Td ({words}) Tj ET".encode() if words else b"")
    blank[NameObject("/Contents")] = writer._add_object(stream)
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def word(words: str) -> bytes:
    import docx

    document, file = docx.Document(), io.BytesIO()
    first, _, rest = words.partition(" ")
    document.add_paragraph(first)
    document.add_table(1, 1).cell(0, 0).text = rest
    document.save(file)
    return file.getvalue()


def picture(words: str) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    noise = random.Random(words).randbytes(40 * 30 * 3)
    Image.frombytes("RGB", (40, 30), noise).save(file, format="JPEG")
    return file.getvalue()
