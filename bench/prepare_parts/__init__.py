"""Parts of bench/prepare.py."""
