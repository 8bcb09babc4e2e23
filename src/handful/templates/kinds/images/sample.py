"""Small pictures."""

from PIL import Image


def write_document(path, words):
    Image.new("RGB", (48, 32), color=(len(words) * 7 % 256, 90, 30)).save(path, format="PNG")
