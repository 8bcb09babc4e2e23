"""`handful init --database --files`: looks at production, read only and bounded, and proposes."""
