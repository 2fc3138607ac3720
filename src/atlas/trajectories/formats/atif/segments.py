"""Compactions within an ATIF document: `steps and their turns -> segments`.

After a compaction the agent has a new context. Writers mark it in three ways: with
`extra.context_management`, with a system step that names the sub-agents of a summarization, or with
a system step whose text says so. A segment ends there; the next one begins with what stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from atlas.records import Message
from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.messages import Turn
from atlas.trajectories.react_turns import Remark

# "told": a notice for readers. "shown": the text of the step is the summary that the agent has.
Boundary = Literal["told", "shown"]
# Agents that keep the first message of the user.
KEEP_THE_TASK = ("terminus", "computer-1", "computer_1")
REFERENCE_KEYS = ("trajectory_id", "session_id", "trajectory_path")
NO_SUMMARY = "after a compaction; the document does not hold all of the new context"
_SAID = re.compile(r"Context compact(ed|ion)\b")
# Pi writes the summary as a step of the agent.
PI_SUMMARIES = ("compaction", "branch_summary")


@dataclass(slots=True)
class ATIFSegment:
    """The turns of a segment, of which the first ones are its prompt."""

    turns: list[Turn] = field(default_factory=list)
    num_prompt: int = 0
    remarks: list[Remark] = field(default_factory=list)

    @property
    def has_steps(self) -> bool:
        own = self.turns[self.num_prompt :]
        return any(turn.message.role == "assistant" for turn in own)


def segments_of(
    steps: Sequence[Mapping[str, Any]],
    turns: Sequence[Sequence[Turn]],
    num_prompt_steps: int,
    agent: str,
    asked_by: Callable[[Collection[str]], Sequence[Turn]],
) -> list[ATIFSegment]:
    """The segments of a document; one without compactions has one.

    Args:
        turns: of each step.
        agent: its name.
        asked_by: finds the turns of a sub-agent, by what the step calls it, that asked for what
            was left out of a summary; the agent goes on from there.
    """
    first = ATIFSegment(num_prompt=sum(map(len, turns[:num_prompt_steps])))
    segments = [first]
    for index, (step, own) in enumerate(zip(steps, turns, strict=True)):
        boundary = boundary_of(step) if index >= num_prompt_steps else None
        if boundary is None:
            segments[-1].turns += own
            continue
        if not segments[-1].has_steps:
            # Nothing was done yet that could be replaced.
            segments[-1].turns += [Turn(_as_context(turn.message)) for turn in own]
            continue
        if boundary == "told":
            # Without the marks of sub-agents.
            segments[-1].turns += own[:1]
        kept = _kept(steps[:index], turns, agent)
        references = _references(step)
        asked = asked_by(references)
        num_prompt = len(kept) + len(asked) if asked else _num_system(kept)
        segment = ATIFSegment([*kept, *asked], num_prompt)
        if boundary == "shown":
            segment.turns += [Turn(_as_context(turn.message)) for turn in own]
        follows = steps[index + 1 : index + 2]
        is_told = bool(follows) and follows[0].get("source") == "user"
        if not asked and not (boundary == "told" and is_told and not references):
            segment.remarks.append((0, NO_SUMMARY))
        segments.append(segment)
    return _with_steps(segments)


def boundary_of(step: Mapping[str, Any]) -> Boundary | None:
    """Whether a step says that the context of the agent was replaced."""
    extra = object_or_empty(step.get("extra"))
    if step.get("source") == "agent":
        return "shown" if extra.get("pi_event_type") in PI_SUMMARIES else None
    if object_or_empty(extra.get("context_management")).get("type") == "compaction":
        return "told"
    if step.get("source") != "system":
        return None
    if any("summarization" in reference for reference in _references(step)):
        return "told"
    message = step.get("message")
    return "shown" if isinstance(message, str) and _SAID.match(message) else None


def _references(step: Mapping[str, Any]) -> list[str]:
    """What the step calls its sub-agents."""
    found: list[str] = []
    results = object_or_empty(step.get("observation")).get("results")
    for result in results if isinstance(results, list) else []:
        given = object_or_empty(result).get("subagent_trajectory_ref")
        for reference in given if isinstance(given, list) else [given]:
            owner = object_or_empty(reference)
            found += [text for key in REFERENCE_KEYS if (text := text_or_none(owner.get(key)))]
    return found


def _kept(
    steps: Sequence[Mapping[str, Any]], turns: Sequence[Sequence[Turn]], agent: str
) -> list[Turn]:
    """The turns before the agent's first step that stay: system messages, and the task for some."""
    kept: list[Turn] = []
    for step, own in zip(steps, turns, strict=False):
        if step.get("source") == "agent":
            break
        is_kept = step.get("source") == "system" and boundary_of(step) is None
        if is_kept or agent.lower().startswith(KEEP_THE_TASK):
            kept += own
            if not is_kept:
                break
    return kept


def _num_system(turns: Sequence[Turn]) -> int:
    roles = [turn.message.role for turn in turns]
    return next((at for at, role in enumerate(roles) if role != "system"), len(roles))


def _as_context(message: Message) -> Message:
    """A summary as the agent has it: words of somebody else, not its own."""
    if message.role != "assistant":
        return message
    return Message(role="user", content=message.content)


def _with_steps(segments: Sequence[ATIFSegment]) -> list[ATIFSegment]:
    """The segments, those without a step joined to the end of the one before."""
    kept = [segments[0]]
    for segment in segments[1:]:
        if segment.has_steps or not kept[-1].has_steps:
            kept.append(segment)
        else:
            kept[-1].turns += segment.turns[segment.num_prompt :]
    return [segment for segment in kept if segment.has_steps] or kept[:1]
