"""The declared keys, section by section."""
