"""The task "test", and the metrics of predictions."""
