"""Training, testing, and all that has to do with tensors: the only room that imports torch."""
