"""Check: read an exported file again and prove token by token that a trainer supervises the same.

The expected tokens come from the runs by the renderer's ownership and loss mask. The found tokens
come from the file only: by the simulation of a trainer (dialects of messages) or as written there
(dialects of tokens). They are compared per step, because under a template that strips earlier
thinking a flagged turn in mid-conversation is another text than the same turn at the end.
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
from atlas.rendering.renderer import Renderer
from atlas.rendering.token_ownership import NO_STEP, TokenizedExample
from atlas.store.readers import read_selected

Tokens = tuple[int, ...]
# The place of a row, and the row.
PlacedRow = tuple[str, Any]
NUM_SHOWN = 20


@dataclass(frozen=True, slots=True)
class CheckedExport:
    """What was compared.

    Attributes:
        unrendered: trajectories that the chat template refuses, and why.
    """

    num_trajectories: int
    num_rows: int
    num_steps: int
    num_supervised_tokens: int
    unrendered: tuple[str, ...] = ()

    def __str__(self) -> str:
        refused = (
            f". Not compared: {len(self.unrendered)}, the first {self.unrendered[0]}"
            if self.unrendered
            else ""
        )
        return (
            f"{self.num_rows:,} rows of {self.num_trajectories:,} trajectories: all "
            f"{self.num_supervised_tokens:,} supervised tokens of {self.num_steps:,} critical "
            f"steps are the same{refused}"
        )


@dataclass(frozen=True, slots=True)
class _SupervisedStep:
    """The tokens of one supervised step, and those before it."""

    context: Tokens
    tokens: Tokens


def check_export(
    config: ExportConfig, trajectories: Path, selection: Path, file: Path, renderer: Renderer
) -> CheckedExport:
    """Compare `file` with the runs that it was made from.

    Raises:
        MismatchError: a supervised token differs; the message names trajectory, step and tokens of
            the first differences.
        DataError: the file cannot be read at all.
        RunError: an input is not a finished run of its kind.
    """
    dialect = dialect_of(config, renderer)
    file_rows = read_rows(file)
    differences: list[str] = []
    unrendered: list[str] = []
    num_trajectories = num_rows = num_steps = num_tokens = 0
    for trajectory, chosen in read_selected(selection, trajectories):
        made = rows_of(dialect, trajectory, chosen)
        if isinstance(made, Problem):
            continue
        rows = [row for _, row in zip(made, file_rows, strict=False)]
        if len(rows) < len(made):
            differences.append(
                f"{file.name} ends early: {len(rows)} of the {len(made)} rows of trajectory "
                f"{trajectory.id}"
            )
            break
        holds_tokens = isinstance(dialect.read(made[0]), SupervisedTokens)
        try:
            examples = renderer.tokenize_trajectory(trajectory, dialect.max_tokens, chosen.indices)
        except ModelError as error:
            # There is nothing to compare with: training leaves this trajectory out too.
            unrendered.append(f"{trajectory.id} ({error})")
            continue
        expected = _expected_steps(examples)
        found = (
            _compare_tokens(dialect, renderer, rows, examples, chosen.indices)
            if holds_tokens
            else _compare(dialect, renderer, trajectory, chosen, rows, expected)
        )
        differences += [f"trajectory {trajectory.id}{difference}" for difference in found]
        num_trajectories += 1
        num_rows += len(rows)
        num_steps += len(expected)
        num_tokens += sum(len(step.tokens) for step in expected.values())
    else:
        if (left := next(file_rows, None)) is not None:
            differences.append(
                f"{left[0]} does not belong to a trajectory: the file has more rows than the runs "
                "give"
            )
    if differences:
        raise MismatchError(_explain(file, renderer, differences))
    return CheckedExport(num_trajectories, num_rows, num_steps, num_tokens, tuple(unrendered))


def _explain(file: Path, renderer: Renderer, differences: list[str]) -> str:
    left = len(differences) - NUM_SHOWN
    shown = "\n  ".join([*differences[:NUM_SHOWN], *([f"… and {left} more"] if left > 0 else [])])
    return (
        f"{file} does not supervise the tokens of the selection, {len(differences)} differences "
        f"under {renderer.name}:\n  {shown}\n"
        "If the file was changed, export again. If the template strips earlier thinking, use "
        "--to last-turn or --to trl."
    )


def _expected_steps(examples: Iterable[TokenizedExample]) -> dict[int, _SupervisedStep]:
    made = {}
    for example in examples:
        ids = example.token_ids.tolist()
        for step in example.steps:
            if places := loss_mask(example, [step]).nonzero()[0].tolist():
                made[step] = _SupervisedStep(
                    tuple(ids[: places[0]]), tuple(ids[place] for place in places)
                )
    return made


def _compare(
    dialect: Dialect,
    renderer: Renderer,
    trajectory: Trajectory,
    selection: Selection,
    rows: list[PlacedRow],
    expected: dict[int, _SupervisedStep],
) -> Iterator[str]:
    """What differs in the rows of one trajectory that hold messages."""
    found: dict[int, _SupervisedStep] = {}
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
            in_row = _read_chat(renderer, read, steps, _tools_of(row))
        except (ModelError, ValueError) as error:
            # ValueError: the tools are not JSON, or the messages do not fit the trajectory.
            yield f": {where}: {error}"
            return
        found |= in_row
    exact_context = not dialect.losses(trajectory)
    yield from _compare_steps(renderer, expected, found, exact_context=exact_context)


def _read(dialect: Dialect, row: Any) -> SupervisedChat | SupervisedTokens | str:
    try:
        return dialect.read(row)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        # Pydantic's ValidationError is a ValueError.
        return f"is damaged ({type(error).__name__}: {error})"


def _tools_of(row: Any) -> list[dict[str, Any]]:
    """The tool schemas of a row, which some dialects keep as JSON text."""
    tools = row.get("tools") if isinstance(row, dict) else None
    return json.loads(tools) if isinstance(tools, str) and tools else tools or []


def _read_chat(
    renderer: Renderer, chat: SupervisedChat, steps: list[int], tools: list[dict[str, Any]]
) -> dict[int, _SupervisedStep]:
    """The supervised steps of a row, as a trainer would find them.

    Raises:
        ModelError: the chat template refuses the conversation.
        ValueError: the messages are not those of the trajectory.
    """
    assistants = [
        index for index, message in enumerate(chat.messages) if message.role == "assistant"
    ]
    if len(assistants) != len(steps):
        raise ValueError(f"{len(assistants)} assistant messages, expected {len(steps)}")
    for index, (message, flag) in enumerate(zip(chat.messages, chat.supervised, strict=True)):
        if flag and message.role != "assistant":
            raise ValueError(f"message {index} ({message.role}) is supervised")
    row = simulate_trainer(renderer, chat.messages, chat.supervised, tools)
    return {
        step: _SupervisedStep(row.token_ids[: row.supervised[index][0]], row.tokens_of(index))
        for step, index in zip(steps, assistants, strict=True)
        if chat.supervised[index]
    }


def _compare_steps(
    renderer: Renderer,
    expected: dict[int, _SupervisedStep],
    found: dict[int, _SupervisedStep],
    *,
    exact_context: bool,
) -> Iterator[str]:
    for step in sorted(expected.keys() | found.keys()):
        name = _name(step) or " protocol turn"
        ours, theirs = expected.get(step), found.get(step)
        if ours is not None and theirs is not None:
            if ours.tokens != theirs.tokens:
                yield f"{name}: {_first_difference(renderer, ours.tokens, theirs.tokens)}"
            elif exact_context and ours.context != theirs.context:
                difference = _first_difference(renderer, ours.context, theirs.context)
                yield f"{name}: the text before it differs: {difference}"
        elif ours is not None:
            text = _show(renderer, ours.tokens)
            yield f"{name}: critical, but not supervised in the file: {text}"
        elif theirs is not None:
            text = _show(renderer, theirs.tokens)
            yield f"{name}: supervised in the file, but not critical: {text}"


def _compare_tokens(
    dialect: Dialect,
    renderer: Renderer,
    rows: list[PlacedRow],
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
        wanted = labels(example, mask).tolist()
        pairs = enumerate(zip(wanted, read.labels, strict=True))
        place = next((place for place, (one, other) in pairs if one != other), None)
        if place is not None:
            label, token = read.labels[place], ids[place]
            if label == IGNORED_LABEL:
                kind = "not supervised"
            else:
                kind = "supervised" if label == token else f"trained as token {label}"
            shown = _show(renderer, (token,))
            name = _name(int(example.step_of_token[place]))
            yield f"{name}: {where}, token {place} {shown} is {kind} in the file"


def _name(step: int) -> str:
    return "" if step == NO_STEP else f" step {step}"


def _first_difference(renderer: Renderer, ours: Tokens, theirs: Tokens) -> str:
    pairs = enumerate(zip(ours, theirs, strict=False))
    shorter = min(len(ours), len(theirs))
    place = next((place for place, (one, other) in pairs if one != other), shorter)
    there, here = (_show(renderer, side[place : place + 8]) for side in (theirs, ours))
    return f"token {place} of {len(ours)}: {there} in the file, {here} expected"


def _show(renderer: Renderer, tokens: Tokens) -> str:
    text = str(renderer.tokenizer.decode(list(tokens[:24])))
    return f"{text!r}{' …' if len(tokens) > 24 else ''}" if tokens else "nothing"
