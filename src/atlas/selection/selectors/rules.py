"""Selects steps by rules on the text: offline and free, a baseline for the oracle.

It does not replace the oracle: `WORTH` says how far it agrees with a large language model
(benchmarks/rules.py measures it). Its weights are set by hand, not fitted. It looks for the four
kinds of ATLaS §3.1:

    plan_creation         the first step; words of planning
    critical_observation  an observation full of words not seen before in this trajectory
    critical_action       a reward, a next observation that reports success or brings into view what
                          the goal names, the last step unless the trajectory failed
    self_correction       another action right after an error, or in a situation seen before; words
                          of reconsidering

A step that ended in an error or changed nothing is never selected, nor is one that repeats an
earlier action in the same situation. Later steps count a little more. The rules are for English
text. A plan without typical planning words is not found.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

from atlas.kinds import NoConfig
from atlas.records import CriticalKind, CriticalStep, Message, Selection, Step, Trajectory
from atlas.selection.error_turns import calls_tools, error_turns
from atlas.selection.selectors.base import SelectorBase, take_best

# An observation counts as new information from this share of new words.
NEW_ENOUGH = 0.3
# The weight of the last step's position.
LATE = 0.2
# Kappa with a large language model's labels, on trajectories that did not shape the rules.
WORTH: Mapping[str, float] = MappingProxyType({"TextCraft": 0.59, "Maze": 0.44, "BabyAI": 0.35})


def _phrases(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"\b({pattern})\b", re.IGNORECASE)


_PLAN = _phrases(
    r"plan|sub-?goals?|strategy|first(ly)?,? (i|we|let)|break (it|this|the task) down"
    r"|step by step|in order to"
)
_SUCCESS = _phrases(
    r"success\w*|completed?|done|crafted|got \d+|you (pick|put|open|unlock|take|move)\w*|passed"
)
_RECONSIDER = _phrases(
    r"mistake\w*|instead|actually|reconsider|went wrong|was wrong|earlier|previous(ly)?|adjust"
    r"|correct (it|this|that)"
)
# The beginning of an observation that reports a failure, in an environment that is not known. The
# first person is a user, who may say "I can't remember".
_FAILURE = re.compile(
    r"\W*+(nothing happens|no known action"
    r"|(?:(?!\b(?:i|we|my|our)\b)[^.\n]){0,80}\b(could not|couldn't|cannot|can't|unable|invalid"
    r"|failed|failure|denied|not (recognized|valid|found|allowed|possible)))\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w+")
# Where a trajectory does not say its goal, the sentence that does.
_GOAL = re.compile(
    r"\b(?:goal|task|objective|instruction)s?\b[^:\n.]{0,20}:\s*([^\n.]+)", re.IGNORECASE
)
# Words of a goal that name no object.
_COMMON = frozenset(
    {
        *("a", "an", "the", "to", "of", "in", "on", "at", "and", "with", "is", "it", "my", "your"),
        *("you", "that", "some", "go", "get", "find", "pick", "up", "put", "next", "open"),
        *("craft", "using"),
    }
)

Sign = tuple[CriticalKind, float, str]


class RulesSelector(SelectorBase[NoConfig]):
    """The steps with the highest weight under fixed rules on the text, without a model.

    Of equals the earlier step is taken. A step without any weight is never taken.
    """

    @property
    def worth(self) -> str:
        known = ", ".join(f"{name} {kappa:.2f}" for name, kappa in WORTH.items())
        return (
            f"agreement with a large language model's choice, as kappa: {known}; not measured on "
            "other data"
        )

    def select(self, trajectory: Trajectory, budget: int) -> Selection:
        story = _read(trajectory)
        last = max(1, len(trajectory.steps) - 1)
        found: list[CriticalStep] = []
        for index in range(len(trajectory.steps)):
            if story.is_in_vain(index):
                continue
            signs = _signs(story, index)
            score = round(sum(weight for _, weight, _ in signs) + LATE * index / last, 3)
            if score > 0:
                critical = CriticalStep(
                    index=index,
                    kinds=tuple(dict.fromkeys(kind for kind, _, _ in signs)),
                    reason="; ".join(why for _, _, why in signs) or "late in the trajectory",
                    score=score,
                )
                found.append(critical)
        return self.selection_of(trajectory, budget, take_best(found, budget))


@dataclass(frozen=True, slots=True)
class _Story:
    """What the rules read in a trajectory; one entry a step, and one more of `seen` for its end.

    Attributes:
        seen: the observation before each step, and the final one.
        actions: what the agent did.
        is_error: whether each step ended in an error.
        novelties: the share of each observation's words that are new.
        is_known: whether another action was taken in the same situation before.
        is_repeated: whether the same action was taken in the same situation before.
        shows_goal: whether each observation shows what the goal names.
    """

    trajectory: Trajectory
    seen: tuple[str, ...]
    actions: tuple[object, ...]
    is_error: tuple[bool, ...]
    novelties: tuple[float, ...]
    is_known: tuple[bool, ...]
    is_repeated: tuple[bool, ...]
    shows_goal: tuple[bool, ...]

    def is_failed(self, index: int) -> bool:
        """Whether a step ended in an error, or nothing changed."""
        is_same = bool(self.seen[index]) and self.seen[index] == self.seen[index + 1]
        return self.is_error[index] or is_same

    def is_in_vain(self, index: int) -> bool:
        """Whether a step failed, or repeats an action in the same situation."""
        return self.is_failed(index) or self.is_repeated[index]


def _read(trajectory: Trajectory) -> _Story:
    steps = trajectory.steps
    observations = [*(step.observation for step in steps), trajectory.final_observation]
    seen = tuple(map(_text, observations))
    actions = tuple(map(_action, steps))
    has_tools = calls_tools(trajectory)
    known: set[str] = set()
    novelties = []
    situations: dict[str, set[object]] = defaultdict(set)
    is_known, is_repeated = [], []
    for index, action in enumerate(actions):
        words = set(_WORD.findall(seen[index].lower()))
        novelties.append(len(words - known) / len(words) if words and index > 0 else 0.0)
        known |= words
        before = situations[seen[index]] if seen[index] else set()
        is_known.append(bool(before))
        is_repeated.append(action in before)
        before.add(action)
    return _Story(
        trajectory=trajectory,
        seen=seen,
        actions=actions,
        is_error=tuple(
            error is not None or (not has_tools and bool(_FAILURE.match(after)))
            for error, after in zip(error_turns(trajectory), seen[1:], strict=True)
        ),
        novelties=tuple(novelties),
        is_known=tuple(is_known),
        is_repeated=tuple(is_repeated),
        shows_goal=_goal_in_view(trajectory, seen),
    )


def _signs(story: _Story, index: int) -> list[Sign]:
    """The rules that match a step: kind, weight and reason."""
    response = story.trajectory.steps[index].response.content
    is_after_failure = index > 0 and story.is_failed(index - 1)
    signs: list[Sign] = []
    if index == 0:
        signs.append(("plan_creation", 0.2, "the first step"))
    if _PLAN.search(response):
        signs.append(("plan_creation", 0.2, "speaks of a plan"))
    novelty = story.novelties[index]
    if novelty >= NEW_ENOUGH and not is_after_failure:
        why = f"{novelty:.0%} of the observation's words are new"
        signs.append(("critical_observation", 0.6 * novelty, why))
    signs += _signs_of_success(story, index)
    if is_after_failure and story.actions[index] != story.actions[index - 1]:
        signs.append(("self_correction", 0.8, "another action after an error"))
    elif story.is_known[index]:
        signs.append(("self_correction", 0.3, "another action in a situation seen before"))
    elif index > 0 and _RECONSIDER.search(response):
        signs.append(("self_correction", 0.2, "speaks of reconsidering"))
    return signs


def _signs_of_success(story: _Story, index: int) -> list[Sign]:
    step = story.trajectory.steps[index]
    signs: list[Sign] = []
    if story.shows_goal[index + 1] and not story.shows_goal[index]:
        signs.append(("critical_action", 0.8, "brings into view what the goal names"))
    if step.reward is not None and step.reward > 0:
        signs.append(("critical_action", 0.8, "brought a reward"))
    elif _SUCCESS.search(story.seen[index + 1]):
        signs.append(("critical_action", 0.4, "the next observation reports success"))
    is_last = index + 1 == len(story.trajectory.steps)
    if is_last and story.trajectory.outcome.status not in ("failure", "error"):
        signs.append(("critical_action", 0.4, "the last step"))
    return signs


def _goal_in_view(trajectory: Trajectory, seen: Sequence[str]) -> tuple[bool, ...]:
    """Whether each observation has two words in a row of the goal, or its only word."""
    goal = trajectory.task.goal or ""
    for text in (seen[0] if seen else "", _text(trajectory.prompt)):
        if not goal and (match := _GOAL.search(text)):
            goal = match[1]
    names = [word for word in _WORD.findall(goal.lower()) if word not in _COMMON]
    phrases = [" ".join(pair) for pair in pairwise(names)] or names
    # The first observation often quotes the goal itself.
    texts = [text.lower().replace(goal.lower(), " ") if goal else "" for text in seen]
    return tuple(any(phrase in text for phrase in phrases) for text in texts)


def _text(messages: Sequence[Message]) -> str:
    return "\n".join(message.content for message in messages)


def _action(step: Step) -> object:
    if step.action is not None:
        return step.action
    calls = tuple((call.name, call.arguments) for call in step.response.tool_calls)
    return step.response.content, calls
