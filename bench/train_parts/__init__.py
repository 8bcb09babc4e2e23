"""Training side by side: the data, the contestants, and R8."""
