"""Inside the container: reads what SageMaker laid out, and calls the same worker as at home."""
