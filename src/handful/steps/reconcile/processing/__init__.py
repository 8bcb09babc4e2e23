"""`process_func`: for which artifacts it has to run, and what it did to them."""
