"""Viewing: show trajectories and selections to a person, and collect labels."""
