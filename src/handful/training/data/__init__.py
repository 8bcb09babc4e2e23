"""From encoded rows to batches."""
