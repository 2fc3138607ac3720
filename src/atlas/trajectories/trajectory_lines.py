"""A trajectory as the bytes of its line, quickly: the same bytes as `to_json` in half the time."""

from __future__ import annotations

import math
from operator import attrgetter

import orjson

from atlas.records import Trajectory
from atlas.store.record_files import to_json

_fields = attrgetter("__dict__")


def line_of(trajectory: Trajectory) -> bytes:
    """The line of a trajectory.

    orjson would write null for an infinity (1e400 in the source), so what can hold one is checked.
    """
    scores = [reward for step in trajectory.steps if (reward := step.reward) is not None]
    if (score := trajectory.outcome.score) is not None:
        scores.append(score)
    try:
        as_it_came = orjson.dumps((trajectory.tools, trajectory.source.details))
        if b"null" not in as_it_came and all(map(math.isfinite, scores)):
            return orjson.dumps(_fields(trajectory), default=_fields)
    except orjson.JSONEncodeError:
        # Whole numbers beyond 64 bits, or great depth.
        pass
    return to_json(trajectory)
