"""Experiments that are disturbed at random, and must end as if nothing had been (`make chaos`)."""
