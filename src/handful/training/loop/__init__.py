"""The training loop, and all that it takes to end and to go on."""
