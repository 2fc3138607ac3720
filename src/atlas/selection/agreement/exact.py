"""Compares actions letter by letter, except for white space: the strictest agreement.

PivotRL (arXiv 2603.21383) reports that strict matching misses many actions that do the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from atlas.kinds import NoConfig
from atlas.records import Message, Trajectory
from atlas.selection.agreement.actions import NO_ACTION, Action, action_form, read_action
from atlas.selection.agreement.base import Verdict
from atlas.selection.selectors.base import SelectorContext


class ExactAgreement:
    """The same action letter by letter, except for white space."""

    def __init__(self, config: NoConfig, context: SelectorContext) -> None:
        pass

    def compare(
        self, trajectory: Trajectory, step: int, responses: Sequence[Message]
    ) -> list[Verdict]:
        expert = trajectory.steps[step].response
        form = action_form(expert)
        expected = read_action(expert, form)
        return [_compare(expected, read_action(response, form)) for response in responses]


def _compare(expected: Action | None, found: Action | None) -> Verdict:
    if expected is None:
        return Verdict(None, "the expert's response holds no action")
    if found is None:
        return Verdict(False, NO_ACTION)
    return Verdict(_letters(found) == _letters(expected))


def _letters(action: Action) -> list[str]:
    texts = [text for call in action.calls for text in (call.name, call.arguments)]
    return [" ".join(text.split()) for text in texts or [action.text]]
