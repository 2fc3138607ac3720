"""The data formats of other trainers, one file per family."""
