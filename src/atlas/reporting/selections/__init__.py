"""Comparison of selections: `selections of the same trajectories -> how far they agree`."""
