"""Which trajectories an import keeps: `trajectory -> the filter that drops it, or None`. Each filter is named as it was written."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from atlas.errors import ConfigError
from atlas.lookup import nearest
from atlas.records import Trajectory

FIELDS: dict[str, Callable[[Trajectory], str]] = {
    "task": lambda trajectory: trajectory.task.id,
    "environment": lambda trajectory: trajectory.task.environment,
    "group": lambda trajectory: trajectory.task.group,
    "split": lambda trajectory: trajectory.task.split or "",
    "source": lambda trajectory: trajectory.source.name,
    "status": lambda trajectory: trajectory.outcome.status,
    "id": lambda trajectory: trajectory.id,
}
STATUSES = ("success", "failure", "truncated", "error", "unknown")
Filter = tuple[str, Callable[[Trajectory], bool]]
_CONDITION = re.compile(r"\s*(\w+)\s*(!=|=|~)(.*)", re.DOTALL)


def make_filters(
    only: Sequence[str], min_steps: int | None, max_steps: int | None, where: Sequence[str]
) -> list[Filter]:
    """The filters with their names, in the order in which they are asked.

    Raises:
        ConfigError: a condition is none, names no field, or holds no regular expression after `~`.
    """
    filters: list[Filter] = []
    for status in only:
        if status not in STATUSES:
            raise ConfigError(f"only={status}: no such outcome. {nearest(status, STATUSES)}")
    if only:
        filters.append(
            (f"only {', '.join(only)}", lambda trajectory: trajectory.outcome.status in only)
        )
    if min_steps is not None:
        filters.append(
            (f"min-steps {min_steps}", lambda trajectory: len(trajectory.steps) >= min_steps)
        )
    if max_steps is not None:
        filters.append(
            (f"max-steps {max_steps}", lambda trajectory: len(trajectory.steps) <= max_steps)
        )
    return filters + [(f"where {condition}", _condition(condition)) for condition in where]


def dropped_by(trajectory: Trajectory, filters: Sequence[Filter]) -> str | None:
    """The name of the first filter that the trajectory does not pass."""
    return next((name for name, keeps in filters if not keeps(trajectory)), None)


def _condition(text: str) -> Callable[[Trajectory], bool]:
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"where '{text}' is no condition, expected a field, then = or != or ~, then a text: 'task~babyai'."
        )
    name, operator, wanted = match.groups()
    field = FIELDS.get(name)
    if field is None:
        raise ConfigError(f"where '{text}': unknown field '{name}'. {nearest(name, FIELDS)}")
    if operator == "=":
        return lambda trajectory: field(trajectory) == wanted
    if operator == "!=":
        return lambda trajectory: field(trajectory) != wanted
    try:
        pattern = re.compile(wanted)
    except re.error as error:
        raise ConfigError(
            f"where '{text}': '{wanted}' is no regular expression: {error}."
        ) from None
    return lambda trajectory: pattern.search(field(trajectory)) is not None
