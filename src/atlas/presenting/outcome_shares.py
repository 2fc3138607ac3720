"""Says how trajectories ended, for closing lines: `counts of selected steps -> shares, and notes`.

A model that is trained on the steps of failed trajectories learns them like any others. One that
never sees a last step may not learn to end an episode. So every command that passes selected steps
on says how many there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from atlas.presenting.action_types import ACTION_TYPES, types_note
from atlas.records import OutcomeStatus

FAILED: tuple[OutcomeStatus, ...] = ("failure", "truncated", "error")
# The keys of a summary: selected steps by the outcome of their trajectories, and in how many
# trajectories with selected steps the last one is among them.
BY_OUTCOME = "selected_by_outcome"
LAST_STEPS = "last_steps"
# A note on last steps is written if fewer than this share of at least so many trajectories have
# one. Steps drawn at random have about the share of the budget.
FEW_LAST_STEPS = 0.05
FEWEST_TRAJECTORIES = 10


def describe_shares(counts: Mapping[str, int]) -> str:
    """The share of each outcome, the largest first.

    >>> describe_shares({"success": 4, "failure": 16})
    'failure 16 (80 %), success 4 (20 %)'
    """
    total = sum(counts.values())
    by_count = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{status} {count:,} ({_percent(count, total)})" for status, count in by_count)


def selection_notes(summary: Mapping[str, Any], trajectories: str | Path) -> Iterator[str]:
    """The notes on the selected steps that a command passes on.

    Args:
        summary: of a selection, an export or a training. An earlier version has no such counts.
        trajectories: the run folder that the steps are from.
    """
    if note := failure_note(summary.get(BY_OUTCOME) or {}, trajectories):
        yield note
    if note := ends_note(**(summary.get(LAST_STEPS) or {})):
        yield note
    if note := types_note(summary.get(ACTION_TYPES) or {}):
        yield note


def failure_note(counts: Mapping[str, int], trajectories: str | Path) -> str | None:
    """The note on selected steps of trajectories that did not succeed; None without any.

    Args:
        counts: selected steps by outcome.
        trajectories: the run folder that they are from.
    """
    failed = sum(counts.get(status, 0) for status in FAILED)
    if not failed:
        return None
    total = sum(counts.values())
    return (
        f"{failed:,} of {total:,} selected steps ({_percent(failed, total)}) are from trajectories "
        "that did not succeed; training imitates them too. To select from successes only, first "
        f"run: atlas import {trajectories} only=success --out {trajectories}-success"
    )


def count_last_steps(selected: int, trajectories: int) -> dict[str, Any]:
    """The part of a summary about last steps.

    Args:
        selected: trajectories of which the last step is selected.
        trajectories: trajectories of which any step is.
    """
    return {LAST_STEPS: {"selected": selected, "trajectories": trajectories}}


def ends_note(selected: int = 0, trajectories: int = 0) -> str | None:
    """The note on selections that hardly ever have the last step; None where enough have it."""
    if trajectories < FEWEST_TRAJECTORIES or selected >= FEW_LAST_STEPS * trajectories:
        return None
    return (
        f"the last step is selected in {selected:,} of {trajectories:,} trajectories. A model that "
        "is trained on these steps hardly sees how an episode ends, and may go on until the turns "
        "are over"
    )


def _percent(count: int, total: int) -> str:
    """A share in percent; a small or large one is not rounded to none or all.

    >>> _percent(1, 1_000), _percent(999, 1_000), _percent(1, 3), _percent(0, 0)
    ('< 1 %', '> 99 %', '33 %', '0 %')
    """
    if 0 < 100 * count < total:
        return "< 1 %"
    if 99 * total < 100 * count < 100 * total:
        return "> 99 %"
    return f"{100 * count / total if total else 0:.0f} %"
