"""What an experiment is on disk: its settings and store, its fingerprints, its kept models."""
