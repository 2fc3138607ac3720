"""Whether the choices of others are hidden from the person who labels."""

from __future__ import annotations

from atlas.records import Trajectory
from atlas.viewing.web.context import AppContext


def hides_choices(context: AppContext, trajectory: Trajectory) -> bool:
    """In blind mode, until this person has labeled the trajectory."""
    if not context.config.blind:
        return False
    return not context.labels.labeling(context.config.annotator, trajectory).is_finished
