"""Trajectories + selection -> checkpoint."""
