"""Audits rows with one trainer's model: `rows -> tally`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from atlas.auditing.findings import FINDINGS, Finding, find_in_flags, find_in_tokens
from atlas.auditing.rows import (
    BadTrainingRowError,
    RefusedRowError,
    TrainingRow,
    read_training_row,
)
from atlas.auditing.supervision import Supervision
from atlas.auditing.tally import (
    NUM_BEFORE_SUPERVISED,
    NUM_SHOWN_TOKENS,
    Example,
    Order,
    ShownRow,
    Tally,
)
from atlas.auditing.trainers.atlas_runs import AtlasTrainer
from atlas.auditing.trainers.base import Trainer, supervise_row
from atlas.errors import first_line
from atlas.records import Problem, Selection, Trajectory
from atlas.trajectories.formats.rows import SourceRow

# What a hostile row may raise where a model reads its fields; it is reported, never lost.
ROW_ERRORS = (
    ArithmeticError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    RecursionError,
)


class Auditor:
    """One trainer's model at work.

    Args:
        num_worst: how many of the worst rows are kept to be shown.
    """

    def __init__(self, trainer: Trainer, num_worst: int) -> None:
        self.trainer = trainer
        self._num_worst = num_worst

    def audit_rows(self, rows: Iterable[SourceRow | Problem], file_index: int) -> Tally:
        """The sums over the rows of a file, or a part of it."""
        tally = Tally(num_worst=self._num_worst)
        for number, row in enumerate(rows):
            if isinstance(row, Problem):
                tally.num_rows += 1
                order = file_index, number
                tally.add_finding(Finding("unreadable", 1, row.reason), order, row.where)
            else:
                self._audit_row(tally, row, (file_index, row.index))
        return tally

    def audit_pairs(self, pairs: Sequence[tuple[Trajectory, Selection]], first_index: int) -> Tally:
        """The sums over trajectories with their selections."""
        tally = Tally(num_worst=self._num_worst)
        assert isinstance(self.trainer, AtlasTrainer)
        for index, (trajectory, selection) in enumerate(pairs, start=first_index):
            tally.num_rows += 1
            order, where = (0, index), f"trajectory {trajectory.id}"
            try:
                made = list(self.trainer.supervise_trajectory(trajectory, selection))
            except RefusedRowError as error:
                tally.add_finding(Finding("refused", 1, str(error)), order, where)
                continue
            if not made:
                reason = "no token of the selected steps is written"
                tally.add_finding(Finding("nothing-supervised", 1, reason), order, where)
            for one in made:
                self._add(tally, one, [], order, where)
        return tally

    def _audit_row(self, tally: Tally, source: SourceRow, order: Order) -> None:
        tally.num_rows += 1
        try:
            row = read_training_row(source.value)
            flags = list(find_in_flags(row, self.trainer.flag))
            self._count_flags(tally, row, order, source.where)
        except (BadTrainingRowError, *ROW_ERRORS) as error:
            reason = str(error) or type(error).__name__
            tally.add_finding(Finding("unreadable", 1, reason), order, source.where)
            return
        try:
            made, drops_system = supervise_row(self.trainer, row)
        except RefusedRowError as error:
            for finding in (*flags, Finding("refused", 1, str(error))):
                tally.add_finding(finding, order, source.where)
            return
        except ROW_ERRORS as error:
            said = f"{type(error).__name__}: {first_line(error):.100}"
            reason = f"it has a field of another kind ({said})"
            tally.add_finding(Finding("refused", 1, reason), order, source.where)
            return
        if drops_system:
            reason = "the column `system`, which the trainer does not read"
            flags.append(Finding("content-lost", 1, reason))
        self._add(tally, made, flags, order, source.where)

    def _count_flags(self, tally: Tally, row: TrainingRow, order: Order, where: str) -> None:
        flag = self.trainer.flag
        if flag is None or not row.messages:
            return
        if flag in row.flags:
            tally.num_flagged += 1
        else:
            tally.unflagged.add(1, Example(order, where, f"no message has the flag {flag}"))

    def _add(
        self, tally: Tally, row: Supervision, flags: list[Finding], order: Order, where: str
    ) -> None:
        template = self.trainer.template
        bos = template.tokenizer.bos_token_id
        found = [*flags, *find_in_tokens(row, bos, template.stop_ids)]
        for finding in found:
            tally.add_finding(finding, order, where)
        tally.add_sequence(row)
        bad = [one for one in found if FINDINGS[one.name].fails]
        if bad:
            ids, mask = row.token_ids[row.kept], row.supervised[row.kept]
            if not len(ids):
                ids, mask = row.token_ids, row.mask
            start = _first_shown(mask)
            end = start + NUM_SHOWN_TOKENS
            tally.show(
                ShownRow(
                    (len(bad), sum(one.count for one in bad)),
                    order,
                    where,
                    tuple(dict.fromkeys(one.name for one in bad)),
                    tuple(ids[start:end].tolist()),
                    tuple(mask[start:end].tolist()),
                    start,
                    len(ids),
                )
            )


def _first_shown(mask: NDArray[np.bool_]) -> int:
    """The token from which a row is shown: a long prompt would hide what is supervised."""
    first = int(mask.argmax()) if mask.any() else 0
    return first - NUM_BEFORE_SUPERVISED if first > NUM_SHOWN_TOKENS // 2 else 0
