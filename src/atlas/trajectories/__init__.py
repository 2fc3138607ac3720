"""files or expert play -> trajectories."""
