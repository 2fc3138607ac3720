"""Whether a sampled response does the same as the expert's: one file per way to decide."""
