"""Says how trajectories ended, for closing lines: `counts by outcome -> shares, and a note`.

A model that is trained on the steps of failed trajectories learns them like any others, so every
command that passes them on says how many there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from atlas.records import OutcomeStatus

FAILED: tuple[OutcomeStatus, ...] = ("failure", "truncated", "error")


def describe_shares(counts: Mapping[str, int]) -> str:
    """The share of each outcome, the largest first.

    >>> describe_shares({"success": 4, "failure": 16})
    'failure 16 (80 %), success 4 (20 %)'
    """
    total = sum(counts.values())
    by_count = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{status} {count:,} ({_percent(count, total)})" for status, count in by_count)


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
