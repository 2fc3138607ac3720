"""Selects steps by rules on the text: offline and free, a baseline for the oracle.

It does not replace the oracle: its weights are set by hand, not fitted to data. It looks for the
four kinds of ATLaS §3.1:

    plan_creation         the first step; words of planning
    critical_observation  an observation full of words not seen before in this trajectory
    critical_action       a reward, a next observation that reports success, the last step unless
                          the trajectory failed
    self_correction       another action right after an observation that reports an error; words of
                          reconsidering

The rules are for English text. A plan without typical planning words is not found.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from atlas.kinds import NoConfig
from atlas.records import CriticalKind, CriticalStep, Message, Selection, Step, Trajectory
from atlas.selection.selectors.base import SelectorBase, take_best

# An observation counts as new information from this share of new words.
NEW_ENOUGH = 0.3


def _phrases(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"\b({pattern})\b", re.IGNORECASE)


_PLAN = _phrases(
    r"plan|sub-?goals?|strategy|first(ly)?,? (i|we|let)|break (it|this|the task) down"
    r"|step by step|in order to"
)
_ERROR = _phrases(
    r"could not|couldn't|cannot|can't|unable|invalid|error|failed|failure|denied|nothing happens"
    r"|no known action|not (recognized|valid|found|allowed|possible)"
)
_SUCCESS = _phrases(
    r"success\w*|completed?|done|crafted|got \d+|you (pick|put|open|unlock|take|move)\w*|passed"
)
_RECONSIDER = _phrases(
    r"mistake\w*|instead|actually|reconsider|went wrong|was wrong|earlier|previous(ly)?|adjust"
    r"|correct (it|this|that)"
)
_WORD = re.compile(r"\w+")


class RulesSelector(SelectorBase[NoConfig]):
    """The steps with the highest weight under fixed rules on the text, without a model.

    Of equals the earlier step is taken. A step without any weight is never taken.
    """

    def select(self, trajectory: Trajectory, budget: int) -> Selection:
        seen: set[str] = set()
        found: list[CriticalStep] = []
        for index, step in enumerate(trajectory.steps):
            words = set(_WORD.findall(_text(step.observation).lower()))
            novelty = len(words - seen) / len(words) if words and index > 0 else 0.0
            seen |= words
            if signs := _signs(trajectory, index, novelty):
                critical = CriticalStep(
                    index=index,
                    kinds=tuple(dict.fromkeys(kind for kind, _, _ in signs)),
                    reason="; ".join(why for _, _, why in signs),
                    score=round(sum(weight for _, weight, _ in signs), 3),
                )
                found.append(critical)
        return self.selection_of(trajectory, budget, take_best(found, budget))


def _signs(
    trajectory: Trajectory, index: int, novelty: float
) -> list[tuple[CriticalKind, float, str]]:
    """The rules that match a step: kind, weight and reason."""
    step, steps = trajectory.steps[index], trajectory.steps
    response, observation = step.response.content, _text(step.observation)
    is_last = index + 1 == len(steps)
    after = _text(trajectory.final_observation if is_last else steps[index + 1].observation)
    signs: list[tuple[CriticalKind, float, str]] = []
    if index == 0:
        signs.append(("plan_creation", 0.5, "the first step"))
    if _PLAN.search(response):
        signs.append(("plan_creation", 0.5, "speaks of a plan"))
    if novelty >= NEW_ENOUGH and not _ERROR.search(observation):
        why = f"{novelty:.0%} of the observation's words are new"
        signs.append(("critical_observation", 0.6 * novelty, why))
    if step.reward is not None and step.reward > 0:
        signs.append(("critical_action", 0.8, "brought a reward"))
    elif _SUCCESS.search(after) and not _ERROR.search(after):
        signs.append(("critical_action", 0.4, "the next observation reports success"))
    if is_last and trajectory.outcome.status not in ("failure", "error"):
        signs.append(("critical_action", 0.4, "the last step"))
    if index > 0 and _ERROR.search(observation) and _action(step) != _action(steps[index - 1]):
        signs.append(("self_correction", 0.8, "another action after an error"))
    elif index > 0 and _RECONSIDER.search(response):
        signs.append(("self_correction", 0.3, "speaks of reconsidering"))
    return signs


def _text(messages: Sequence[Message]) -> str:
    return "\n".join(message.content for message in messages)


def _action(step: Step) -> object:
    if step.action is not None:
        return step.action
    calls = tuple((call.name, call.arguments) for call in step.response.tool_calls)
    return step.response.content, calls
