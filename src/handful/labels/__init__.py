"""Where labels come from: production's database."""
