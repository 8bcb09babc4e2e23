"""Which differences between models are real: tests, intervals and words, on arrays alone."""
