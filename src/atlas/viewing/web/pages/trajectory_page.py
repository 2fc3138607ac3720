"""The page of one trajectory: `trajectory + selections + labels -> TrajectoryView`.

Pure: what a template shows of each step is decided here. All texts are visible (no control
characters), folded and cut; templates escape them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from atlas.presenting.wording import KIND_LABELS
from atlas.records import CRITICAL_KINDS, Trajectory
from atlas.terminal.visible_text import one_line
from atlas.viewing.web.pages.step_marks import GivenLabel, find_disagreements, view_columns
from atlas.viewing.web.pages.step_reader import StepReader
from atlas.viewing.web.pages.trajectory_view import (
    Fact,
    KindCount,
    StepView,
    StripCell,
    TrajectoryView,
)
from atlas.viewing.web.rows import NamedSelection

MAX_ID, MAX_TITLE, MAX_GOAL, MAX_FACT = 400, 160, 2000, 400
MAX_TOOLS = 100
# A critical step without a kind has this one in the strip and the legend.
CRITICAL = "critical"
LETTERS: dict[str, str] = {
    "plan_creation": "P",
    "critical_observation": "O",
    "critical_action": "A",
    "self_correction": "C",
    CRITICAL: "•",
}


def describe_trajectory(
    trajectory: Trajectory,
    selections: Sequence[NamedSelection] = (),
    labels: Iterable[GivenLabel] = (),
    *,
    finished: Collection[str] = (),
    prefix: str = "",
    is_blind: bool = False,
) -> TrajectoryView:
    """What the page of a trajectory shows.

    Args:
        labels: what people said, as further columns.
        finished: who has labeled the whole trajectory: their other steps are not critical.
        prefix: stands before every anchor, where one page holds several trajectories.
        is_blind: hide what the source says about steps. Pass no selections either.
    """
    if is_blind:
        plain = [step.model_copy(update={"annotation": None}) for step in trajectory.steps]
        trajectory = trajectory.model_copy(update={"steps": tuple(plain)})
    columns = view_columns(trajectory.steps, selections, labels, finished)
    disagreements = find_disagreements(columns)
    reader = StepReader(trajectory, prefix)
    reasons = {each.index: each.reason for each in disagreements}
    steps = tuple(
        reader.step(index, tuple(column.marks[index] for column in columns), reasons.get(index, ""))
        for index in range(len(trajectory.steps))
    )
    goal = one_line(trajectory.task.goal or "", MAX_GOAL)
    return TrajectoryView(
        id=one_line(trajectory.id, MAX_ID),
        title=one_line(trajectory.task.id, MAX_TITLE),
        goal=goal,
        status=trajectory.outcome.status,
        outcome=_outcome(trajectory),
        outcome_reason=one_line(trajectory.outcome.reason or "", MAX_FACT),
        facts=tuple(_facts(trajectory)),
        tools=tuple(_tool_names(trajectory)),
        prompt=reader.prompt(),
        steps=steps,
        final=reader.final(),
        columns=columns,
        disagreements=disagreements,
        strip=tuple(_cell(step) for step in steps),
        legend=tuple(_legend(steps)),
        num_critical=sum(step.is_critical for step in steps),
    )


def _outcome(trajectory: Trajectory) -> str:
    outcome = trajectory.outcome
    score = f", score {outcome.score:.4g}" if outcome.score is not None else ""
    return f"{outcome.status}{score}"


def _facts(trajectory: Trajectory) -> Iterator[Fact]:
    task, source = trajectory.task, trajectory.source
    place = source.path or ""
    if place and source.line is not None:
        place += f" line {source.line}"
    elif place and source.row is not None:
        place += f" row {source.row}"
    given = {
        "environment": " · ".join(filter(None, (task.environment, task.group, task.split))),
        "seed": "" if task.seed is None else str(task.seed),
        "steps": f"{len(trajectory.steps):,}",
        "source": ", ".join(filter(None, (source.name, place))),
        "trajectory": trajectory.id,
    }
    for name, value in given.items():
        if value:
            yield Fact(name, one_line(value, MAX_FACT))


def _tool_names(trajectory: Trajectory) -> Iterator[str]:
    """The names of the tools, in OpenAI's form (`function.name`) or in that of others (`name`)."""
    for tool in trajectory.tools[:MAX_TOOLS]:
        inner = tool.get("function")
        name = inner.get("name") if isinstance(inner, Mapping) else tool.get("name")
        yield one_line(str(name or "a tool without a name"), MAX_TITLE)


def _cell(step: StepView) -> StripCell:
    kinds = step.kinds or ((CRITICAL,) if step.is_critical else ())
    names = [KIND_LABELS.get(kind, kind) for kind in kinds] or ["not critical"]  # type: ignore[call-overload]
    letters = "".join(LETTERS[kind] for kind in kinds)
    notes = filter(None, (f"columns disagree: {step.disagreement}" if step.disagreement else "",))
    return StripCell(
        index=step.index,
        anchor=step.anchor,
        kind=kinds[0] if kinds else "",
        letters=letters if len(letters) < 3 else f"{letters[0]}+",
        words="; ".join([", ".join(names), *notes, *step.remarks]),
        is_critical=step.is_critical,
        disagrees=bool(step.disagreement),
        is_invalid=step.is_invalid,
    )


def _legend(steps: Sequence[StepView]) -> Iterator[KindCount]:
    for kind in CRITICAL_KINDS:
        if num := sum(kind in step.kinds for step in steps):
            yield KindCount(kind, KIND_LABELS[kind], LETTERS[kind], num)
    if num := sum(step.is_critical and not step.kinds for step in steps):
        yield KindCount(CRITICAL, "no kind given", LETTERS[CRITICAL], num)
