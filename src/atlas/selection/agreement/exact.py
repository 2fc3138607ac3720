"""Compares actions letter by letter, except for white space: the strictest agreement.

PivotRL (arXiv 2603.21383) reports that strict matching misses many actions that do the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from atlas.kinds import NoConfig
from atlas.records import Message, Trajectory
from atlas.selection.agreement.actions import Action
from atlas.selection.agreement.base import Verdict
from atlas.selection.agreement.compare_actions import give_verdicts, read_actions
from atlas.selection.selectors.base import SelectorContext


class ExactAgreement:
    """The same action letter by letter, except for white space."""

    def __init__(self, config: NoConfig, context: SelectorContext) -> None:
        pass

    def compare(
        self, trajectory: Trajectory, step: int, responses: Sequence[Message]
    ) -> list[Verdict]:
        expert, found = read_actions(trajectory, step, responses)
        expected = [] if expert is None else _letters(expert)
        return give_verdicts(expert, found, lambda one: Verdict(_letters(one) == expected))


def _letters(action: Action) -> list[str]:
    texts = [text for call in action.calls for text in (call.name, call.arguments)]
    return [" ".join(text.split()) for text in texts or [action.text]]
