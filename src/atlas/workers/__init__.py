"""Distributes work over processes."""
