"""The parts of truth.py: measurements against synthetic results whose truth is known."""
