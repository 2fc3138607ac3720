"""A trajectory as Markdown: `trajectory view -> text`, with critical steps marked.

Texts of the trajectory stand in fences that are longer than any run of backticks in them, so they
cannot become markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from atlas.presenting.markdown import escape_markdown
from atlas.viewing.web.pages.text_view import TextView
from atlas.viewing.web.pages.trajectory_view import (
    CallView,
    MessageView,
    StepView,
    TrajectoryView,
)

CRITICAL = "▶"


def markdown_copy(view: TrajectoryView) -> str:
    """The trajectory as a Markdown document."""
    lines = [f"# {escape_markdown(view.title)}", ""]
    if view.goal:
        lines += [escape_markdown(view.goal), ""]
    reason = f" ({view.outcome_reason})" if view.outcome_reason else ""
    lines.append(f"- outcome: {escape_markdown(view.outcome + reason)}")
    lines += [f"- {fact.name}: {escape_markdown(fact.value)}" for fact in view.facts]
    for column in view.columns:
        said = column.problem or column.detail
        lines.append(f"- critical steps, {escape_markdown(column.name)}: {escape_markdown(said)}")
    lines.append("")
    if view.prompt:
        lines += ["## Prompt", "", *_messages(view.prompt)]
    for step in view.steps:
        lines += _step(step, view)
    if view.final:
        lines += ["## At the end", "", *_messages(view.final)]
    return "\n".join(lines).rstrip("\n") + "\n"


def _step(step: StepView, view: TrajectoryView) -> Iterator[str]:
    yield f"## {f'{CRITICAL} ' if step.is_critical else ''}Step {step.index}"
    yield ""
    said = [
        (column, mark)
        for column, mark in zip(view.columns, step.marks, strict=True)
        if mark.is_critical
    ]
    for column, mark in said:
        score = f", score {mark.score}" if mark.score else ""
        reason = f": {escape_markdown(mark.reason)}" if mark.reason else ""
        kinds = ", ".join(mark.kind_names)
        yield f"- **{kinds}** ({escape_markdown(column.name)}{score}){reason}"
    notes = [*step.remarks, *([step.disagreement] if step.disagreement else [])]
    yield from (f"- {note}" for note in notes)
    if said or notes:
        yield ""
    if step.observation:
        yield from ("**Observation**", "", *_messages(step.observation))
    thoughts = [*step.reasoning, *([step.thought] if step.thought else [])]
    if thoughts:
        yield from ("**Thought**", "")
        for thought in thoughts:
            yield from _fence(thought)
    if step.action or step.calls or step.carried_out:
        yield from (f"**{'Message' if step.is_message else 'Action'}**", "")
        if step.action:
            yield from _fence(step.action)
        yield from _calls(step.calls)
        if step.carried_out:
            yield from ("carried out:", "", *_fence(step.carried_out))
        if step.after:
            yield from ("after the action:", "", *_fence(step.after))


def _messages(messages: Iterable[MessageView]) -> Iterator[str]:
    for message in messages:
        name = f" {escape_markdown(message.name)}" if message.name else ""
        call = "" if message.call_step is None else f", call in step {message.call_step}"
        yield f"*{message.title}{name}{call}*"
        yield ""
        if message.reasoning:
            yield from _fence(message.reasoning)
        yield from _fence(message.text)
        yield from _calls(message.calls)


def _calls(calls: Iterable[CallView]) -> Iterator[str]:
    for call in calls:
        yield f"call {escape_markdown(call.name)}{' (no result)' if call.has_no_result else ''}"
        yield ""
        for argument in call.arguments:
            yield f"- {escape_markdown(argument.name)}"
            yield ""
            yield from (f"  {line}" if line else "" for line in _fence(argument.text))
        if call.raw:
            yield from _fence(call.raw)


def _fence(view: TextView) -> Iterator[str]:
    text = view.shown
    if not text.strip():
        return
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from (fence, *text.split("\n"), fence, "")
    if view.num_cut:
        yield from (f"({view.num_cut:,} more characters are left out.)", "")
