"""Files and the text in them: paths, checksums, CSV, documents."""
