"""Who runs a job: this process, a process of its own, or several of one's own machines."""
