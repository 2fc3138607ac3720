"""ReAct text of text worlds: "Thought:", a thought, then "Action:" and one action."""

from __future__ import annotations

import re
from collections.abc import Iterator

from atlas.records import Message

_MARKER = re.compile(r"\baction\s*:", re.IGNORECASE)
_NUMBER = re.compile(r"([+-]?\d{1,9})\.?")
NO_ACTION = (
    'No action found. Answer with "Thought:", your thought, '
    'then "Action:" and one action on the next line.'
)
# Characters of an agent's text that an observation repeats.
MAX_QUOTED = 60
ANSWER_FORMAT = """\
Answer in this format:
Thought:
<your thought>

Action:
<your action>"""


def parse_action(response: str) -> str | None:
    r"""The action in a response: the first line with words after the last "Action:"; None without.

    >>> parse_action("Thought:\nIt is locked.\n\nAction:\nopen door 1\nopen door 2")
    'open door 1'
    """
    return next((line for line in action_lines(response) if re.search(r"\w", line)), None)


def action_lines(response: str) -> Iterator[str]:
    """The lines after the last "Action:", stripped; none without that marker."""
    _, *rest = _MARKER.split(response)
    return (line.strip() for line in (rest[-1].splitlines() if rest else ()))


def parse_number(action: str) -> int | None:
    """The whole number that an action is; None if it is another text.

    >>> parse_number("3."), parse_number("-1"), parse_number("--3")
    (3, -1, None)
    """
    found = _NUMBER.fullmatch(action.strip())
    return None if found is None else int(found[1])


def react_message(thought: str, action: str) -> Message:
    """A response of an assistant in ReAct text."""
    return Message(role="assistant", content=f"Thought:\n{thought}\n\nAction:\n{action}")


def user(text: str) -> tuple[Message, ...]:
    """An observation of one message."""
    return (Message(role="user", content=text),)
