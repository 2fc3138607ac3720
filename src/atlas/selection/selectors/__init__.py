"""The selectors: one file each, a class with its own Config."""
