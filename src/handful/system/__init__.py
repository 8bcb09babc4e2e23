"""This machine: cores, memory, processes, certificates."""
