"""From the files of an artifact to the rows of an Arrow dataset."""
