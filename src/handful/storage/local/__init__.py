"""A local directory."""
