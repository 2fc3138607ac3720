"""Statistics: intervals of numbers, agreement of selections, and counts of trajectories."""
