"""The databases and their drivers, each as it needs to be read."""
