"""The order of work: steps and their status, production, check, several hosts."""
