"""The parts of report.py: a made-up experiment that is done up to `test`."""
