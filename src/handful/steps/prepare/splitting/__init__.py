"""Who goes to which split, and who has to go together."""
