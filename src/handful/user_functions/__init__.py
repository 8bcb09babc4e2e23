"""The five functions of an experiment: loaded, and followed through their source."""
