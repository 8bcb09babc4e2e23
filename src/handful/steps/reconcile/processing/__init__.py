"""The processes that run the user's `process_func`."""
