"""Compares the action of each sampled response with the expert's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from atlas.records import Message, Trajectory
from atlas.selection.agreement.actions import NO_ACTION, Action, action_form, read_action
from atlas.selection.agreement.base import Verdict

NO_EXPERT_ACTION = "the expert's response holds no action"


def read_actions(
    trajectory: Trajectory, step: int, responses: Sequence[Message]
) -> tuple[Action | None, list[Action | None]]:
    """The expert's action at a step, and that of each response in the same form."""
    expert = trajectory.steps[step].response
    form = action_form(expert)
    return read_action(expert, form), [read_action(response, form) for response in responses]


def give_verdicts(
    expert: Action | None, found: Sequence[Action | None], agree: Callable[[Action], Verdict]
) -> list[Verdict]:
    """`agree` of each action that was found; none if the expert has no action."""
    if expert is None:
        return [Verdict(None, NO_EXPERT_ACTION)] * len(found)
    return [Verdict(False, NO_ACTION) if one is None else agree(one) for one in found]
