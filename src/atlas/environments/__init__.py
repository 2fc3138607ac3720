"""Worlds that agents play, and the one loop that plays them: task + player -> Trajectory."""
