"""Small documents of HTML."""


def write_document(path, words):
    page = f"<html><head><title>Sample</title></head><body><p>{words}</p></body></html>"
    path.write_text(page, encoding="utf-8")
