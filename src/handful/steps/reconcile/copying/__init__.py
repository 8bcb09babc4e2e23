"""From production into the store: copied, verified, repaired."""
