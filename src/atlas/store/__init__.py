"""What every stage writes and reads: run folders, files of records, labels, versions."""
