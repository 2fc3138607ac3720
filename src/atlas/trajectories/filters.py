"""Which trajectories an import keeps: `trajectory -> the filter that drops it, or None`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import get_args

from atlas.errors import ConfigError
from atlas.lookup import nearest
from atlas.records import OutcomeStatus, Trajectory

FIELDS: dict[str, Callable[[Trajectory], str]] = {
    "task": lambda trajectory: trajectory.task.id,
    "environment": lambda trajectory: trajectory.task.environment,
    "group": lambda trajectory: trajectory.task.group,
    "split": lambda trajectory: trajectory.task.split or "",
    "source": lambda trajectory: trajectory.source.name,
    "status": lambda trajectory: trajectory.outcome.status,
    "id": lambda trajectory: trajectory.id,
}
STATUSES: tuple[str, ...] = get_args(OutcomeStatus)
# Its name, as it was written, and what it keeps.
Filter = tuple[str, Callable[[Trajectory], bool]]
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
        filters.append((name, lambda trajectory: trajectory.outcome.status in only))
    if min_steps is not None:
        name = f"min_steps {min_steps}"
        filters.append((name, lambda trajectory: len(trajectory.steps) >= min_steps))
    if max_steps is not None:
        name = f"max_steps {max_steps}"
        filters.append((name, lambda trajectory: len(trajectory.steps) <= max_steps))
    return filters + [(f"where {condition}", _condition(condition)) for condition in where]


def dropped_by(trajectory: Trajectory, filters: Sequence[Filter]) -> str | None:
    """The name of the first filter that the trajectory does not pass."""
    return next((name for name, keeps in filters if not keeps(trajectory)), None)


def _condition(text: str) -> Callable[[Trajectory], bool]:
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"invalid where condition '{text}': expected FIELD=TEXT, FIELD!=TEXT or FIELD~REGEX, "
            "for example 'task~babyai'."
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
            f"where '{text}': '{wanted}' is not a regular expression: {error}."
        ) from None
    return lambda trajectory: pattern.search(field(trajectory)) is not None
