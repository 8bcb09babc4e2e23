"""A file of certificates to trust (PEM): a company's own authority, for instance."""

from __future__ import annotations

from pathlib import Path

_BEGIN = "-----BEGIN CERTIFICATE-----"
AS_PEM = "convert it: `openssl x509 -inform der -in ca.cer -out ca.pem`"


class BadCertificates(Exception):
    """What is wrong with the file, in words; and what to do."""

    def __init__(self, what: str, remedy: str) -> None:
        self.what, self.remedy = what, remedy
        super().__init__(what)


def read_certificates(path: Path) -> bytes:
    """The file's content, of which at least one certificate can be read. `BadCertificates`."""
    import ssl  # seldom needed

    try:
        content = path.read_bytes()
    except OSError as error:
        what = f"the file of certificates cannot be read: {error.strerror}"
        raise BadCertificates(what, f"it was looked for at {path}") from None
    text = content.decode("utf-8", "replace")
    if _BEGIN not in text:
        raise BadCertificates("the file holds no certificate in PEM form", AS_PEM)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError as error:
        what = f"the file holds a certificate that cannot be read ({error.reason})"
        raise BadCertificates(what, "ask for the file again, in PEM form") from None
    return content
