"""Small mails."""

from email.message import EmailMessage


def write_document(path, words):
    mail = EmailMessage()
    mail["Subject"] = "Sample"
    mail["From"] = "a@example.com"
    mail["To"] = "b@example.com"
    mail.set_content(words)
    path.write_bytes(mail.as_bytes())
