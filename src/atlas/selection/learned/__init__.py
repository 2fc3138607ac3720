"""Distill: `trajectories + selection -> learned selector`."""
