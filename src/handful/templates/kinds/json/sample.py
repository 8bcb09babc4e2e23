"""Small documents of JSON."""

import json

TEXT_PATH = ("text",)


def write_document(path, words):
    found = words
    for key in reversed(TEXT_PATH):
        found = {key: found}
    path.write_text(json.dumps(found), encoding="utf-8")
