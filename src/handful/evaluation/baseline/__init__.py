"""The baseline of every experiment: what simple models make of the encoded data in seconds."""
