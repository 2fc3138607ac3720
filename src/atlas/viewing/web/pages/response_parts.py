"""A response told apart: `text of a response -> reasoning, thought, action, what follows`.

The text is split at marks that it holds itself. Every word of it is in one of the parts, except the
marks ("Thought:", "Action:", the tags of thinking, a fence around the action).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_THINKING = re.compile(r"\A(?:\s*<think>)?(.*?)</think>", re.DOTALL)
_THOUGHT = re.compile(r"\A[\s*#>]*thought(?:[ \t]+\d+)?[ \t*]*:\**", re.IGNORECASE)
_ACTION = re.compile(r"^[ \t*#>]*action(?:[ \t]+\d+)?[ \t*]*:\**", re.IGNORECASE | re.MULTILINE)
_ACTION_INSIDE = re.compile(r"\baction(?:[ \t]+\d+)?[ \t]*:", re.IGNORECASE)
_FENCE_BEFORE = re.compile(r"\n?```[\w-]*\s*\Z")
_FENCE_AFTER = re.compile(r"\A\s*```[ \t]*(?=\n|\Z)")


@dataclass(frozen=True, slots=True)
class ResponseParts:
    """What a response thinks, does, and says after it; parts that it lacks are empty.

    `is_message` is true if the action is a text for the user, without any mark.
    """

    reasoning: str = ""
    thought: str = ""
    action: str = ""
    after: str = ""
    is_message: bool = False


def split_response(content: str, action: str | None = None, calls: bool = False) -> ResponseParts:
    r"""The parts of a response.

    >>> parts = split_response("Thought:\nIt is locked.\n\nAction:\nopen door 1")
    >>> parts.thought, parts.action
    ('It is locked.', 'open door 1')
    >>> split_response("List them.\n```\nls -F\n```", "ls -F\n").action
    'ls -F'

    Args:
        action: the part that the environment carried out, where known.
        calls: whether the response calls tools; then its text is not the action.
    """
    reasoning, text = "", content
    if thinking := _THINKING.match(content):
        reasoning, text = thinking[1].strip(), content[thinking.end() :]
    label = _THOUGHT.match(text)
    marks = list(_ACTION.finditer(text))
    if not marks and label:
        marks = list(_ACTION_INSIDE.finditer(text))
    if marks and not calls:
        thought, done = text[: marks[-1].start()], text[marks[-1].end() :]
        return ResponseParts(reasoning, _thought(thought), done.strip())
    known = (action or "").strip()
    start = text.rfind(known) if known and not calls else -1
    if start >= 0 and known != text.strip():
        before, after = text[:start], text[start + len(known) :]
        if _FENCE_BEFORE.search(before) and _FENCE_AFTER.match(after):
            before, after = _FENCE_BEFORE.sub("", before), _FENCE_AFTER.sub("", after)
        return ResponseParts(reasoning, _thought(before), known, after.strip())
    if calls or label:
        return ResponseParts(reasoning, _thought(text))
    return ResponseParts(reasoning, "", text.strip(), is_message=not known and bool(text.strip()))


def _thought(text: str) -> str:
    return _THOUGHT.sub("", text, count=1).strip()
