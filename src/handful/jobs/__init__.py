"""What passes between a driver and the worker that does its job."""
