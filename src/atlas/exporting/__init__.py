"""Trajectories + selection -> a file for another trainer."""
