"""A model: loaded, checked, given a head, written and opened again."""
