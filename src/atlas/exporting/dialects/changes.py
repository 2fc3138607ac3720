"""What files of other trainers cannot carry, by name. Each dialect lists its own in `changes`.

The lists are the only declaration: `atlas export` prints and counts them (`changed:`), the table in
docs/commands/export.md is made of them, and a test of the round trip allows nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from atlas.exporting.dialects.base import Change
from atlas.records import Message, Selection, Trajectory

JOINED = "adjacent messages of one side were joined with an empty line"
# As long as a canned "OK." to the instructions can be.
_ACKNOWLEDGEMENT = re.compile(
    r"\s*(ok|okay|understood|sure|i('ll| will)|i('ve| have))\b.{0,120}", re.IGNORECASE | re.DOTALL
)


def has_reasoning(trajectory: Trajectory, selection: Selection | None = None) -> bool:
    """Whether a message has a separate reasoning text."""
    return any(message.reasoning for message in trajectory.messages)


def has_neighbors(messages: Sequence[Message]) -> bool:
    """Whether `joined` would join any messages."""
    return any("assistant" not in (one.role, other.role) for one, other in pairwise(messages))


def after_system(messages: Sequence[Message]) -> Sequence[Message]:
    """The messages after a system message at the start."""
    return messages[1:] if messages and messages[0].role == "system" else messages


def _has_ids(trajectory: Trajectory) -> bool:
    return any(
        message.tool_call_id is not None or any(call.id is not None for call in message.tool_calls)
        for message in trajectory.messages
    )


def _has_notes(_: Trajectory, selection: Selection) -> bool:
    return any(
        step.kinds or step.reason is not None or step.score not in (None, 1.0)
        for step in selection.critical_steps
    )


def _ends_later(trajectory: Trajectory, selection: Selection) -> bool:
    return max(selection.indices, default=0) + 1 < len(trajectory.steps)


def _has_turns_in_prompt(trajectory: Trajectory) -> bool:
    return any(message.role != "system" for message in trajectory.prompt)


def _begins_like_prompt(trajectory: Trajectory) -> bool:
    """Whether the first step reads like a canned acknowledgement, which belongs to a prompt."""
    return bool(_ACKNOWLEDGEMENT.fullmatch(trajectory.steps[0].response.content))


def _hides_prompt(trajectory: Trajectory, selection: Selection) -> bool:
    """Whether roles do not show where the prompt ends, and which turns in it are not steps."""
    return _has_turns_in_prompt(trajectory) or (
        0 not in selection.indices and _begins_like_prompt(trajectory)
    )


def _hides_prompt_in_rows(trajectory: Trajectory, selection: Selection) -> bool:
    """The same for rows in which a critical step is history of later ones."""
    return _has_turns_in_prompt(trajectory) or (
        max(selection.indices, default=0) > 0 and _begins_like_prompt(trajectory)
    )


def _leaves_out_only_the_first(trajectory: Trajectory, selection: Selection) -> bool:
    return selection.indices == frozenset(range(1, len(trajectory.steps)))


def _follows_directly(trajectory: Trajectory, _: Selection) -> bool:
    roles = [message.role for message in trajectory.messages]
    return ("assistant", "assistant") in pairwise(roles)


FINAL_OBSERVATION = Change(
    "what the environment said after the last response",
    lambda trajectory, _: bool(trajectory.final_observation),
    name="final_observation",
    in_context=False,
)
SELECTION_NOTES = Change(
    "kinds, reasons and scores of critical steps: the flag only says which steps they are",
    _has_notes,
    name="selection_notes",
    in_context=False,
)
PROMPT_HIDDEN = Change(
    "where the prompt ends: a reader has to find it by the roles",
    _hides_prompt,
    name="prompt_hidden",
    in_context=False,
)
TURNS_ADJACENT = Change(
    "where a turn ends that another one follows directly: readers may take both for one",
    _follows_directly,
    name="turns_adjacent",
    in_context=False,
)
CUT_AFTER_LAST = Change(
    "turns after the last critical step are left out",
    _ends_later,
    name="cut_after_last",
    in_context=False,
)
SEVERAL_ROWS = Change(
    "each critical step is a separate row; rows of one trajectory have its `id`",
    lambda _, selection: len(selection.indices) > 1,
    name="several_rows",
    in_context=False,
)
THINKING_MOVED = Change(
    "reasoning was moved into the content, in `<think>` tags", has_reasoning, name="thinking_moved"
)
CALL_IDS_DROPPED = Change(
    "ids of tool calls: results are matched to calls by order only",
    lambda trajectory, _: _has_ids(trajectory),
    name="call_ids_dropped",
)
NAMES_DROPPED = Change(
    "names on messages",
    lambda trajectory, _: any(message.name is not None for message in trajectory.messages),
    name="names_dropped",
)
TOOLS_DROPPED = Change(
    "tool schemas: the format has no field for them",
    lambda trajectory, _: bool(trajectory.tools),
    name="tools_dropped",
)
# For formats with a separate place for the system message at the start.
NEIGHBORS_JOINED = Change(
    JOINED,
    lambda trajectory, _: has_neighbors(after_system(trajectory.messages)),
    name="neighbors_joined",
)
ALL_NEIGHBORS_JOINED = Change(
    JOINED, lambda trajectory, _: has_neighbors(trajectory.messages), name="neighbors_joined"
)
SYSTEM_MOVED = Change(
    "system messages in mid-conversation became the human's",
    lambda trajectory, _: any(message.role == "system" for message in trajectory.messages[1:]),
    name="system_moved",
)
ALL_SYSTEM_MOVED = Change(
    "system messages became the human's",
    lambda trajectory, _: any(message.role == "system" for message in trajectory.messages),
    name="system_moved",
)
EMPTY_SYSTEM_DROPPED = Change(
    "a system message without text",
    lambda trajectory, _: any(
        message.role == "system" and not message.content for message in trajectory.messages[:1]
    ),
    name="empty_system_dropped",
)
BLANKS_DROPPED = Change(
    "white space beside tool calls",
    lambda trajectory, _: any(
        message.tool_calls and message.content and not message.content.strip()
        for message in trajectory.messages
    ),
    name="blanks_dropped",
)
FIRST_READ_AS_PROMPT = Change(
    "a first turn that is the only one not critical: readers take it for the canned 'OK.'",
    _leaves_out_only_the_first,
    name="prompt_hidden",
    in_context=False,
)
ALL_CRITICAL = Change(
    "a selection of all steps, or all but the first: it reads like the published data, where every "
    "turn is trained",
    lambda trajectory, selection: selection.indices.issuperset(range(1, len(trajectory.steps))),
    name="all_critical",
    in_context=False,
)
ONLY_TOKENS = Change(
    "turns, calls and reasoning are tokens: `atlas import` cannot read them back",
    lambda *_: True,
    name="only_tokens",
    in_context=False,
)
# What a file of messages with a flag on each does not carry, and one with a row for each step.
OF_ALTERNATING = (FINAL_OBSERVATION, SELECTION_NOTES, PROMPT_HIDDEN)
OF_FLAGS = (*OF_ALTERNATING, TURNS_ADJACENT)
OF_ROWS = (
    FINAL_OBSERVATION,
    SELECTION_NOTES,
    replace(PROMPT_HIDDEN, applies=_hides_prompt_in_rows),
    CUT_AFTER_LAST,
    SEVERAL_ROWS,
)
