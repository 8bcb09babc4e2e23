"""Who runs a job: this process, a process of its own, or SageMaker."""
