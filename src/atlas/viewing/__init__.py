"""Viewing: `trajectories + selections -> what a person sees and labels`."""
