"""ReAct turns, "Thought: … Action: …": reads the action, and finds oddities in responses.

Reading the action and `odd_steps` need the response split at every "Action:", which takes most of
the time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

THOUGHT, ACTION = "Thought:", "Action:"
NO_CONTEXT = "the first step has no context"
WRITTEN_TWICE = "the history is written twice"
# The index of a step, and its oddity.
Remark = tuple[int, str]
# Role and text of a message.
Seen = tuple[str, str]
_ACTION_LINE = re.compile(r"Action:[^\S\n]*\n*[^\S\n]*([^\n]*)")


def parse_action(response: str) -> str | None:
    r"""The action that AgentGym executes: the first line after the last "Action:", if any.

    >>> parse_action("Thought:\nIt is locked.\n\nAction:\nopen door 1\nopen door 2")
    'open door 1'
    """
    return action_in(response, response.split(ACTION))


def action_in(response: str, pieces: Sequence[str]) -> str | None:
    """The same as `parse_action`, for a response that was split at every "Action:"."""
    if len(pieces) == 1:
        return None
    rest = pieces[-1]
    action = rest.strip()
    # A fast path for the usual turn: one "Action:", a space or line break, one line.
    if len(pieces) == 2 and "\n" not in action and not rest[1:2].isspace():
        return action or None
    return _ACTION_LINE.findall(response)[-1].strip() or None


def odd_steps(
    responses: Sequence[str], pieces: Sequence[Sequence[str]], empty_steps: Sequence[int]
) -> list[Remark]:
    """Step index and remark for each oddity; the trajectory is kept.

    A missing thought or action is odd if most other steps of the trajectory have one.

    Args:
        pieces: each response, split at every "Action:".
        empty_steps: the steps with an empty response.
    """
    thoughts = [THOUGHT in text for text in responses]
    num_actions = [len(each) - 1 for each in pieces]
    thoughts_expected = 2 * sum(thoughts) > len(responses)
    actions_expected = 2 * (len(responses) - num_actions.count(0)) > len(responses)
    remarks: list[Remark] = []
    if not empty_steps and all(thoughts) and set(num_actions) == {1}:
        # Printable texts have no line breaks of any kind.
        actions = [each[1].strip() for each in pieces]
        if all(map(str.isprintable, actions)):
            return remarks
    for index, number in enumerate(num_actions):
        if index in empty_steps:
            remarks.append((index, "empty response"))
            continue
        if thoughts_expected and not thoughts[index]:
            remarks.append((index, "no 'Thought:' where most steps have one"))
        if number > 1:
            remarks.append((index, "several 'Action:' in one response, the last is taken"))
        elif actions_expected and not number:
            remarks.append((index, "no 'Action:' where most steps have one"))
        elif actions_expected and _has_more_lines(pieces[index][1]):
            remarks.append((index, "several lines after 'Action:', the first is taken"))
    return remarks


def _has_more_lines(action: str) -> bool:
    """Whether lines follow that are neither the action nor its input."""
    lines = action.strip().splitlines()
    return len(lines) > 1 and not lines[1].lstrip().startswith("Action Input:")


def odd_opening(
    opening: Sequence[Seen],
    responses: Sequence[str],
    seen_before: Callable[[int], Sequence[Seen]],
) -> list[Remark]:
    """Step index and remark if the first step has no context, or if the history comes again.

    Logs of requests repeat the history in each of them. It comes again where a step is like the
    first, with the system prompt before it, or with the same steps after it as after the first.

    Args:
        opening: what was seen before the first step, the prompt included.
        responses: the texts of the steps.
        seen_before: the observation of a step.
    """
    if not any(text for _, text in opening):
        return [(0, NO_CONTEXT)]
    first = responses[0]
    if responses.count(first) == 1:
        return []
    seen_first, of_system = _without_system(seen_before(0)), [*filter(_is_system, opening)]
    starts = [0]
    for index in range(1, len(responses)):
        if responses[index] != first:
            continue
        seen = seen_before(index)
        if not seen_first or _without_system(seen)[-len(seen_first) :] != seen_first:
            continue
        if of_system and of_system == [*filter(_is_system, seen)]:
            return [(index, WRITTEN_TWICE)]
        starts.append(index)
    for start, again in pairwise(starts):
        length = again - start
        if length == 1 or again + length > len(responses):
            continue
        if responses[start:again] == responses[again : again + length] and all(
            seen_before(start + at) == seen_before(again + at) for at in range(1, length)
        ):
            return [(again, WRITTEN_TWICE)]
    return []


def _is_system(message: Seen) -> bool:
    return message[0] == "system"


def _without_system(messages: Sequence[Seen]) -> list[Seen]:
    return [message for message in messages if not _is_system(message)]
