"""The values that keys can have, and how their text is read."""
