"""Which documents are alike, and what that gives away across a split."""
