"""The processes that run the user's functions on one document after the other."""
