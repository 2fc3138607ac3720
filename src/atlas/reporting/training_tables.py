"""Report -> tables of inputs: budgets, where the selected steps lie, and the run folders."""

from __future__ import annotations

from atlas.presenting.table import Cell, RowGroup, Table, TableRow
from atlas.presenting.wording import (
    DASH,
    KIND_LABELS,
    MAX_LABEL,
    PERCENT,
    count,
    decimal,
    percent,
    seconds,
    share,
    thousands,
)
from atlas.reporting.report import ArmReport, Budget, Report, RunReport, SelectionProfile
from atlas.reporting.tables import ROLE_LABELS
from atlas.terminal.visible_text import one_line

MAX_PATH = 200
MAX_NAMES = 400


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
            "Optimizer steps",
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
    """Of what kind the selected steps are, and how many the source itself marks as critical."""
    return Table(
        caption="Kinds of the selected steps (one may have several), and how far they agree with "
        "the expert's own annotations",
        columns=(
            "Arm",
            "Selected",
            *(label.capitalize() for label in KIND_LABELS.values()),
            "Annotated as critical",
            "Annotated steps found",
        ),
        groups=(RowGroup("", tuple(_kind_row(*profile) for profile in _profiles(report))),),
    )


def position_table(report: Report) -> Table:
    """The share of steps that were selected, for each tenth of the trajectory."""
    profiles = _profiles(report)
    tenths = (f"{low}{DASH}{low + 10}{PERCENT}" for low in range(0, 100, 10))
    rows = tuple(
        TableRow(
            (
                Cell(arm.label),
                *(Cell(share(part.num_selected, part.num_steps)) for part in profile.bins),
                Cell(share(profile.num_selected, profile.num_steps)),
            ),
            position,
        )
        for position, arm, profile in profiles
    )
    return Table(
        caption="Selected share of the steps in each tenth of the trajectory",
        columns=("Arm", *tenths, "All"),
        groups=(RowGroup("", rows),),
        compact=True,
    )


def provenance_table(report: Report) -> Table:
    """Every run folder behind the report; versions only where they differ."""
    mixed = len({str(run.versions) for run in report.runs}) > 1
    return Table(
        caption="Run folders, relative to the report",
        columns=("Run", "Folder", "Digest", "Model", "Seed", *(("Versions",) if mixed else ())),
        groups=tuple(
            RowGroup(
                f"atlas {one_line(command, MAX_LABEL)}",
                tuple(_run_row(run, mixed) for run in report.runs if run.command == command),
            )
            for command in dict.fromkeys(run.command for run in report.runs)
        ),
        text_columns=frozenset({1, 2, 3, 4, 5}),
        compact=True,
    )


def versions_text(run: RunReport) -> str:
    """The versions of packages that a run was made with."""
    versions = ", ".join(f"{package} {version}" for package, version in run.versions.items())
    return one_line(versions, MAX_PATH)


def _run_row(run: RunReport, with_versions: bool) -> TableRow:
    cells = (
        one_line(", ".join(run.names), MAX_NAMES),
        one_line(run.path, MAX_PATH),
        run.digest[:12],
        one_line(run.model, MAX_LABEL) if run.model else DASH,
        DASH if run.seed is None else str(run.seed),
        *((versions_text(run),) if with_versions else ()),
    )
    return TableRow(tuple(map(Cell, cells)))


def _kind_row(position: int, arm: ArmReport, profile: SelectionProfile) -> TableRow:
    selected, found = profile.num_selected, profile.num_selected_annotated
    has_kinds = any(profile.kinds.values())
    cells = (
        arm.label,
        thousands(selected),
        *(share(number, selected) if has_kinds else DASH for number in profile.kinds.values()),
        share(found, selected) if profile.num_annotated else DASH,
        share(found, profile.num_annotated),
    )
    return TableRow(tuple(map(Cell, cells)), position)


def _budget_row(arm: ArmReport, position: int, budget: Budget | None) -> TableRow:
    if budget is None:
        return TableRow(
            (Cell(arm.label, ROLE_LABELS[arm.role]), *[Cell(DASH, tone="muted")] * 7), position
        )
    runs = f"{arm.num_runs} seeds" if arm.num_runs > 1 else "1 seed"
    return TableRow(
        (
            Cell(arm.label, runs),
            Cell(one_line(budget.selector, MAX_LABEL)),
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
