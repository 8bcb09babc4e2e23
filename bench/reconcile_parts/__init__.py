"""The parts of `bench/reconcile.py`."""
