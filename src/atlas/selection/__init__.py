"""Select: `trajectories -> selections`."""
