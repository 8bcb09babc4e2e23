"""What jobs cost and may cost, and whether the account is ready for them."""
