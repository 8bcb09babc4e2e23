"""The processes that run the user's `encode_data`."""
