"""Formats of trajectory files: one open file -> trajectories and problems."""
