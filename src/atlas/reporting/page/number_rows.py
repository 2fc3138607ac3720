"""Report -> rows of numbers, one for each number, as the CSV files hold them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from atlas.records import Record
from atlas.reporting.measures.failures import ScopeEndings
from atlas.reporting.page.cost_tables import COSTS, cost_share
from atlas.reporting.page.paper_figures import PAPER
from atlas.reporting.page.paper_table import paper_pairs, paper_side
from atlas.reporting.report import ArmReport, Report, SourcedEstimate

SOURCE_SEPARATOR = "; "
OUR_MEAN = "mean over the scopes of this side; an interval if there is one scope"
# Fields of a comparison that are not estimates.
PLAIN_FIELDS = (
    *("block", "claim", "verdict", "within_margin", "average", "p_value", "p_mid", "p_adjusted"),
    *("seed_sd", "tipping_seed_sd", "minimum_detectable", "num_higher", "num_lower", "num_tied"),
)


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
    of_arms = {
        "success": _scopes,
        "splits": _splits,
        "groups": _groups,
        "budgets": _budget,
        "silencing": _silencing,
        "selected_steps": _selected,
        "endings": _endings,
        "skills": _skills,
    }
    tables = {name: [row for arm in report.arms for row in of(arm)] for name, of in of_arms.items()}
    tables |= {
        "differences": list(_differences(report)),
        "units": list(_units(report)),
        "seed_noise": list(_noise(report)),
        "costs": list(_costs(report)),
        "paper": list(_paper(report)),
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


def _scopes(arm: ArmReport) -> Iterator[NumberRow]:
    for result in arm.scopes:
        like = NumberRow(arm.name, split=result.scope, n=result.num_tasks)
        for average, rate in result.rates.items():
            yield row_of(f"success_rate, {average} alike", rate, like)
        for number, rate in enumerate(result.run_rates, start=1):
            yield row_of(f"success_rate, training {number}", rate, like)
        yield row_of("seed_sd", result.seed_sd, like)
        if (figures := result.repetitions) is not None:
            repeated = replace(like, n=figures.num_tasks)
            for k, share in figures.pass_hat.items():
                yield row_of(f"pass^{k}", share, repeated)
            yield row_of("flip_rate", figures.flip_rate, repeated)


def _splits(arm: ArmReport) -> Iterator[NumberRow]:
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
        like = NumberRow(row.arm, row.against, row.scope, n=row.num_tasks)
        yield from rows_of(row, like)
        for average, difference in row.averages.items():
            yield row_of(f"success_difference, {average} alike", difference, like)
        if (failed := row.broken_as_failed) is not None:
            yield row_of("success_difference, broken as failed", failed.success_difference, like)
            yield plain_row("p_value, broken as failed", failed.p_value, like)
        for name in PLAIN_FIELDS:
            yield plain_row(name, getattr(row, name), like)


def _units(report: Report) -> Iterator[NumberRow]:
    for unit in report.units:
        for one in unit.arms:
            like = NumberRow(one.arm, split=unit.scope, environment=unit.unit, n=unit.num_tasks)
            yield row_of("success_rate", one.success_rate, like)
            against = replace(like, against=report.reference)
            for name in ("difference", "improvement"):
                if (number := getattr(one, name)) is not None:
                    yield row_of(name, number, against)


def _noise(report: Report) -> Iterator[NumberRow]:
    for noise in report.seed_noise:
        like = NumberRow(split=noise.scope, n=noise.degrees)
        yield row_of("seed_sd, pooled over arms", noise.seed_sd, like)


def _costs(report: Report) -> Iterator[NumberRow]:
    against = report.arm(report.reference)
    for arm in report.arms:
        for field in COSTS:
            if arm.budget is not None and (part := cost_share(arm, against, field)) is not None:
                like = NumberRow(arm.name, against.name, n=arm.num_runs)
                sources = SOURCE_SEPARATOR.join(getattr(arm.budget, field).sources)
                yield plain_row(f"{field}, share", part, replace(like, source=sources))


def _paper(report: Report) -> Iterator[NumberRow]:
    for row, arm in paper_pairs(report):
        like = NumberRow(arm.name, against=f"{row.title}, {row.model}")
        for side, paper in (("held_in", row.held_in), ("held_out", row.held_out)):
            of_paper = replace(like, split=side, method="single run", source=PAPER)
            yield plain_row("success_rate, paper", round(paper / 100, 6), of_paper)
            ours = paper_side(report, arm, side)
            known = replace(like, split=side, value=ours.value, low=ours.low, high=ours.high)
            yield replace(known, quantity="success_rate, ours", method=OUR_MEAN)


def _skills(arm: ArmReport) -> Iterator[NumberRow]:
    for skill in arm.skills:
        like = NumberRow(arm.name, environment=skill.task, n=skill.num_items)
        yield row_of("accuracy", skill.accuracy, like)
        if skill.difference is not None:
            yield row_of("accuracy_difference", skill.difference, like)


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
