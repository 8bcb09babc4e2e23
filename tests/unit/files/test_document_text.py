"""The first words of a document, of whatever kind of file, broken and hostile ones too."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import struct
import time
import zipfile
import zlib
from email.message import EmailMessage

import pytest

from handful.files.document_text import MOST, first_text

WORDS = "Größe: 3 µm — the contract"
LATIN = "Größe: 3 µm of the contract"


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def raw(charset: str, body: bytes) -> bytes:
    return f"From: a\nSubject: b\nContent-Type: text/plain{charset}\n\n".encode() + body


def mail(html: bool = False) -> bytes:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.org", "b@example.org", "Größe"
    message.set_content(
        f"<p>Dear <b>{WORDS}</b></p>" if html else WORDS, "html" if html else "plain"
    )
    message.add_attachment(
        b"%PDF-1.7 scan", maintype="application", subtype="pdf", filename="a.pdf"
    )
    return message.as_bytes()


def office(part: str, tag: str) -> bytes:
    """As Word, Excel, PowerPoint or LibreOffice write it: the text, and much about it."""
    body = f"<?xml version='1.0'?><x:d xmlns:x='u'><x:{tag}>{WORDS}</x:{tag}></x:d>".encode()
    about = b"<Properties><Application>Office</Application></Properties>"
    return zipped({"[Content_Types].xml": b"<Types/>", "docProps/app.xml": about, part: body})


KINDS: dict[str, tuple[str, bytes, str]] = {
    "plain": ("a.txt", WORDS.encode(), WORDS),
    "without a suffix": ("SCAN0001", WORDS.encode(), WORDS),
    "any suffix": ("a.log", WORDS.encode(), WORDS),
    "with a mark": ("a.txt", WORDS.encode("utf-8-sig"), WORDS),
    "UTF-16": ("a.txt", WORDS.encode("utf-16"), WORDS),
    "UTF-32": ("a.txt", WORDS.encode("utf-32"), WORDS),
    "UTF-16 without a mark": ("a.txt", LATIN.encode("utf-16-le"), LATIN),
    "UTF-16, big end first": ("a.txt", LATIN.encode("utf-16-be"), LATIN),
    "Windows": ("a.txt", WORDS.encode("cp1252"), WORDS),
    "Windows' lines": ("a.txt", WORDS.replace(" ", "\r\n").encode(), WORDS),
    "a form feed": ("a.txt", f"\x0c{WORDS}\x0c".encode(), WORDS),
    "JSON": ("a.json", json.dumps({"pages": [{"n": 1, "text": WORDS}]}).encode(), WORDS),
    "JSON by another name": ("a.data", json.dumps([WORDS]).encode(), WORDS),
    "JSON lines": ("a.jsonl", b'{"t": "Dear"}\n{"t": "sir"}\n', "Dear sir"),
    "JSON of numbers": ("a.json", b"[1, 2.5]", "[1, 2.5]"),
    "JSON that is cut": ("a.json", b'{"text": "Dear si', '{"text": "Dear si'),
    "no JSON": ("a.json", WORDS.encode(), WORDS),
    "JSON in a text": ("a.txt", b'{"a": 1}', '{"a": 1}'),
    "tags in a text": ("a.txt", b"<script>x</script> <b>y", "<script>x</script> <b>y"),
    "a page by another name": ("a.dat", b"<p>Dear <b>sir</b>", "Dear sir"),
    "a list in words by another name": ("a.dat", b"[sic] Dear sir", "[sic] Dear sir"),
    "a comparison by another name": ("a", b"< 5 and > 3", "< 5 and > 3"),
    "no mail by another name": ("a", b"To: do\nbuy milk", "To: do buy milk"),
    "a list in words": ("a.txt", b"[sic] Dear sir", "[sic] Dear sir"),
    "HTML": (
        "a.html",
        f"<html><head><style>p {{}}</style><script>x < 1</script></head><p>{WORDS}</p>".encode(),
        WORDS,
    ),
    "HTML's letters": ("a.htm", b"<p>&lt;b&gt; &amp; caf&eacute;", "<b> & café"),
    "XML": ("a.xml", f"<?xml version='1.0'?><a b='c'><d>{WORDS}</d></a>".encode(), WORDS),
    "XML's CDATA": ("a.xml", f"<a><![CDATA[{WORDS}]]></a>".encode(), WORDS),
    "a comment": ("a.html", b"<p>Dear<!-- <b>no</b> > --> sir</p>", "Dear sir"),
    "a comment without end": ("a.html", b"<p>Dear sir<!-- <b>no", "Dear sir"),
    "XML without text": ("a.xml", b"<a b='c'/>", "<a b='c'/>"),
    "a comparison": ("a.txt", b"< 5 and > 3", "< 5 and > 3"),
    "mail": ("a.eml", mail(), f"Größe {WORDS}"),
    "mail in HTML": ("a.eml", mail(html=True), f"Größe Dear {WORDS}"),
    "mail by another name": ("0001", mail(), f"Größe {WORDS}"),
    "mail in an unknown alphabet": (
        "a.eml",
        raw("; charset=klingon", WORDS.encode()),
        f"b {WORDS}",
    ),
    "mail in an older alphabet": ("a.eml", raw("; charset=cp1252", b"Gr\xf6\xdfe"), "b Größe"),
    "mail that names no alphabet": ("a.eml", raw("", b"Gr\xf6\xdfe"), "b Größe"),
    "mail that names a wrong one": ("a.eml", raw("; charset=ascii", "Größe".encode()), "b Größe"),
    "no mail": ("a.txt", b"To: do\nbuy milk", "To: do buy milk"),
    "CSV": ("a.csv", b"name;sum\nx;1,5\n", "name;sum x;1,5"),
    "RTF is read as it is": ("a.rtf", rb"{\rtf1 Dear}", r"{\rtf1 Dear}"),
    "gzip": ("a.txt.gz", gzip.compress(WORDS.encode()), WORDS),
    "bzip2": ("a.txt.bz2", bz2.compress(WORDS.encode()), WORDS),
    "xz": ("a.txt.xz", lzma.compress(WORDS.encode()), WORDS),
    "JSON in gzip": ("a.json.gz", gzip.compress(json.dumps({"t": WORDS}).encode()), WORDS),
    "gzip that is cut": ("a.gz", gzip.compress(WORDS.encode() * 99)[:-20], ""),
    "Word": ("a.docx", office("word/document.xml", "t"), WORDS),
    "Excel": ("a.xlsx", office("xl/sharedStrings.xml", "t"), WORDS),
    "PowerPoint": ("a.pptx", office("ppt/slides/slide1.xml", "t"), WORDS),
    "LibreOffice": ("a.odt", office("content.xml", "p"), WORDS),
    "a large zip": (
        "a.zip",
        zipped({"z.png": b"\0" * 5_000_000, "t.txt": WORDS.encode()}, zipfile.ZIP_STORED),
        WORDS,
    ),
    "a zip": ("a.zip", zipped({"scan.png": b"\x89PNG\0\0", "b/c.txt": WORDS.encode()}), WORDS),
    "nothing": ("a.txt", b"", ""),
    "spaces": ("a.txt", b" \n\t ", ""),
    "a PDF": ("a.pdf", b"%PDF-1.7\n1 0 obj <</Type /Catalog>> endobj", ""),
    "a picture": ("a.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", ""),
    "numbers": ("a.npy", struct.pack("<99d", *range(99)), ""),
    "noise": ("a.bin", bytes(range(128, 256)) + bytes(range(1, 32)), ""),
    "letters that are to be taken for others": (
        "a.txt",
        "a\u202eb\x1b[2Jc".encode(),
        "a\ufffdb\ufffd[2Jc",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_words_that_a_person_would_read(kind: str) -> None:
    name, data, words = KINDS[kind]
    found = first_text(data, name, 300)
    if kind == "gzip that is cut":  # what can be unpacked is shown
        assert found.startswith(WORDS)
    elif kind.startswith("letters"):
        assert found in (words, "")
        assert "\x1b" not in found
    else:
        assert found == words


def test_a_long_text_is_cut_and_says_so() -> None:
    assert first_text(b"abc " * 1000, "a.txt", 10) == "abc abc a…"
    assert first_text(b"x" * 10, "a.txt", 10) == "x" * 10
    cut_in_a_letter = b"a" * (MOST - 1) + "é".encode() * 9
    assert first_text(cut_in_a_letter, "a.txt", 5) == "aaaa…"


def deep(levels: int) -> bytes:
    data = WORDS.encode()
    for _ in range(levels):
        data = gzip.compress(data)
    return data


HOSTILE = {
    "a bomb": zipped({"a.txt": b" " * (64 << 20)}),
    "a bomb in gzip": gzip.compress(b"\0" * (64 << 20)),
    "packed again and again": deep(9),
    "JSON without end": b"[" * 200_000,
    "tags without end": b"<a " * 200_000 + b">",
    "tags that are never closed": b"<a>" * 200_000,
    "comments without end": b"<a>" + b"<!--" * 200_000,
    "scripts without end": b"<script>" * 200_000,
    "CDATA without end": b"<a>" + b"<![CDATA[" * 100_000,
    "entities": b"<a>" + b"&" * 500_000,
    "headers without end": b"From: a\nTo: b\n" + b"X: y\n " * 200_000,
    "parts without end": b"From: a\nTo: b\nContent-Type: multipart/mixed; boundary=x\n\n"
    + b"--x\nContent-Type: multipart/mixed; boundary=x\n\n" * 20_000,
    "parts of parts": b"From: a\nTo: b\n"
    + b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(3000)
    ),
    "parameters without end": b"From: a\nTo: b\nContent-Type: text/plain; "
    + b"a=b; " * 20_000
    + b"\n\nx",
    "words of a subject": b"From: a\nSubject: " + b"=?utf-8?q?a?= " * 9_000 + b"\n\nx",
    "a zip that lies": zipped({"a.txt": b"words"})[:-30],
    "no zip": b"PK\x03\x04" + os.urandom(999),
    "no gzip": b"\x1f\x8b" + os.urandom(999),
    "no xz": b"\xfd7zXZ\x00" + os.urandom(999),
    "a mail in an unknown alphabet": (
        b"From: a\nSubject: b\nContent-Type: text/plain; charset=klingon\n\nDear"
    ),
    "zlib": zlib.compress(b"words"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_costs_little_and_ends_nothing(kind: str) -> None:
    began = time.process_time()
    found = first_text(HOSTILE[kind], "a.json" if "JSON" in kind else "a", 300)
    assert time.process_time() - began < 5
    assert len(found) <= 300
    assert found.isprintable()
