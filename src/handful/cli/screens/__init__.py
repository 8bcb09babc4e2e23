"""What people see: an overview, a plan, and the details of the work."""
