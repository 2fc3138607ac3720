"""Checks an exported file token by token: does a trainer supervise what the selection says?

The expected tokens come from the runs, through the renderer's token ownership and loss mask. The
actual tokens come only from the file: a simulated trainer finds them (dialects with messages), or
they are stored there (dialects with tokens). They are compared per step, because some templates
strip earlier thinking, so a turn in the middle of a conversation differs from the same turn at its
end. A row with the expected tokens is then compared with what an export writes, field by field:
a flag on another role, a call id or a word in a context that the dialect changes shows only there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from atlas.config import StrPath
from atlas.errors import ConfigError, MismatchError, ModelError
from atlas.exporting.dialects.base import Dialect, SupervisedChat, SupervisedTokens
from atlas.exporting.export_rows import rows_of
from atlas.exporting.export_selection import (
    ExportConfig,
    dialect_of,
    read_with_tools,
)
from atlas.exporting.row_differences import PlacedRow, row_differences
from atlas.exporting.simulation import SupervisedTurn, Tokens, simulate_trainer
from atlas.exporting.write_rows import read_rows
from atlas.models.local.load import load_renderer_named
from atlas.records import Problem, Selection, Trajectory
from atlas.rendering.count_unwritten import (
    UnwrittenCount,
    count_unwritten,
    refuse_empty_steps,
)
from atlas.rendering.loss_mask import IGNORED_LABEL, loss_mask
from atlas.rendering.renderer import Renderer
from atlas.rendering.token_ownership import NO_STEP, TokenizedExample

NUM_SHOWN = 20


@dataclass(frozen=True, slots=True)
class CheckedExport:
    """What was compared.

    Attributes:
        notes: sentences on what the chat template does not write.
    """

    num_trajectories: int
    num_rows: int
    num_steps: int
    num_supervised_tokens: int
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (
            f"{self.num_rows:,} rows of {self.num_trajectories:,} trajectories: all "
            f"{self.num_supervised_tokens:,} supervised tokens of {self.num_steps:,} critical "
            "steps are the same"
        )


def check_export(
    config: ExportConfig,
    trajectories: StrPath,
    selection: StrPath,
    file: StrPath,
    renderer: Renderer | None = None,
) -> CheckedExport:
    """Compare `file` with the runs that it was made from.

    Raises:
        MismatchError: a supervised token or a field of a row differs (the message names trajectory,
            step and tokens of the first differences), nothing but the end of turn is supervised of
            a step, or a row could not be compared, because the chat template refuses its
            conversation.
        DataError: the file cannot be read at all.
        RunError: an input is not a finished run of its kind.
    """
    trajectories, selection, file = map(Path, (trajectories, selection, file))
    renderer = renderer or load_renderer_named(config.tokenizer, config.chat_template)
    if renderer is None:
        raise ConfigError("a check compares tokens, so it needs `tokenizer` in the config.")
    dialect = dialect_of(config, renderer)
    comparison = _Comparison(dialect, renderer)
    file_rows = read_rows(file)
    differences: list[str] = []
    unrendered: list[str] = []
    unwritten = UnwrittenCount()
    num_trajectories = num_rows = num_steps = num_tokens = 0
    for trajectory, chosen in read_with_tools(config, trajectories, selection):
        made = rows_of(dialect, trajectory, chosen)
        if isinstance(made, Problem):
            continue
        rows = list(islice(file_rows, len(made)))
        if len(rows) < len(made):
            differences.append(
                f"{file.name} ends early: {len(rows)} of the {len(made)} rows of trajectory "
                f"{trajectory.id}"
            )
            break
        try:
            examples = renderer.tokenize_trajectory(trajectory, dialect.max_tokens, chosen.indices)
        except ModelError as error:
            unrendered += [f"{where}, trajectory {trajectory.id}: {error}" for where, _ in rows]
            continue
        unwritten += count_unwritten(examples, renderer, chosen.indices)
        expected = _expected_steps(examples)
        found = list(comparison.differences(rows, trajectory, chosen, examples, expected))
        found = found or list(row_differences(rows, made))
        differences += [f"trajectory {trajectory.id}{difference}" for difference in found]
        num_trajectories += 1
        num_rows += len(rows)
        num_steps += len(expected)
        num_tokens += sum(len(tokens) for _, tokens in expected.values())
    else:
        differences += [
            f"{where} does not belong to a trajectory: the file has more rows than the runs give"
            for where, _ in islice(file_rows, 1)
        ]
    if differences:
        raise MismatchError(
            f"{file} is not what the selection says, {len(differences)} "
            f"differences under {renderer.name}:\n  {_listed(differences)}\n"
            "If the file was changed, export again. If the template strips earlier thinking, use "
            "--to last-turn or --to trl."
            + (f" {len(unrendered)} more rows were not compared." if unrendered else "")
        )
    if unrendered:
        raise MismatchError(
            f"{file}: {len(unrendered)} of {num_rows + len(unrendered)} rows were not compared, "
            f"because the chat template of {renderer.name} refuses them; the others are the same:"
            f"\n  {_listed(unrendered)}\nA trainer with this template cannot use them: leave them "
            "out of the trajectories, or set chat_template to one that takes them."
        )
    if not num_rows:
        raise MismatchError(
            f"{file}: no row was compared, because no trajectory of {trajectories} has a row in "
            f"{config.dialect.name}. Export to another dialect, or select other steps."
        )
    if unwritten.empty and not config.allow_empty_steps:
        raise MismatchError(f"{file}: {refuse_empty_steps(unwritten, renderer, 'critical steps')}")
    notes = tuple(unwritten.notes(renderer, "critical steps"))
    counts = num_trajectories, num_rows, num_steps, num_tokens
    return CheckedExport(*counts, notes)


def _listed(lines: Sequence[str]) -> str:
    """The first lines, and how many more there are."""
    left = len(lines) - NUM_SHOWN
    return "\n  ".join([*lines[:NUM_SHOWN], *([f"… and {left} more"] if left > 0 else [])])


def _expected_steps(examples: Iterable[TokenizedExample]) -> dict[int, SupervisedTurn]:
    made = {}
    for example in examples:
        ids = example.token_ids.tolist()
        for step in example.steps:
            if places := loss_mask(example, [step]).nonzero()[0].tolist():
                made[step] = tuple(ids[: places[0]]), tuple(ids[place] for place in places)
    return made


class _Comparison:
    """Differences in the rows of one trajectory, as texts that follow its id in a message."""

    def __init__(self, dialect: Dialect, renderer: Renderer) -> None:
        self._dialect = dialect
        self._renderer = renderer

    def differences(
        self,
        rows: list[PlacedRow],
        trajectory: Trajectory,
        selection: Selection,
        examples: list[TokenizedExample],
        expected: dict[int, SupervisedTurn],
    ) -> Iterator[str]:
        found: dict[int, SupervisedTurn] = {}
        masked = [one for one in examples if loss_mask(one, selection.indices).any()]
        owners = trajectory.owned_messages()
        steps = [step for message, step in owners if message.role == "assistant"]
        for number, (where, row) in enumerate(rows):
            try:
                read = self._dialect.read(row)
            except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
                # Pydantic's ValidationError is a ValueError.
                yield f": {where} is damaged ({type(error).__name__}: {error})"
                return
            try:
                if isinstance(read, SupervisedTokens):
                    found |= self._steps_of_tokens(read, masked[number])
                else:
                    ends = self._steps_in_row(steps, sorted(selection.indices), number)
                    found |= self._steps_of_chat(read, ends, _tools_of(row))
            except (ModelError, ValueError) as error:
                # ValueError: the tools are not JSON, or the row does not fit the trajectory.
                yield f": {where}: {error}"
                return
        losses = self._dialect.losses(trajectory, selection)
        exact_context = not any(change.in_context for change in losses)
        for step in sorted(expected.keys() | found.keys()):
            difference = self._of_step(expected.get(step), found.get(step), exact_context)
            if difference is not None:
                name = " protocol turn" if step == NO_STEP else f" step {step}"
                yield f"{name}: {difference}"

    def _steps_in_row(self, steps: list[int], critical: list[int], number: int) -> list[int]:
        """The steps whose responses are the assistant messages of row `number`."""
        if self._dialect.one_row_per_step:
            return steps[: steps.index(critical[number]) + 1]
        if self._dialect.stops_at_last_step:
            return steps[: steps.index(critical[-1]) + 1]
        return steps

    def _steps_of_tokens(
        self, row: SupervisedTokens, example: TokenizedExample
    ) -> dict[int, SupervisedTurn]:
        ids = tuple(example.token_ids.tolist())
        if ids != row.input_ids:
            raise ValueError(self._first_difference(ids, row.input_ids))
        found: dict[int, SupervisedTurn] = {}
        owners = example.step_of_token.tolist()
        for place, (label, step) in enumerate(zip(row.labels, owners, strict=True)):
            if label != IGNORED_LABEL:
                context, tokens = found.get(step) or (ids[:place], ())
                found[step] = context, (*tokens, label)
        return found

    def _steps_of_chat(
        self, chat: SupervisedChat, steps: list[int], tools: list[dict[str, Any]]
    ) -> dict[int, SupervisedTurn]:
        """The supervised steps of a row of messages, as a trainer would find them."""
        roles = [message.role for message in chat.messages]
        assistants = [index for index, role in enumerate(roles) if role == "assistant"]
        if len(assistants) != len(steps):
            raise ValueError(f"{len(assistants)} assistant messages, expected {len(steps)}")
        for index, (role, flag) in enumerate(zip(roles, chat.supervised, strict=True)):
            if flag and role != "assistant":
                raise ValueError(f"message {index} ({role}) is supervised")
        turns = simulate_trainer(self._renderer, chat.messages, chat.supervised, tools)
        owners = zip(steps, assistants, strict=True)
        return {step: turns[index] for step, index in owners if index in turns}

    def _of_step(
        self, expected: SupervisedTurn | None, found: SupervisedTurn | None, exact_context: bool
    ) -> str | None:
        if expected is None or found is None:
            _, tokens = expected or found or ((), ())
            missing = "critical, but not supervised in the file"
            fault = missing if found is None else "supervised in the file, but not critical"
            return f"{fault}: {self._show(tokens)}"
        (context, tokens), (context_there, tokens_there) = expected, found
        if tokens != tokens_there:
            return self._first_difference(tokens, tokens_there)
        if exact_context and context != context_there:
            difference = self._first_difference(context, context_there)
            return f"the text before it differs: {difference}"
        return None

    def _first_difference(self, ours: Tokens, theirs: Tokens) -> str:
        pairs = enumerate(zip(ours, theirs, strict=False))
        shorter = min(len(ours), len(theirs))
        place = next((place for place, (one, other) in pairs if one != other), shorter)
        there, here = (self._show(side[place : place + 8]) for side in (theirs, ours))
        return f"token {place} of {len(ours)}: {there} in the file, {here} expected"

    def _show(self, tokens: Tokens) -> str:
        shown, known = list(tokens[:24]), range(len(self._renderer.tokenizer))
        if not all(token in known for token in shown):
            return f"tokens {str(shown)[:80]}"
        text = str(self._renderer.tokenizer.decode(shown))
        return f"{text!r}{' …' if len(tokens) > 24 else ''}" if tokens else "nothing"


def _tools_of(row: Any) -> list[dict[str, Any]]:
    """The tool schemas of a row; some dialects store them as JSON text."""
    tools = row.get("tools") if isinstance(row, dict) else None
    return json.loads(tools) if isinstance(tools, str) and tools else tools or []
