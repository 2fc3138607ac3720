"""Rows of an export, and what they do not carry: `trajectories + selection -> rows, counts`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from atlas.errors import DataError, ModelError
from atlas.exporting.dialects.base import CannotCarryError, Dialect, ExportRow
from atlas.presenting.action_types import ActionTypeCounter
from atlas.presenting.outcome_shares import BY_OUTCOME, count_last_steps
from atlas.records import Problem, Selection, Trajectory
from atlas.rendering.count_unwritten import (
    UnwrittenCount,
    count_unwritten,
    refuse_empty_steps,
)
from atlas.rendering.renderer import Renderer
from atlas.rendering.unwritten import WORDS


def rows_of(
    dialect: Dialect, trajectory: Trajectory, selection: Selection
) -> list[ExportRow] | Problem:
    """All rows of one trajectory, or the reason why it has none."""
    try:
        if selection.critical_steps:
            return list(dialect.rows(trajectory, selection))
        reason = selection.problem or "no critical step, so nothing to train on"
    except (CannotCarryError, ModelError) as error:
        # ModelError: the chat template refuses this conversation.
        reason = str(error)
    return Problem(where=f"trajectory {trajectory.id}", reason=reason, item=trajectory.id)


class ExportedRows:
    """Makes rows, and counts the trajectories and steps in them.

    Args:
        renderer: the renderer of the model to be trained, if it is known.
        allows_empty_steps: whether rows of tokens may train a model to say nothing.
        limits: what limited the runs that the rows are made from, for the summary.
    """

    def __init__(
        self,
        dialect: Dialect,
        renderer: Renderer | None,
        allows_empty_steps: bool,
        limits: Sequence[str],
    ) -> None:
        self.dialect = dialect
        self._renderer = renderer
        self._limits = limits
        self._allows_empty_steps = allows_empty_steps
        self._unwritten = UnwrittenCount()
        self._has_empty_tokens = False
        self._counts: Counter[str] = Counter()
        self._losses: Counter[str] = Counter()
        self._refusals: Counter[str] = Counter()
        # Trajectories that the trainer's chat template refuses: how many, and the first.
        self._num_unrendered = 0
        self._first_unrendered = ""
        self._outcomes: Counter[str] = Counter()
        self._types = ActionTypeCounter()
        self.problems: list[Problem] = []

    def rows(self, selected: Iterable[tuple[Trajectory, Selection]]) -> Iterator[ExportRow]:
        for trajectory, selection in selected:
            rows = rows_of(self.dialect, trajectory, selection)
            if isinstance(rows, Problem):
                self.problems.append(rows)
                continue
            num_critical = len(selection.critical_steps)
            self._counts.update(exported=1, steps=len(trajectory.steps), critical=num_critical)
            losses = self.dialect.losses(trajectory, selection)
            refusals = self.dialect.refusals(trajectory, selection)
            self._losses.update(change.text for change in losses)
            self._refusals.update(demand.text for demand in refusals)
            self._unwritten += self._count_unwritten(trajectory, selection)
            self._outcomes[trajectory.outcome.status] += num_critical
            self._types.add((step.action_types for step in trajectory.steps), selection.indices)
            self._counts.update(with_steps=num_critical > 0, with_last=selection.has_last_step)
            yield from rows
        self._check_empty_steps()

    def _count_unwritten(self, trajectory: Trajectory, selection: Selection) -> UnwrittenCount:
        """What the chat template does not write, of rows of tokens or under a trainer."""
        counted = self.dialect.unwritten(trajectory, selection)
        if counted is not None:
            self._has_empty_tokens |= bool(counted.empty)
            return counted
        if self._renderer is None:
            return UnwrittenCount()
        try:
            examples = self._renderer.tokenize_trajectory(trajectory, None, selection.indices)
        except ModelError as error:
            self._num_unrendered += 1
            self._first_unrendered = self._first_unrendered or f"{trajectory.id} ({error})"
            return UnwrittenCount()
        return count_unwritten(examples, self._renderer, selection.indices)

    def _check_empty_steps(self) -> None:
        """Refuse rows of tokens that would train a model to say nothing."""
        if self._has_empty_tokens and self._renderer is not None and not self._allows_empty_steps:
            raise DataError(refuse_empty_steps(self._unwritten, self._renderer, "critical steps"))

    def summary(self, num_rows: int) -> dict[str, Any]:
        return {
            "trajectories": self._counts["exported"] + len(self.problems),
            "exported": self._counts["exported"],
            "rows": num_rows,
            "steps": self._counts["steps"],
            "critical_steps": self._counts["critical"],
            "problems": len(self.problems),
            BY_OUTCOME: dict(sorted(self._outcomes.items())),
            **count_last_steps(self._counts["with_last"], self._counts["with_steps"]),
            **self._types.summary(),
            "losses": dict((self._losses + self._template_losses()).most_common()),
            **({"notes": notes} if (notes := self._notes()) else {}),
            **({"limited": "; ".join(self._limits)} if self._limits else {}),
        }

    def _template_losses(self) -> Counter[str]:
        """What the chat template does not write, as changes."""
        if self._renderer is None:
            return Counter()
        by = f"which the chat template of {self._renderer.name} does not write"
        losses = {
            f"{WORDS[part]} of a critical step, {by}": number
            for part, number in self._unwritten.of_steps.items()
        }
        losses |= {
            f"{WORDS[part]} in the context of critical steps, {by}": number
            for part, number in self._unwritten.of_contexts.items()
        }
        return Counter(losses)

    def _notes(self) -> list[str]:
        notes = [
            f"{number:,} {'trajectory' if number == 1 else 'trajectories'}: {text}"
            for text, number in self._refusals.most_common()
        ]
        if self._renderer is None:
            return notes
        if num_refused := self._num_unrendered:
            notes.append(
                f"the chat template of {self._renderer.name} refuses {num_refused:,} of "
                f"{self._counts['exported']:,} trajectories, so a trainer cannot use them, the "
                f"first: {self._first_unrendered}"
            )
        return notes + self._unwritten.notes(self._renderer, "critical steps")
