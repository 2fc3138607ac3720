"""Report -> rows of numbers, one for each number, as the CSV files hold them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from atlas.records import Record
from atlas.reporting.failures import ScopeEndings
from atlas.reporting.report import ArmReport, Report, SourcedEstimate
from atlas.statistics.estimate import Estimate

SOURCE_SEPARATOR = "; "


@dataclass(frozen=True, slots=True)
class NumberRow:
    """One number. `n` is what it was counted over: tasks, episodes, items or runs."""

    arm: str = ""
    against: str = ""
    split: str = ""
    environment: str = ""
    quantity: str = ""
    value: int | float | str | None = None
    low: float | None = None
    high: float | None = None
    n: int | float | None = None
    method: str = ""
    source: str = ""


COLUMNS = tuple(column.name for column in fields(NumberRow))


def number_tables(report: Report) -> dict[str, list[NumberRow]]:
    """The rows of each table of the page, by the name of its file."""
    tables = {
        "success": [row for arm in report.arms for row in _results(arm)],
        "groups": [row for arm in report.arms for row in _groups(arm)],
        "differences": list(_differences(report)),
        "budgets": [row for arm in report.arms for row in _budget(arm)],
        "silencing": [row for arm in report.arms for row in _silencing(arm)],
        "selected_steps": [row for arm in report.arms for row in _selected(arm)],
        "endings": [row for arm in report.arms for row in _endings(arm)],
    }
    return {name: rows for name, rows in tables.items() if rows}


def rows_of(record: Record, like: NumberRow) -> Iterator[NumberRow]:
    """A row for each number of a record that has its sources, with the fields of `like`."""
    for name in type(record).model_fields:
        value = getattr(record, name)
        if isinstance(value, SourcedEstimate):
            yield row_of(name, value, like)


def row_of(quantity: str, number: SourcedEstimate, like: NumberRow) -> NumberRow:
    """The row of one number."""
    return replace(
        like,
        quantity=quantity,
        value=number.value,
        low=number.low,
        high=number.high,
        method=number.method,
        source=SOURCE_SEPARATOR.join(number.sources),
    )


def plain_row(quantity: str, value: float | str | None, like: NumberRow) -> NumberRow:
    """The row of a number without interval."""
    return replace(like, quantity=quantity, value=value)


def _results(arm: ArmReport) -> Iterator[NumberRow]:
    for result in arm.results:
        like = NumberRow(arm.name, split=result.split, n=result.total.num_valid.value)
        yield from rows_of(result.total, like)


def _groups(arm: ArmReport) -> Iterator[NumberRow]:
    for result in arm.results:
        for group, counts in result.groups.items():
            like = NumberRow(arm.name, split=result.split, n=counts.num_valid.value)
            yield from rows_of(counts, replace(like, environment=group))


def _differences(report: Report) -> Iterator[NumberRow]:
    for row in report.comparisons:
        like = NumberRow(row.arm, row.against, row.split, n=row.num_tasks)
        yield from rows_of(row, like)
        for name in type(row).model_fields:
            value = getattr(row, name)
            if name not in COLUMNS and not isinstance(value, Estimate | Record | tuple):
                yield plain_row(name, value, like)


def _budget(arm: ArmReport) -> Iterator[NumberRow]:
    if arm.budget is not None:
        like = NumberRow(arm.name, n=arm.num_runs)
        yield plain_row("selector", arm.budget.selector, like)
        yield plain_row("ratio", arm.budget.ratio, like)
        yield from rows_of(arm.budget, like)


def _silencing(arm: ArmReport) -> Iterator[NumberRow]:
    if arm.silencing is not None:
        like = NumberRow(arm.name, n=arm.num_runs)
        yield plain_row("objective", arm.silencing.objective, like)
        yield row_of("mean_factor", arm.silencing.mean_factor, like)
        for kind, share in arm.silencing.shares.items():
            yield row_of(f"silenced_share, {kind}", share, like)


def _selected(arm: ArmReport) -> Iterator[NumberRow]:
    profile = arm.selection
    if profile is None:
        return
    like = NumberRow(arm.name, n=profile.num_steps, source=SOURCE_SEPARATOR.join(profile.sources))
    for name in ("num_selected", "num_annotated", "num_selected_annotated", "num_problems"):
        yield plain_row(name, getattr(profile, name), like)
    of_selected = replace(like, n=profile.num_selected)
    for kind, number in profile.kinds.items():
        yield plain_row(f"num_selected, {kind}", number, of_selected)
    for tenth, part in enumerate(profile.bins, start=1):
        of_part = replace(like, n=part.num_steps)
        yield plain_row(f"selected_share, tenth {tenth}", part.selected_share, of_part)


def _endings(arm: ArmReport) -> Iterator[NumberRow]:
    for found in arm.endings:
        like = NumberRow(arm.name, split=found.scope, n=found.num_episodes)
        like = replace(like, source=SOURCE_SEPARATOR.join(found.sources))
        for ending in found.endings:
            reason = f": {ending.reason}" if ending.reason else ""
            yield plain_row(f"num_{ending.kind}{reason}", ending.num_episodes, like)
        yield from _signs(found, like)


def _signs(found: ScopeEndings, like: NumberRow) -> Iterator[NumberRow]:
    for sign, count in found.signs.items():
        for where, number, known in (
            ("failed", count.num_failed, count.num_failed_known),
            ("success", count.num_success, count.num_success_known),
        ):
            if known:
                yield plain_row(f"num_{where} with {sign}", number, replace(like, n=known))
