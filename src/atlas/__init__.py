"""ATLaS: agent tuning on the critical steps of expert trajectories (arXiv 2503.02197)."""

__version__ = "0.1.0"
