"""All of AWS behind one door: jobs, the container, the account, the image."""
