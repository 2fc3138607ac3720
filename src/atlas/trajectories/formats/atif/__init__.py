"""Documents of ATIF, and the contexts that a compaction cuts them into."""
