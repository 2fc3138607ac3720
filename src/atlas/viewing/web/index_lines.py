"""What the index holds of one line: `line -> entry`. A line that cannot be read is data."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from atlas.records import CRITICAL_KINDS, NO_KIND, Selection, Trajectory
from atlas.terminal.visible_text import one_line

# Characters that are kept of a text that a list shows.
MAX_SHOWN = 300
# The bit of each kind in a mask.
BIT_OF_KIND = {kind: 1 << place for place, kind in enumerate((*CRITICAL_KINDS, NO_KIND))}


@dataclass(frozen=True, slots=True)
class TrajectoryEntry:
    """What a list shows about a trajectory, and the words by which it is found."""

    id: str = ""
    task: str = ""
    environment: str = ""
    group: str = ""
    outcome: str = "unknown"
    score: float | None = None
    num_steps: int = 0
    goal: str = ""
    fault: str | None = None
    words: str = ""


@dataclass(frozen=True, slots=True)
class SelectionEntry:
    """What a list shows about a selection: `steps` are its indices as text, to compare them."""

    id: str
    num_critical: int
    kinds: int
    steps: str
    fault: str | None


class ScoresEntry(BaseModel):
    """What the viewer reads of a line of scores.jsonl."""

    model_config = ConfigDict(frozen=True)
    trajectory_id: str
    scores: tuple[float | None, ...] = ()
    problem: str | None = None


def describe_trajectory_line(line: bytes) -> TrajectoryEntry:
    """The entry of a line that should hold a trajectory."""
    try:
        trajectory = Trajectory.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the line"
        fault = one_line(f"not a trajectory: {place}: {first['msg']}", MAX_SHOWN)
        return TrajectoryEntry(id=_id_of(line), fault=fault)
    task, outcome = trajectory.task, trajectory.outcome
    first_text = _first_text(trajectory)
    fault = f"error: {outcome.reason or 'no reason is given'}"
    return TrajectoryEntry(
        id=trajectory.id,
        task=task.id,
        environment=task.environment,
        group=task.group,
        outcome=outcome.status,
        score=outcome.score,
        num_steps=len(trajectory.steps),
        goal=one_line((task.goal or first_text)[: 4 * MAX_SHOWN], MAX_SHOWN),
        fault=one_line(fault, MAX_SHOWN) if outcome.status == "error" else None,
        words=_words(trajectory, first_text),
    )


def describe_selection_line(line: bytes) -> SelectionEntry | None:
    """The entry of a line that should hold a selection; None if nothing says whose it is."""
    try:
        selection = Selection.model_validate_json(line)
    except ValidationError as error:
        identity = _id_of(line, "trajectory_id")
        fault = f"the selection cannot be read: {error.errors(include_url=False)[0]['msg']}"
        return SelectionEntry(identity, 0, 0, "", one_line(fault, MAX_SHOWN)) if identity else None
    kinds = 0
    for step in selection.critical_steps:
        for kind in step.kinds or (NO_KIND,):
            kinds |= BIT_OF_KIND[kind]
    return SelectionEntry(
        id=selection.trajectory_id,
        num_critical=len(selection.critical_steps),
        kinds=kinds,
        steps=",".join(str(step.index) for step in selection.critical_steps),
        fault=None if selection.problem is None else one_line(selection.problem, MAX_SHOWN),
    )


def read_scores_line(line: bytes) -> ScoresEntry | None:
    """The content of a line of scores; None if it cannot be read."""
    try:
        return ScoresEntry.model_validate_json(line)
    except ValidationError:
        return None


def _id_of(line: bytes, field: str = "id") -> str:
    try:
        value = from_json(line)[field]
    except (ValueError, KeyError, TypeError, IndexError):
        return ""
    return value if isinstance(value, str) else ""


def _first_text(trajectory: Trajectory) -> str:
    """The last text before the first response, which usually states the task."""
    before = trajectory.steps[0].observation if trajectory.steps else ()
    for message in (*reversed(before), *reversed(trajectory.prompt)):
        if message.content.strip():
            return message.content
    return ""


def _words(trajectory: Trajectory, first_text: str) -> str:
    """What the search looks into: ids, goal, first text, and all of every response."""
    parts = [trajectory.id, trajectory.task.id, trajectory.task.goal or "", first_text]
    for step in trajectory.steps:
        response = step.response
        called = (f"{call.name} {call.arguments}" for call in response.tool_calls)
        parts += (response.reasoning or "", response.content, *called)
    return "\n".join(parts)
