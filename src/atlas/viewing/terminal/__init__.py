"""Viewing in a terminal: show trajectories and label steps by hand."""
