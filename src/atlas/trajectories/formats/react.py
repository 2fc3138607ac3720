"""ReAct transcripts in one text (arXiv 2210.03629): a row that is a text, or has it in a field.

    Question: …
    Thought 1: …
    Action 1: Search[…]
    Observation 1: …

Labels open a line; they may be numbered, and `Action Input:` and `Final Answer:` belong to the
action. Each thought with its action is a step, verbatim, with its labels. The text of an
observation is what was seen next, and what stands before the first thought (or in a field such as
`question`) is what was seen first. If several tasks stand in the text, all but the last are
examples that the agent saw.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from atlas.records import Message, Role, Step, Trajectory
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.chats import CHAT_KEYS, ChatForm, chat_trajectory
from atlas.trajectories.formats.messages import ROLE_AND_CONTENT, Turn
from atlas.trajectories.formats.rows import BadRowError, Reading, SourceRow

TEXT_KEYS = (
    *("text", "transcript", "trajectory", "traj", "trace", "log", "history", "conversation"),
    *("content", "scratchpad", "agent_scratchpad", "react", "output", "completion", "response"),
)
# What the agent was asked, where the transcript does not begin with it.
TASK_KEYS = ("question", "query", "instruction", "task", "goal", "input", "prompt")
FORM = ChatForm("react", ROLE_AND_CONTENT, CHAT_KEYS.union(TEXT_KEYS, TASK_KEYS))
TASK_LABELS = ("Question", "Claim", "Task", "New input", "Human", "User")
_LABEL = re.compile(
    r"^[^\S\n]*(?:\*\*)?"
    rf"(?P<label>Thought|Action Input|Action|Final Answer|Observation|{'|'.join(TASK_LABELS)})"
    r"(?:[^\S\n]*\d+)?(?:\*\*)?:(?:\*\*)?",
    re.MULTILINE,
)


class Stretch(NamedTuple):
    """A stretch of the text, and the action in it."""

    role: Role
    text: str
    action: str | None = None


class ReActFormat(RowFormat):
    """Reads transcripts of thoughts, actions and observations."""

    # The row itself is the text, or a field of it.
    parsed = ("", *TEXT_KEYS)

    def matches(self, row: Any) -> bool:
        return _key_of(row) is not None

    def convert(self, row: SourceRow) -> Trajectory | Reading:
        key = _key_of(row.value)
        if key is None:
            raise BadRowError(
                "no transcript, expected a text with lines that begin with 'Thought:', 'Action:' "
                f"and 'Observation:', bare or under one of {', '.join(TEXT_KEYS)}"
            )
        text = row.value if isinstance(row.value, str) else row.value[key]
        asked = [] if isinstance(row.value, str) else _asked(row.value, text)
        said = [*(Stretch("user", each) for each in asked), *_said(text, bool(asked))]
        turns = [Turn(Message(role=each.role, content=each.text)) for each in said]
        # The text was read here, not as an answer beside messages.
        rest = (
            {name: value for name, value in row.value.items() if name not in (key, *TASK_KEYS)}
            if isinstance(row.value, dict)
            else {}
        )
        beside = replace(row, value=rest, known_hash=row.content_hash)
        made = chat_trajectory(beside, turns, FORM)
        reading = made if isinstance(made, Reading) else Reading(made)
        steps = reading.trajectory.steps
        # The answer may stand beside the transcript, and the first text may be in the prompt.
        acting = iter([each for each in said if each.role == "assistant"])
        acted: list[Step] = []
        for step in steps:
            words = step.response.content
            found = next((each for each in acting if each.text == words), None)
            acted.append(step.model_copy(update={"action": found and found.action}))
        trajectory = reading.trajectory.model_copy(update={"steps": tuple(acted)})
        return reading._replace(trajectory=trajectory)


def _key_of(row: Any) -> str | None:
    """The field that holds a transcript; empty for a row that is one."""
    if isinstance(row, str):
        return "" if _is_transcript(row) else None
    if not isinstance(row, dict) or any(map(_holds_objects, row.values())):
        return None
    return next((key for key in TEXT_KEYS if _is_transcript(row.get(key))), None)


def _is_transcript(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    labels = {match["label"] for match in _LABEL.finditer(value)}
    return {"Action", "Observation"} <= labels


def _holds_objects(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(each, dict) for each in value)


def _asked(row: Mapping[str, Any], text: str) -> list[str]:
    """What the agent was asked, unless the transcript says it."""
    given = (row.get(key) for key in TASK_KEYS)
    return [each for each in given if isinstance(each, str) and each.strip() and each not in text]


def _said(text: str, is_asked_before: bool) -> Iterator[Stretch]:
    """The stretches of a transcript in order.

    Args:
        is_asked_before: the task stands elsewhere, so that a text before the first action is the
            thought of the agent.
    """
    marks = [*_LABEL.finditer(text)]
    first = max(
        (index + 1 for index, mark in enumerate(marks) if mark["label"] in TASK_LABELS), default=0
    )
    marks = marks[first:]
    if not marks:
        raise BadRowError("no 'Thought:' or 'Action:' follows the last task of the transcript")
    is_thought = is_asked_before and not first and marks[0]["label"] == "Action"
    begin = 0
    if not is_thought:
        begin = marks[0].start()
        if preface := text[:begin].strip():
            yield Stretch("user", preface)
    while marks:
        if marks[0]["label"] == "Observation":
            seen = marks.pop(0)
            begin = marks[0].start() if marks else len(text)
            yield Stretch("user", text[seen.end() : begin].strip())
            continue
        num_marks = _marks_of_step(marks)
        end = marks[num_marks].start() if num_marks < len(marks) else len(text)
        acting = (mark.end() for mark in marks[:num_marks] if mark["label"] == "Action")
        action = next((text[at:end].strip() for at in acting), None)
        yield Stretch("assistant", text[begin:end].strip(), action or None)
        marks, begin = marks[num_marks:], end


def _marks_of_step(marks: Sequence[re.Match[str]]) -> int:
    """How many labels belong to the step: up to an observation, or what follows its action."""
    has_acted = False
    for index, mark in enumerate(marks):
        label = mark["label"]
        if label == "Observation" or (has_acted and label in ("Thought", "Action")):
            return index
        has_acted = has_acted or label in ("Action", "Final Answer")
    return len(marks)
