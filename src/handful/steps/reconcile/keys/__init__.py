"""Artifact ids and file names: in keys, in label rows, in SQL."""
