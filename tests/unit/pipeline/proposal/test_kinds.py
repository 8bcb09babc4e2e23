"""What documents are recognised as, and what is written for them."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from handful.errors import UserError
from handful.pipeline.proposal.findings import KindProposal
from handful.pipeline.proposal.kinds import EXTRAS, advise_models, recognise_kind, write_kind
from handful.pipeline.proposal.kinds.file_kinds import kind_of_file
from handful.pipeline.proposal.kinds.json_text import find_text_path, read_path, spell_path
from handful.pipeline.proposal.kinds.language import language_of
from handful.pipeline.proposal.kinds.write import EXTRA_REQUIREMENTS
from tests.support.documents import mail, page, paper, word

ROOT = Path(__file__).parents[4]
KINDS = ("text", "json", "html", "email", "pdf", "docx", "rows", "images")
LONG = "The invoice for the work of this month is due in a week, and it is to be paid to us."


def picture(kind: str) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, format=kind)
    return file.getvalue()


def packed(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, "<x/>" * 50)
    return file.getvalue()


OFFICE = "[Content_Types].xml", "_rels/.rels"
CUT = b'{"text": "' + b"the end of this is cut off " * 40_000
SAMPLES: dict[str, tuple[str, bytes, str]] = {
    "plain text": ("a.txt", LONG.encode(), "text"),
    "latin-1": ("a.txt", "Schöne Grüße aus Köln, und süße Träume".encode("latin-1"), "text"),
    "utf-8 with a mark": ("a.txt", b"\xef\xbb\xbf" + LONG.encode(), "text"),
    "utf-16 with a mark": ("a.txt", LONG.encode("utf-16"), "text"),
    "utf-16 without": ("a.txt", LONG.encode("utf-16-le"), "text"),
    "no ending": ("a", LONG.encode(), "text"),
    "markdown with a tag": ("a.md", b"# Title\n\nOne<br>two <b>three</b>\n", "text"),
    "a table": ("a.csv", b"id,text\n1,hello\n2,there\n", "text"),
    "xml": ("a.xml", b'<?xml version="1.0"?><bill><sum>3</sum></bill>', "text"),
    "one header and a text": ("a.txt", b"Note: this is to all\n\nHello there", "text"),
    "braces and no JSON": ("a.txt", b"{this is} not JSON", "text"),
    "broken JSON": ("a.json", b'{"text": "abc"', "text"),
    "an object": ("a.json", b'{"text": "abc"}', "json"),
    "an object without its ending": ("a", b' \n{"text": {"a": ["b"]}}', "json"),
    "a list": ("a.txt", b'[{"text": "a"}, {"text": "b"}]', "json"),
    "a string": ("a.json", b'"only a string"', "json"),
    "JSON with a mark": ("a.json", b'\xef\xbb\xbf{"text": "a"}', "json"),
    "JSON lines": ("a.jsonl", b'{"a": "b"}\n{"a": "c"}\n', "json"),
    "JSON that was cut off": ("a.json", CUT[:1_000_000], "json"),
    "a page": ("a.txt", b"<!DOCTYPE html>\n<html><body>Hi</body></html>", "html"),
    "a page in capitals": ("a", b"\n<HTML><HEAD></HEAD><BODY>Hi</BODY></HTML>", "html"),
    "a page behind comments": ("a", b"<!-- a --> <!-- b --><html>Hi</html>", "html"),
    "xhtml": ("a", b'<?xml version="1.0"?><!DOCTYPE html><html><p>Hi</p></html>', "html"),
    "a fragment": ("a.txt", b"<div class='x'><p>Hello</p></div>", "html"),
    "a text full of tags": ("a.txt", b"Hi <b>a</b><br><i>b</i><br/>c<p>d</p><p>e</p>", "html"),
    "named a page": ("a.HTML", b"only words", "html"),
    "a mail": ("a.txt", mail(LONG), "email"),
    "a mail by hand": ("a", b"From: a@x.org\r\nSubject: Hi\r\n\r\nBody\r\n", "email"),
    "a mail with folded headers": ("a", b"Received: by x\n\tfor y\nDate: now\n\nHi", "email"),
    "a mail of a mailbox": ("a", b"From a@x.org Mon Jan 1\nFrom: a@x.org\nTo: b\n\nHi\n", "email"),
    "named a mail": ("1_body.eml", b"Hello, only a body", "email"),
    "pdf": ("a", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "pdf"),
    "pdf behind a blank line": ("a.pdf", b"\r\n%PDF-1.4\n", "pdf"),
    "png": ("a", picture("PNG"), "images"),
    "jpeg": ("a.txt", picture("JPEG"), "images"),
    "webp": ("a", picture("WEBP"), "images"),
    "tiff": ("a", picture("TIFF"), "images"),
    "gif": ("a", picture("GIF"), "images"),
    "bmp": ("a", picture("BMP"), "images"),
    "docx": ("a", word(LONG), "docx"),
    "docx that was cut off": ("a.docx", word(LONG)[:20_000], "docx"),
    "xlsx": ("a.xlsx", packed(*OFFICE, "xl/workbook.xml"), ""),
    "pptx": ("a.pptx", packed(*OFFICE, "ppt/presentation.xml"), ""),
    "zip": ("a.zip", packed("a.txt"), ""),
    "doc": ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), ""),
    "rtf": ("a.rtf", rb"{\rtf1\ansi Hello}", ""),
    "gzip": ("a.txt.gz", b"\x1f\x8b\x08\x00" + bytes(30), ""),
    "noise": ("a.bin", bytes(range(256)) * 9, ""),
    "empty": ("a.txt", b"", "empty"),
    "blank": ("a.txt", b" \r\n ", "empty"),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_is_what_stands_in_it(name: str) -> None:
    file, data, kind = SAMPLES[name]
    assert kind_of_file(file, data).kind == kind


def test_most_of_the_documents_decide() -> None:
    pages = {f"{number}.html": f"<p>{LONG}</p>".encode() for number in range(8)}
    found = recognise_kind({**pages, "x.txt": LONG.encode(), "y": b"", "z": picture("PNG")})
    assert found.kind == "html"
    assert found.language == "en"
    assert found.reasons == (
        "8 of 11 are HTML",
        "the others: 1 plain text, 1 empty, 1 PNG",
        "most are in the language en",
    )


@pytest.mark.parametrize(
    ("kind", "make"), [("email", mail), ("html", page), ("pdf", paper), ("docx", word)]
)
def test_the_language_is_that_of_the_text_within(kind: str, make: Callable[[str], bytes]) -> None:
    found = recognise_kind({str(number): make(LONG) for number in range(3)})
    assert (found.kind, found.language) == (kind, "en")


def test_a_scan_or_a_broken_pdf_has_no_language() -> None:
    found = recognise_kind({"a.pdf": paper(""), "b.pdf": paper(LONG)[:200]})
    assert (found.kind, found.language) == ("pdf", "")


@pytest.mark.parametrize(
    ("documents", "reason"),
    [
        ({}, "no document was read"),
        ({"a": b"", "b": b" "}, "all 2 documents are empty"),
        ({"a": packed("xl/a")}, "1 of 1 are a spreadsheet (.xlsx)"),
    ],
)
def test_what_cannot_be_read_is_told(documents: dict[str, bytes], reason: str) -> None:
    found = recognise_kind(documents)
    assert found.kind == ""
    assert found.reasons[0] == reason
    with pytest.raises(UserError, match="no functions are written for the kind"):
        write_kind(found, "a", model="m")


def test_encodings_other_than_utf_8_are_told() -> None:
    found = recognise_kind({"a": b"sch\xf6n", "b": b"gut"})
    assert found.kind == "text"
    assert found.details == {"encoding": "other"}
    assert "1 of 2 are not in UTF-8" in found.reasons


# --- JSON ----------------------------------------------------------------------------------------

NESTED = {
    "id": "4f1c",
    "mail": {"subject": "about a bill", "parts": [{"body.text": LONG}, {"body.text": LONG}]},
    "trace": "0123456789abcdef" * 40,
}


def test_the_longest_text_of_most_documents_is_taken() -> None:
    rare = {"rare": LONG * 50, **NESTED}
    assert find_text_path([NESTED, NESTED, rare]) == ("mail", "parts", "body.text")
    assert find_text_path([[LONG, LONG], LONG]) == ()
    assert find_text_path([{"a": "x1", "b": "y-2-z"}] * 3) == ("b",)
    assert find_text_path([{"a": 1}, {"b": []}]) is None


@pytest.mark.parametrize("keys", [(), ("a",), ("a", "b"), ("a.b", "c"), ("a\\", ".", "ü b")])
def test_keys_come_back_as_they_were(keys: tuple[str, ...]) -> None:
    assert read_path(spell_path(keys)) == keys


def test_json_says_where_its_text_is() -> None:
    found = recognise_kind({str(n): json.dumps(NESTED).encode() for n in range(5)})
    assert found.kind == "json"
    assert found.details == {"text_path": r"mail.parts.body\.text"}
    assert found.language == "en"
    lines = "\n".join([json.dumps(NESTED)] * 3).encode()
    assert recognise_kind({"a": lines}).details["lines"] == "true"


# --- languages -----------------------------------------------------------------------------------

LANGUAGES = {
    "en": LONG,
    "de": "Die Rechnung für die Arbeit dieses Monats ist in einer Woche fällig und wird auf das "
    "Konto der Firma überwiesen, das wir Ihnen mit dem letzten Brief genannt haben.",
    "fr": "La facture pour le travail de ce mois est à payer dans une semaine, et nous vous prions "
    "de la régler sur le compte qui est indiqué dans la lettre du mois passé.",
    "es": "La factura por el trabajo de este mes se debe pagar en una semana, y les rogamos que la "
    "paguen en la cuenta que se indica en la carta del mes pasado, como es habitual.",
    "it": "La fattura per il lavoro di questo mese è da pagare in una settimana, e vi preghiamo di "
    "versare la somma sul conto che è indicato nella lettera del mese scorso.",
    "pt": "A fatura do trabalho deste mês deve ser paga em uma semana, e pedimos que o valor não "
    "seja enviado para a conta antiga, mas para a que está na carta do mês passado.",
    "nl": "De rekening voor het werk van deze maand is over een week te betalen, en wij vragen u "
    "het bedrag op de rekening te zetten die in de brief van de vorige maand staat.",
    "pl": "Faktura za pracę w tym miesiącu jest do zapłaty w ciągu tygodnia i prosimy o to, że się "
    "nie spóźni, a na koncie jak zawsze będzie numer, który jest w liście od nas.",
    "sv": "Fakturan för arbetet den här månaden ska betalas inom en vecka och vi ber er att inte "
    "betala till det gamla kontot, som var i brevet från oss, för det är stängt.",
    "tr": "Bu ayın faturası bir hafta içinde ödenecek ve bu hesap için daha önce olduğu gibi bir "
    "mektup ile bilgi var, ama çok geç olan ödeme için ne yazık ki bir ceza da olarak eklenir.",
    "ru": "Счёт за работу этого месяца нужно оплатить в течение недели на счёт из письма.",
    "uk": "Рахунок за роботу цього місяця потрібно сплатити протягом тижня, її номер є в листі.",
    "el": "Ο λογαριασμός για την εργασία αυτού του μήνα πρέπει να πληρωθεί σε μία εβδομάδα.",
    "ja": "今月の作業の請求書は一週間以内にお支払いください。",
    "zh": "本月工作的账单请在一周内付清，谢谢您的合作。",
    "ko": "이번 달 작업에 대한 청구서는 일주일 안에 지불해 주시기 바랍니다.",
    "ar": "يجب دفع فاتورة عمل هذا الشهر خلال أسبوع إلى الحساب المذكور في الرسالة.",
    "he": "יש לשלם את החשבון על העבודה של החודש בתוך שבוע לחשבון שבמכתב.",
    "hi": "इस महीने के काम का बिल एक सप्ताह के भीतर चुकाया जाना है।",
    "th": "กรุณาชำระค่างานของเดือนนี้ภายในหนึ่งสัปดาห์",
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_languages_are_told_apart(language: str) -> None:
    assert language_of([LANGUAGES[language]] * 3) == language


def test_short_texts_are_read_together() -> None:
    pieces = LONG.split(",")
    assert language_of(pieces * 3) == "en"


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [""],
        ["ok"],
        ["0123 4567"],
        ["ERROR sshd exit status signal kernel panic trace node cluster pod reboot retry socket"],
        [LANGUAGES["de"], LANGUAGES["fr"], LONG],
    ],
)
def test_what_is_not_sure_is_not_said(texts: list[str]) -> None:
    assert language_of(texts) == ""


# --- models --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "language", "first"),
    [
        ("text", "en", "sentence-transformers/all-MiniLM-L6-v2"),
        ("pdf", "", "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"),
        ("email", "de", "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"),
        ("images", "", "facebook/dinov2-small"),
    ],
)
def test_a_model_to_begin_with(kind: str, language: str, first: str) -> None:
    models = advise_models(KindProposal(kind, language, ()))
    assert models[0].name == first
    assert len({one.name for one in models}) == len(models) > 1
    assert all(one.licence in ("Apache-2.0", "MIT") and one.megabytes > 50 for one in models)


def test_a_language_of_its_own_has_a_model_of_its_own() -> None:
    names = [one.name for one in advise_models(KindProposal("text", "fr", ()))]
    assert "almanach/camembert-base" in names


# --- what is written -----------------------------------------------------------------------------


@pytest.mark.parametrize("document", ["body.x", "*_body.x", 'odd "name" \\ \u2028.x'])
def test_what_is_written_is_in_ruffs_form(document: str, tmp_path: Path) -> None:
    for kind in KINDS:
        details = {"text_path": r"a.b\.c", "lines": "true"} if kind == "json" else {}
        folder = tmp_path / kind
        folder.mkdir()
        written = write_kind(KindProposal(kind, "en", (), details), document, model="../model")
        assert ("requirements.txt" in written) is (kind in EXTRAS)
        for name, text in written.items():
            (folder / name).write_text(text, encoding="utf-8")
            assert repr(document)[1:-1].replace('\\"', '"') in text or name == "requirements.txt"
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--no-cache", "--line-length", "100", str(tmp_path)]
    for command in (["format", "--diff"], ["check", "--ignore", "E501"]):
        done = subprocess.run([*ruff, *command, *options], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_requirements_are_those_of_the_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extra, requirement in EXTRA_REQUIREMENTS.items():
        assert project["optional-dependencies"][extra] == [requirement]
    assert set(EXTRAS.values()) == set(EXTRA_REQUIREMENTS)


# --- what the functions read ---------------------------------------------------------------------


def reader(folder: Path, kind: str, **details: str) -> ModuleType:
    """functions.py as it is written for the kind, imported."""
    written = write_kind(KindProposal(kind, "en", (), details), "x", model="m")["functions.py"]
    path = folder / f"{kind}_functions.py"
    path.write_text(written, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(folder: Path, kind: str, data: bytes, **details: str) -> str:
    path = folder / "document"
    path.write_bytes(data)
    return " ".join(reader(folder, kind, **details).read_document(path).split())


GREETING = "Schöne Grüße, señor"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_text_is_read_in_its_encoding(tmp_path: Path, encoding: str) -> None:
    assert read(tmp_path, "text", GREETING.encode(encoding)) == GREETING


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bytes of zero"):
        read(tmp_path, "text", b"MZ\1\0\3\0")


def test_json_is_read_through_lists(tmp_path: Path) -> None:
    data = json.dumps(NESTED).encode()
    assert read(tmp_path, "json", data, text_path=r"mail.parts.body\.text") == f"{LONG} {LONG}"
    assert read(tmp_path, "json", json.dumps([LONG]).encode(), text_path="") == LONG
    lines = b'{"a": "one"}\n\n{"a": "two"}\n{"b": 3}\n'
    assert read(tmp_path, "json", lines, text_path="a", lines="true") == "one two"
    assert read(tmp_path, "json", b'{"a": {"text": 7}}', text_path="a.text") == ""


@pytest.mark.parametrize(
    ("head", "encoding"),
    [("", "utf-8"), ('<meta charset="iso-8859-1">', "latin-1"), ("", "utf-16")],
)
def test_a_page_is_read_as_it_is_seen(tmp_path: Path, head: str, encoding: str) -> None:
    page = f"<html><head>{head}<style>p {{}}</style><script>let x</script></head><body><!-- no -->"
    page += f"<p>{GREETING}</p><ul><li>one<li>two &amp; three</ul></body></html>"
    assert read(tmp_path, "html", page.encode(encoding)) == f"{GREETING} one two & three"


MAILS = {
    "plain before HTML": (
        b"Subject: Hi\nContent-Type: multipart/alternative; boundary=x\n\n--x\n"
        b"Content-Type: text/html\n\n<p>rich</p>\n--x\nContent-Type: text/plain\n\nplain\n--x--\n",
        "Hi plain",
    ),
    "HTML alone": (b"Subject: Hi\nContent-Type: text/html\n\n<p>a<p>b<style>c</style>", "Hi a b"),
    "blank plain text": (
        b"Subject: Hi\nContent-Type: multipart/alternative; boundary=x\n\n--x\n"
        b"Content-Type: text/plain\n\n \n--x\nContent-Type: text/html\n\n<p>rich</p>\n--x--\n",
        "Hi rich",
    ),
    "an attachment": (
        b"Subject: Hi\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\nbody\n--x\n"
        b"Content-Type: text/plain\nContent-Disposition: attachment\n\nunread\n--x--\n",
        "Hi body",
    ),
    "an encoded subject": (b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nTo: b\n\nHi", "Grüße Hi"),
    "an unknown character set": (
        b"Subject: Hi\nContent-Type: text/plain; charset=no-such\n\nsch\xf6n",
        "Hi schön",
    ),
    "quoted-printable": (
        b"Subject: Hi\nContent-Type: text/plain; charset=utf-8\n"
        b"Content-Transfer-Encoding: quoted-printable\n\nsch=C3=B6n",
        "Hi schön",
    ),
    "of a mailbox": (b"From a@x Mon Jan 1\nSubject: Hi\nTo: b\n\nbody", "Hi body"),
    "without a body": (b"Subject: Hi\nTo: b\n", "Hi"),
}


@pytest.mark.parametrize("name", MAILS)
def test_a_mail_is_its_subject_and_its_body(tmp_path: Path, name: str) -> None:
    data, text = MAILS[name]
    assert read(tmp_path, "email", data) == text


def test_word_is_read_with_its_tables(tmp_path: Path) -> None:
    import docx

    document, file = docx.Document(), io.BytesIO()
    document.add_heading("Title")
    table = document.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "left", "right"
    document.add_paragraph("end")
    document.save(file)
    assert read(tmp_path, "docx", file.getvalue()) == "Title left right end"


def test_a_pdf_is_read_and_a_scan_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path, "pdf", paper(LONG)) == LONG
    assert read(tmp_path, "pdf", paper("")) == ""


def test_a_picture_stands_upright_and_has_colours(tmp_path: Path) -> None:
    from PIL import Image

    sideways, file = Image.new("LA", (6, 2)), io.BytesIO()
    turned = sideways.getexif()
    turned[0x0112] = 6  # the camera was held on its side
    sideways.save(file, format="PNG", exif=turned)
    (tmp_path / "x").write_bytes(file.getvalue())
    found = reader(tmp_path, "images").read_document(tmp_path / "x")
    assert (found.size, found.mode) == ((2, 6), "RGB")
