"""The report: one self-contained HTML page, made from what the steps left in the store."""
