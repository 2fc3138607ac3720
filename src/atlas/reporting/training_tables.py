"""Report -> tables of what went in: budgets, where the selected steps lie, and the run folders behind it all."""

from __future__ import annotations

from atlas.reporting.report import ArmReport, Budget, Report, RunReport, SelectionProfile
from atlas.reporting.tables import ROLE_LABELS, Cell, Row, RowGroup, Table
from atlas.reporting.wording import (
    DASH,
    KIND_LABELS,
    PERCENT,
    clean,
    count,
    decimal,
    percent,
    seconds,
    thousands,
)


def budget_table(report: Report) -> Table:
    """What each training was given and what it took."""
    return Table(
        caption="What each arm was trained on, and what the training took",
        columns=(
            "Arm",
            "Selector",
            "Budget",
            "Supervised steps",
            "Supervised tokens",
            "Optimiser steps",
            "Training time",
            "Final loss, nats",
        ),
        groups=(
            RowGroup(
                "",
                tuple(
                    _budget_row(arm, position, arm.budget)
                    for position, arm in enumerate(report.arms)
                ),
            ),
        ),
        text_columns=frozenset({1}),
    )


def kind_table(report: Report) -> Table:
    """Of what kind the selected steps are, and how many of them the source itself marks as critical."""
    return Table(
        caption="Kinds of the selected steps (one may have several), and how far they agree with the expert's own annotations",
        columns=(
            "Arm",
            "Selected",
            *(label.capitalize() for label in KIND_LABELS.values()),
            "Annotated as critical",
            "Annotated steps found",
        ),
        groups=(
            RowGroup(
                "",
                tuple(
                    Row(
                        (
                            Cell(arm.label),
                            Cell(thousands(profile.num_selected)),
                            *(
                                Cell(
                                    _ratio(number, profile.num_selected)
                                    if sum(profile.kinds.values())
                                    else DASH
                                )
                                for number in profile.kinds.values()
                            ),
                            Cell(
                                _ratio(profile.num_selected_annotated, profile.num_selected)
                                if profile.num_annotated
                                else DASH
                            ),
                            Cell(_ratio(profile.num_selected_annotated, profile.num_annotated)),
                        ),
                        position,
                    )
                    for position, arm, profile in _profiles(report)
                ),
            ),
        ),
    )


def position_table(report: Report) -> Table:
    """The share of steps that were selected, for each tenth of the trajectory."""
    profiles = _profiles(report)
    bins = profiles[0][2].bins if profiles else ()
    return Table(
        caption="Selected share of the steps in each tenth of the trajectory",
        columns=(
            "Arm",
            *(f"{100 * part.low:.0f}{DASH}{100 * part.high:.0f}{PERCENT}" for part in bins),
            "All",
        ),
        groups=(
            RowGroup(
                "",
                tuple(
                    Row(
                        (
                            Cell(arm.label),
                            *(
                                Cell(_ratio(part.num_selected, part.num_steps))
                                for part in profile.bins
                            ),
                            Cell(_ratio(profile.num_selected, profile.num_steps)),
                        ),
                        position,
                    )
                    for position, arm, profile in profiles
                ),
            ),
        ),
        compact=True,
    )


def provenance_table(report: Report) -> Table:
    """Every run folder that the report was made from; versions only where they are not the same for all."""
    mixed = len({str(run.versions) for run in report.runs}) > 1
    return Table(
        caption="Run folders, as seen from the report",
        columns=("Run", "Folder", "Digest", "Model", "Seed", *(("Versions",) if mixed else ())),
        groups=tuple(
            RowGroup(
                f"atlas {clean(command)}",
                tuple(
                    Row(
                        (
                            Cell(clean(", ".join(run.names), 400)),
                            Cell(clean(run.path, 200)),
                            Cell(run.digest[:12]),
                            Cell(clean(run.model) if run.model else DASH),
                            Cell(DASH if run.seed is None else str(run.seed)),
                            *((Cell(versions_text(run)),) if mixed else ()),
                        )
                    )
                    for run in report.runs
                    if run.command == command
                ),
            )
            for command in dict.fromkeys(run.command for run in report.runs)
        ),
        text_columns=frozenset({1, 2, 3, 4, 5}),
        compact=True,
    )


def versions_text(run: RunReport) -> str:
    return clean(
        ", ".join(f"{package} {version}" for package, version in run.versions.items()), 200
    )


def _budget_row(arm: ArmReport, position: int, budget: Budget | None) -> Row:
    if budget is None:
        return Row(
            (Cell(arm.label, ROLE_LABELS[arm.role]), *[Cell(DASH, tone="muted")] * 7), position
        )
    runs = f"{arm.num_runs} seeds" if arm.num_runs > 1 else "1 seed"
    return Row(
        (
            Cell(arm.label, runs),
            Cell(clean(budget.selector)),
            Cell(DASH if budget.ratio is None else f"{100 * budget.ratio:g}{PERCENT}"),
            Cell(
                count(budget.num_supervised_steps),
                f"{percent(budget.supervised_step_share)} of {count(budget.num_steps)}",
            ),
            Cell(
                count(budget.num_supervised_tokens),
                f"{percent(budget.supervised_token_share)} of {count(budget.num_tokens)}",
            ),
            Cell(count(budget.optimizer_steps)),
            Cell(seconds(budget.train_seconds)),
            Cell(decimal(budget.final_loss)),
        ),
        position,
    )


def _profiles(report: Report) -> list[tuple[int, ArmReport, SelectionProfile]]:
    return [
        (position, arm, arm.selection)
        for position, arm in enumerate(report.arms)
        if arm.selection is not None
    ]


def _ratio(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f}{PERCENT}" if whole else DASH
