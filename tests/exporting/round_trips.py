"""What of a trajectory and its selection a file holds: `import(export(x))` as views to compare.

`FORGET` says for each change that dialects declare what it does to a view. A loss that is declared
nowhere is a difference between two views.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from atlas.exporting.dialects.base import Dialect
from atlas.exporting.export_rows import rows_of
from atlas.exporting.write_rows import write_rows
from atlas.records import Message, Problem, Selection, Trajectory
from atlas.rendering.openai_messages import decode_arguments
from tests.source_files import detect_format, read_file


@dataclass(frozen=True, slots=True)
class Said:
    """One message, and how its step is marked; arguments are values."""

    role: str
    content: str
    reasoning: str | None
    calls: tuple[tuple[str, str, str | None], ...]
    answers: str | None
    name: str | None
    is_step: bool
    is_marked: bool | None = False
    kinds: tuple[str, ...] = ()
    score: float | None = 0.0


@dataclass(frozen=True, slots=True)
class View:
    """A conversation, its tool schemas, and what the environment said at the end."""

    said: tuple[Said, ...]
    tools: str
    final: tuple[Said, ...] = ()


def exported_views(dialect: Dialect, trajectory: Trajectory, selection: Selection) -> list[View]:
    """What should come back: one view for each row."""
    chosen = {step.index: step for step in selection.critical_steps}
    owned = list(trajectory.owned_messages())
    said = []
    for message, step in owned:
        one = _said(message, is_step=step >= 0)
        if mark := chosen.get(step):
            score = mark.score if mark.score is not None and mark.score > 0 else None
            one = replace(
                one,
                is_marked=True,
                kinds=mark.kinds,
                score=(0.0 if mark.kinds else 1.0) if score is None else score,
            )
        said.append(one)
    final = tuple(_said(message, is_step=False) for message in trajectory.final_observation)
    whole = View(tuple(said), _text(list(trajectory.tools)), final)
    if not dialect.one_row_per_step:
        return [whole]
    ends = [place for place, one in enumerate(said) if one.is_marked]
    return [
        replace(
            whole,
            said=(
                *(replace(one, is_marked=False, kinds=(), score=0.0) for one in said[:end]),
                said[end],
            ),
        )
        for end in ends
    ]


def imported_views(
    dialect: Dialect, trajectory: Trajectory, selection: Selection, folder: Path
) -> list[View] | Problem:
    """What comes back from a file, read as `atlas import` reads it; or why nothing was written."""
    rows = rows_of(dialect, trajectory, selection)
    if isinstance(rows, Problem):
        return rows
    path = folder / f"rows{dialect.suffixes[0]}"
    write_rows(path, rows, dialect)
    found = read_file(detect_format(path), path)
    assert len(found) == len(rows)
    return list(map(_view_of, found))


def forget(view: View, names: Iterable[str]) -> View:
    """The view without what the declared changes do not carry."""
    for name in sorted(set(names), key=list(FORGET).index):
        view = FORGET[name](view)
    return view


def _view_of(item: Trajectory | Problem) -> View:
    assert isinstance(item, Trajectory), item
    said = [_said(message, is_step=False) for message in item.prompt]
    for step in item.steps:
        said += [_said(message, is_step=False) for message in step.observation]
        note = step.annotation
        said.append(
            replace(
                _said(step.response, is_step=True),
                is_marked=None if note is None else note.is_marked,
                kinds=() if note is None else note.kinds,
                score=None if note is None else note.score,
            )
        )
    final = tuple(_said(message, is_step=False) for message in item.final_observation)
    return View(tuple(said), _text(list(item.tools)), final)


def _said(message: Message, is_step: bool) -> Said:
    calls = tuple(
        (call.name, _text(decode_arguments(call.arguments)), call.id) for call in message.tool_calls
    )
    return Said(
        message.role,
        message.content,
        message.reasoning or None,
        calls,
        message.tool_call_id,
        message.name,
        is_step,
    )


def _text(value: Any) -> str:
    """A decoded value as a text that tells 1 from true and from 1.0, but not the order of keys."""
    if isinstance(value, dict):
        return repr(sorted((key, _text(inner)) for key, inner in value.items()))
    if isinstance(value, list):
        return repr([_text(inner) for inner in value])
    return repr(value)


def _each(change: Callable[[Said], Said]) -> Callable[[View], View]:
    return lambda view: replace(view, said=tuple(map(change, view.said)))


def _to_last_marked(view: View) -> View:
    marked = [place for place, one in enumerate(view.said) if one.is_marked]
    return replace(view, said=view.said[: marked[-1] + 1] if marked else view.said)


def _think_aloud(one: Said) -> Said:
    text = one.content
    if one.reasoning:
        text = f"<think>\n{one.reasoning}\n</think>\n\n{text}"
    return replace(one, content=text, reasoning=None)


def _joined(said: Iterable[Said]) -> Iterator[Said]:
    waiting: Said | None = None
    for one in said:
        if one.role == "assistant":
            if waiting is not None:
                yield waiting
            yield one
            waiting = None
        elif waiting is None:
            waiting = replace(one, role="any")
        else:
            waiting = replace(waiting, content=f"{waiting.content}\n\n{one.content}")
    if waiting is not None:
        yield waiting


def _generations_joined(said: Iterable[Said]) -> Iterator[Said]:
    waiting: Said | None = None
    for one in said:
        if waiting is not None and one.role == waiting.role == "assistant":
            waiting = replace(
                waiting,
                content=waiting.content + one.content,
                reasoning=(waiting.reasoning or "") + (one.reasoning or "") or None,
                calls=waiting.calls + one.calls,
                is_step=waiting.is_step or one.is_step,
                is_marked=bool(waiting.is_marked or one.is_marked),
            )
            continue
        if waiting is not None:
            yield waiting
        waiting = one
    if waiting is not None:
        yield waiting


def _without_empty_system(view: View) -> View:
    first = view.said[0]
    is_empty = first.role == "system" and not first.content
    return replace(view, said=view.said[1:] if is_empty else view.said)


# In the order in which the changes are undone.
FORGET: dict[str, Callable[[View], View]] = {
    "reasoning_unknown": lambda view: view,
    "tools_unread": lambda view: view,
    "calls_plain": lambda view: view,
    "several_rows": lambda view: view,
    "final_observation": lambda view: replace(view, final=()),
    "cut_after_last": _to_last_marked,
    "all_critical": _each(lambda one: replace(one, is_marked=None, score=None)),
    "selection_notes": _each(lambda one: replace(one, kinds=(), score=None)),
    "prompt_hidden": _each(
        lambda one: replace(one, is_step=one.role == "assistant", is_marked=bool(one.is_marked))
    ),
    "blanks_dropped": _each(
        lambda one: replace(one, content="") if one.calls and not one.content.strip() else one
    ),
    "thinking_moved": _each(_think_aloud),
    "call_ids_dropped": _each(
        lambda one: replace(
            one, calls=tuple((name, text, None) for name, text, _ in one.calls), answers=None
        )
    ),
    "names_dropped": _each(lambda one: replace(one, name=None)),
    "tools_dropped": lambda view: replace(view, tools="[]"),
    "empty_system_dropped": _without_empty_system,
    "system_moved": _each(lambda one: replace(one, role="user") if one.role == "system" else one),
    # The score of a step that was joined by the reader is not known here.
    "turns_adjacent": lambda view: replace(
        view, said=tuple(replace(one, score=None) for one in _generations_joined(view.said))
    ),
    "neighbors_joined": lambda view: replace(view, said=tuple(_joined(view.said))),
}
