"""The quality of models: real data sets and checkpoints, all of them from packages."""
