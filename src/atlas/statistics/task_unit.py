"""The unit of intervals: trajectories of one task are alike, so they are counted as one."""

from __future__ import annotations

from atlas.records import Trajectory


def task_of(trajectory: Trajectory) -> str:
    """The unit of a trajectory: its task, within its environment."""
    return f"{trajectory.task.environment}\n{trajectory.task.id}"
