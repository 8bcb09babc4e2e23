"""From a job to the request that is sent for it, by pure functions."""
