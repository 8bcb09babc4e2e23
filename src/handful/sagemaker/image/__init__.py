"""The container image of an experiment: built by docker or podman, checked, and pushed."""
