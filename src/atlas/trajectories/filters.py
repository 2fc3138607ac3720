"""Filters of an import: `trajectory -> the filter that drops it, or None`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import get_args

from atlas.errors import ConfigError
from atlas.lookup import nearest
from atlas.records import OutcomeStatus
from atlas.trajectories.trajectory_lines import TrajectoryLine

FIELDS = ("task", "environment", "group", "split", "source", "status", "id")
STATUSES: tuple[str, ...] = get_args(OutcomeStatus)
# The filter as the user wrote it, and its condition.
Filter = tuple[str, Callable[[TrajectoryLine], bool]]
_CONDITION = re.compile(r"\s*(\w+)\s*(!=|=|~)(.*)", re.DOTALL)


def make_filters(
    only: Sequence[str], min_steps: int | None, max_steps: int | None, where: Sequence[str]
) -> list[Filter]:
    """The filters in the order in which they are applied.

    Raises:
        ConfigError: a status or a field is not known, or a condition cannot be read.
    """
    filters: list[Filter] = []
    for status in only:
        if status not in STATUSES:
            raise ConfigError(f"only={status}: not an outcome. {nearest(status, STATUSES)}")
    if only:
        name = f"only {', '.join(only)}"
        filters.append((name, lambda trajectory: trajectory.status in only))
    if min_steps is not None:
        name = f"min_steps {min_steps}"
        filters.append((name, lambda trajectory: trajectory.num_steps >= min_steps))
    if max_steps is not None:
        name = f"max_steps {max_steps}"
        filters.append((name, lambda trajectory: trajectory.num_steps <= max_steps))
    return filters + [(f"where {condition}", _condition(condition)) for condition in where]


def dropped_by(trajectory: TrajectoryLine, filters: Sequence[Filter]) -> str | None:
    """The name of the first filter that the trajectory does not pass."""
    for name, keeps in filters:
        if not keeps(trajectory):
            return name
    return None


def _condition(text: str) -> Callable[[TrajectoryLine], bool]:
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"invalid where condition '{text}': expected FIELD=TEXT, FIELD!=TEXT or FIELD~REGEX, "
            "for example 'task~babyai'."
        )
    name, operator, wanted = match.groups()
    if name not in FIELDS:
        raise ConfigError(f"where '{text}': unknown field '{name}'. {nearest(name, FIELDS)}")
    field: Callable[[TrajectoryLine], str] = attrgetter(name)
    if operator == "=":
        return lambda trajectory: field(trajectory) == wanted
    if operator == "!=":
        return lambda trajectory: field(trajectory) != wanted
    try:
        pattern = re.compile(wanted)
    except re.error as error:
        raise ConfigError(
            f"where '{text}': '{wanted}' is not a regular expression: {error}."
        ) from None
    return lambda trajectory: pattern.search(field(trajectory)) is not None
