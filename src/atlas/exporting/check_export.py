"""Check: read an exported file again and prove, token by token, that a trainer would supervise what we do.

Ours is the renderer's ownership and loss mask, made from the runs; theirs comes from the file alone, by the simulation
of a trainer (dialects of messages) or as it stands there (dialects of tokens). Compared per step, because a template
that strips earlier thinking makes a flagged turn in mid-conversation another text than the same turn at the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.errors import MismatchError, ModelError
from atlas.exporting.dialects.base import Dialect, SupervisedChat, SupervisedTokens
from atlas.exporting.export_selection import ExportConfig, dialect_of, rows_of
from atlas.exporting.simulation import simulate_trainer
from atlas.exporting.write_rows import read_rows
from atlas.records import Problem, Selection, Trajectory
from atlas.rendering.loss_mask import IGNORED_LABEL, labels, loss_mask
from atlas.rendering.renderer import NO_STEP, Renderer, TokenizedExample
from atlas.store.readers import read_selected

Tokens = tuple[int, ...]
FileRow = tuple[str, Any]  # where it stands, and what it is
NUM_SHOWN = 20


@dataclass(frozen=True, slots=True)
class CheckedExport:
    """What was compared."""

    num_trajectories: int
    num_rows: int
    num_steps: int
    num_supervised_tokens: int
    unrendered: tuple[str, ...] = ()  # trajectories that the chat template refuses, and why

    def __str__(self) -> str:
        refused = (
            f". Not compared: {len(self.unrendered)}, the first {self.unrendered[0]}"
            if self.unrendered
            else ""
        )
        return (
            f"{self.num_rows:,} rows of {self.num_trajectories:,} trajectories: all {self.num_supervised_tokens:,} supervised tokens "
            f"of {self.num_steps:,} critical steps are the same{refused}"
        )


@dataclass(frozen=True, slots=True)
class _Supervised:
    """One supervised step: what stands before it and its own tokens."""

    context: Tokens
    tokens: Tokens


def check_export(
    config: ExportConfig, trajectories: Path, selection: Path, file: Path, renderer: Renderer
) -> CheckedExport:
    """Compare `file` with the runs that it was made from.

    Raises:
        MismatchError: a supervised token differs; the message names trajectory, step and tokens of the first differences.
        DataError: the file cannot be read at all.
        RunError: an input is no finished run of its kind.
    """
    dialect = dialect_of(config, renderer)
    file_rows = read_rows(file)
    differences: list[str] = []
    unrendered: list[str] = []
    num_trajectories = num_rows = num_steps = num_tokens = 0
    for trajectory, chosen in read_selected(selection, trajectories):
        expected = rows_of(dialect, trajectory, chosen)
        if isinstance(expected, Problem):
            continue
        rows = [row for _, row in zip(expected, file_rows, strict=False)]
        if len(rows) < len(expected):
            differences.append(
                f"{file.name} ends early: {len(rows)} of the {len(expected)} rows of trajectory {trajectory.id}"
            )
            break
        holds_tokens = isinstance(dialect.read(expected[0]), SupervisedTokens)
        try:
            examples = renderer.tokenize_trajectory(
                trajectory, config.max_tokens if holds_tokens else None, chosen.indices
            )
        except ModelError as error:  # nothing to compare with: training leaves this one out, too
            unrendered.append(f"{trajectory.id} ({error})")
            continue
        ours = _ours(examples)
        found = (
            _compare_tokens(dialect, renderer, rows, examples, chosen.indices)
            if holds_tokens
            else _compare(dialect, renderer, trajectory, chosen, rows, ours)
        )
        differences += [f"trajectory {trajectory.id}{difference}" for difference in found]
        num_trajectories += 1
        num_rows += len(rows)
        num_steps += len(ours)
        num_tokens += sum(len(step.tokens) for step in ours.values())
    else:
        if (left := next(file_rows, None)) is not None:
            differences.append(
                f"{left[0]} belongs to no trajectory: the file has more rows than the runs give"
            )
    if differences:
        shown = "\n  ".join(differences[:NUM_SHOWN]) + (
            f"\n  … and {len(differences) - NUM_SHOWN} more" if len(differences) > NUM_SHOWN else ""
        )
        raise MismatchError(
            f"{file} does not supervise the tokens of the selection, {len(differences)} differences under {renderer.name}:\n  {shown}\n"
            "If the file was changed, export again. If the template strips earlier thinking, use --to last-turn or --to trl."
        )
    return CheckedExport(num_trajectories, num_rows, num_steps, num_tokens, tuple(unrendered))


def _ours(examples: Iterable[TokenizedExample]) -> dict[int, _Supervised]:
    made = {}
    for example in examples:
        ids = example.token_ids.tolist()
        for step in example.steps:
            if places := loss_mask(example, [step]).nonzero()[0].tolist():
                made[step] = _Supervised(
                    tuple(ids[: places[0]]), tuple(ids[place] for place in places)
                )
    return made


def _compare(
    dialect: Dialect,
    renderer: Renderer,
    trajectory: Trajectory,
    selection: Selection,
    rows: list[FileRow],
    ours: dict[int, _Supervised],
) -> Iterator[str]:
    """What differs in the rows of one trajectory that hold messages."""
    theirs: dict[int, _Supervised] = {}
    critical = sorted(selection.indices)
    for number, (where, row) in enumerate(rows):
        read = _read(dialect, row)
        if not isinstance(read, SupervisedChat):
            yield f": {where} {read}"
            return
        steps = [
            step for message, step in trajectory.owned_messages() if message.role == "assistant"
        ]
        if dialect.one_row_per_step:
            steps = steps[: steps.index(critical[number]) + 1]
        elif dialect.stops_at_last_step:
            steps = steps[: steps.index(critical[-1]) + 1]
        try:
            found = _read_chat(renderer, read, steps, _tools_of(row))
        except (ModelError, ValueError) as error:  # ValueError: tools that are no JSON
            found = str(error)
        if isinstance(found, str):
            yield f": {where}: {found}"
            return
        theirs |= found
    yield from _compare_steps(renderer, ours, theirs, exact_context=not dialect.losses(trajectory))


def _read(dialect: Dialect, row: Any) -> SupervisedChat | SupervisedTokens | str:
    try:
        return dialect.read(row)
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
    ) as error:  # pydantic's is a ValueError
        return f"is damaged ({type(error).__name__}: {error})"


def _tools_of(row: Any) -> list[dict[str, Any]]:
    """The tool schemas of a row, which some dialects keep as JSON text."""
    tools = row.get("tools") if isinstance(row, dict) else None
    return json.loads(tools) if isinstance(tools, str) and tools else tools or []


def _read_chat(
    renderer: Renderer, chat: SupervisedChat, steps: list[int], tools: list[dict[str, Any]]
) -> dict[int, _Supervised] | str:
    assistants = [
        index for index, message in enumerate(chat.messages) if message.role == "assistant"
    ]
    if len(assistants) != len(steps):
        return f"{len(assistants)} assistant messages, expected {len(steps)}"
    for index, (message, flag) in enumerate(zip(chat.messages, chat.supervised, strict=True)):
        if flag and message.role != "assistant":
            return f"message {index} ({message.role}) is supervised"
    row = simulate_trainer(renderer, chat.messages, chat.supervised, tools)
    return {
        step: _Supervised(row.token_ids[: row.supervised[index][0]], row.tokens_of(index))
        for step, index in zip(steps, assistants, strict=True)
        if chat.supervised[index]
    }


def _compare_steps(
    renderer: Renderer,
    ours: dict[int, _Supervised],
    theirs: dict[int, _Supervised],
    *,
    exact_context: bool,
) -> Iterator[str]:
    for step in sorted(ours.keys() | theirs.keys()):
        name = f" step {step}" if step != NO_STEP else " protocol turn"
        if step not in theirs:
            yield f"{name}: critical, but not supervised in the file: {_show(renderer, ours[step].tokens)}"
        elif step not in ours:
            yield f"{name}: supervised in the file, but not critical: {_show(renderer, theirs[step].tokens)}"
        elif ours[step].tokens != theirs[step].tokens:
            yield f"{name}: {_first_difference(renderer, ours[step].tokens, theirs[step].tokens)}"
        elif exact_context and ours[step].context != theirs[step].context:
            yield f"{name}: what stands before it differs: {_first_difference(renderer, ours[step].context, theirs[step].context)}"


def _compare_tokens(
    dialect: Dialect,
    renderer: Renderer,
    rows: list[FileRow],
    examples: list[TokenizedExample],
    chosen: frozenset[int],
) -> Iterator[str]:
    """What differs in the rows of one trajectory that hold tokens: the first place of each row."""
    masked = [(example, mask) for example in examples if (mask := loss_mask(example, chosen)).any()]
    for (where, row), (example, mask) in zip(rows, masked, strict=True):
        read = _read(dialect, row)
        if not isinstance(read, SupervisedTokens):
            yield f": {where} {read}"
            continue
        ids = tuple(example.token_ids.tolist())
        if ids != read.input_ids:
            yield f": {where}: {_first_difference(renderer, ids, read.input_ids)}"
            continue
        for place, (wanted, label) in enumerate(
            zip(labels(example, mask).tolist(), read.labels, strict=True)
        ):
            if wanted != label:
                step = int(example.step_of_token[place])
                kind = (
                    "not supervised"
                    if label == IGNORED_LABEL
                    else "supervised"
                    if label == ids[place]
                    else f"trained as token {label}"
                )
                name = f" step {step}" if step != NO_STEP else ""
                yield f"{name}: {where}, token {place} {_show(renderer, (ids[place],))} is {kind} in the file"
                break


def _first_difference(renderer: Renderer, ours: Tokens, theirs: Tokens) -> str:
    place = next(
        (
            place
            for place, (one, other) in enumerate(zip(ours, theirs, strict=False))
            if one != other
        ),
        min(len(ours), len(theirs)),
    )
    there, here = (
        _show(renderer, theirs[place : place + 8]),
        _show(renderer, ours[place : place + 8]),
    )
    return f"token {place} of {len(ours)}: {there} in the file, {here} expected"


def _show(renderer: Renderer, tokens: Tokens) -> str:
    text = str(renderer.tokenizer.decode(list(tokens[:24])))
    return f"{text!r}{' …' if len(tokens) > 24 else ''}" if tokens else "nothing"
