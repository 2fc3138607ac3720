"""The selectors: one file each, a class with a Config of its own."""
