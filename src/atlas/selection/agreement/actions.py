r"""Reads the action in a response: its tool calls, the text after "Action:", or the whole text.

The expert's response says which of the three forms the actions of a trajectory have; a sampled
response is read in the same form. Thoughts are not part of an action.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from atlas.environments.react import action_lines
from atlas.records import Message, ToolCall
from atlas.rendering.text_calls import OPEN, read_text_calls

Form = Literal["calls", "marked", "text"]
FENCE = "```"
THOUGHTS_BEGIN, THOUGHTS_END = "<think>", "</think>"
NO_ACTION = "it holds no action"


@dataclass(frozen=True, slots=True)
class Action:
    """What a response does: tool calls, or else a text that is not empty."""

    calls: tuple[ToolCall, ...] = ()
    text: str = ""

    def __str__(self) -> str:
        return self.text or "\n".join(f"{call.name} {call.arguments}" for call in self.calls)


def action_form(expert: Message) -> Form:
    r"""The form of the expert's action.

    >>> action_form(Message(role="assistant", content="Thought:\nA door.\n\nAction:\nopen it"))
    'marked'
    """
    if _with_calls(expert).tool_calls:
        return "calls"
    return "marked" if any(map(_has_word, action_lines(_said(expert)))) else "text"


def read_action(response: Message, form: Form) -> Action | None:
    r"""The action in a response; None if there is none of this form.

    >>> response = Message(role="assistant", content="Thought: A door.\nAction: open it\nDone.")
    >>> str(read_action(response, "marked")), read_action(response, "calls")
    ('open it', None)
    """
    if form == "calls":
        calls = _with_calls(response).tool_calls
        return Action(calls=calls) if calls else None
    if response.tool_calls:
        # The expert says something here, and the model calls a tool.
        return None
    if form == "text":
        text = _said(response).strip()
        return Action(text=text) if text else None
    lines = list(action_lines(_said(response)))
    first = next((number for number, line in enumerate(lines) if _has_word(line)), None)
    if first is None:
        return None
    fenced = [number for number, line in enumerate(lines[:first]) if line.startswith(FENCE)]
    if lines[first].startswith(FENCE):
        fenced.append(first)
    if not fenced:
        # Like the text worlds of atlas, which carry out the first line with words.
        return Action(text=lines[first])
    inside = "\n".join(_raw_lines(_said(response))[fenced[-1] + 1 :]).split(FENCE)[0]
    return Action(text=inside.strip("\n")) if inside.strip() else None


def _has_word(line: str) -> bool:
    return re.search(r"\w", line) is not None


def _raw_lines(text: str) -> list[str]:
    """The lines after the last "Action:", with their indentation."""
    return re.split(r"\baction\s*:", text, flags=re.IGNORECASE)[-1].splitlines()


def _said(response: Message) -> str:
    """The content after the thoughts, which some templates begin before the response."""
    _, is_ended, words = response.content.rpartition(THOUGHTS_END)
    # A response that ends inside its thoughts says nothing.
    return "" if not is_ended and words.lstrip().startswith(THOUGHTS_BEGIN) else words


def _with_calls(response: Message) -> Message:
    """A response with its tool calls, also if they were written as text."""
    if response.tool_calls or OPEN not in response.content:
        return response
    return read_text_calls(_said(response))
