"""Where bytes live: production's files (read only) and the experiments' store."""
