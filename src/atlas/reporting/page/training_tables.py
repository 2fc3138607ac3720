"""Report -> tables of inputs: budgets, where the selected steps lie, and the run folders."""

from __future__ import annotations

from atlas.presenting.table import Cell, RowGroup, Table, TableRow, plain_table, text_row
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
from atlas.records import NO_KIND
from atlas.reporting.page.tables import ROLE_LABELS, arm_rows
from atlas.reporting.report import ArmReport, Budget, Report, RunReport, SelectionProfile
from atlas.reporting.results.read_results import RESULTS
from atlas.statistics.estimate import Estimate
from atlas.terminal.visible_text import one_line

MAX_PATH = 200
MAX_NAMES = 400


def budget_table(report: Report) -> Table:
    """The data and cost of each training; empty without one."""
    has_budget = any(arm.budget is not None for arm in report.arms)
    supervised = ("Supervised steps", "Supervised tokens")
    effort = ("Optimizer steps", "Training time", "Final loss, nats")
    return plain_table(
        "What each arm was trained on, and what the training took",
        ("Arm", "Selector", "Budget", *supervised, *effort),
        arm_rows(_budget_cells(arm, arm.budget) for arm in report.arms if has_budget),
        text_columns=[1],
    )


def silencing_table(report: Report) -> Table:
    """The share of supervised tokens that each objective silenced, by the kind of the step."""
    rows = {"all": "All steps"} | {kind: label.capitalize() for kind, label in KIND_LABELS.items()}
    rows[NO_KIND] = "No kind"

    def cells(arm: ArmReport) -> tuple[str, ...] | None:
        found = arm.silencing
        if found is None:
            return None
        shares = (percent(found.shares[row]) if row in found.shares else DASH for row in rows)
        name = one_line(found.objective, MAX_LABEL)
        return (arm.label, name, *shares, decimal(found.mean_factor))

    return plain_table(
        "Supervised tokens that counted less than a tenth, over the whole training, by the first "
        "kind of their step",
        ("Arm", "Objective", *rows.values(), "Mean factor"),
        arm_rows(map(cells, report.arms)),
        text_columns=[1],
        compact=True,
    )


def kind_table(report: Report) -> Table:
    """Kinds of the selected steps, and how many of them the source marks as critical."""
    kinds = (label.capitalize() for label in KIND_LABELS.values())
    return plain_table(
        "Kinds of the selected steps (one may have several), and how far they agree with the "
        "expert's own annotations",
        ("Arm", "Selected", *kinds, "Annotated as critical", "Annotated steps found"),
        arm_rows(_kind_cells(arm, arm.selection) for arm in report.arms),
    )


def position_table(report: Report) -> Table:
    """The share of steps that were selected, for each tenth of the trajectory."""

    def cells(arm: ArmReport) -> tuple[str, ...] | None:
        if arm.selection is None:
            return None
        whole = share(arm.selection.num_selected, arm.selection.num_steps)
        parts = (share(part.num_selected, part.num_steps) for part in arm.selection.bins)
        return (arm.label, *parts, whole)

    caption = "Selected share of the steps in each tenth of the trajectory"
    tenths = (f"{low}{DASH}{low + 10}{PERCENT}" for low in range(0, 100, 10))
    rows = arm_rows(map(cells, report.arms))
    return plain_table(caption, ("Arm", *tenths, "All"), rows, compact=True, is_detail=True)


def provenance_table(report: Report) -> Table:
    """Every run folder behind the report; versions only if they differ."""
    mixed = len({str(run.versions) for run in report.runs}) > 1
    rows: dict[str, list[TableRow]] = {}
    for run in report.runs:
        rows.setdefault(run.command, []).append(_run_row(run, mixed))
    return Table(
        caption="Where the numbers come from; folders are relative to the report",
        columns=("Run", "Folder", "Digest", "Model", "Seed", *(("Versions",) if mixed else ())),
        groups=tuple(
            RowGroup(_command_title(command), tuple(group)) for command, group in rows.items()
        ),
        text_columns=frozenset({1, 2, 3, 4, 5}),
        compact=True,
        is_detail=True,
    )


def _command_title(command: str) -> str:
    shown = one_line(command, MAX_LABEL)
    return shown if command.startswith(RESULTS) else f"atlas {shown}"


def versions_text(run: RunReport) -> str:
    """The package versions of a run."""
    versions = ", ".join(f"{package} {version}" for package, version in run.versions.items())
    return one_line(versions, MAX_PATH)


def _run_row(run: RunReport, with_versions: bool) -> TableRow:
    return text_row(
        (
            one_line(", ".join(run.names), MAX_NAMES),
            one_line(run.path, MAX_PATH),
            run.digest[:12],
            one_line(run.model, MAX_LABEL) if run.model else DASH,
            DASH if run.seed is None else str(run.seed),
            *((versions_text(run),) if with_versions else ()),
        )
    )


def _kind_cells(arm: ArmReport, profile: SelectionProfile | None) -> tuple[str, ...] | None:
    if profile is None:
        return None
    selected, found = profile.num_selected, profile.num_selected_annotated
    has_kinds = any(profile.kinds.values())
    kinds = (share(number, selected) if has_kinds else DASH for number in profile.kinds.values())
    annotated = share(found, selected) if profile.num_annotated else DASH
    all_found = share(found, profile.num_annotated)
    return (arm.label, thousands(selected), *kinds, annotated, all_found)


def _budget_cells(arm: ArmReport, budget: Budget | None) -> tuple[Cell, ...]:
    if budget is None:
        return (Cell(arm.label, ROLE_LABELS[arm.role]), *[Cell(DASH, tone="muted")] * 7)

    def supervised(part: Estimate, part_share: Estimate, whole: Estimate) -> Cell:
        return Cell(count(part), f"{percent(part_share)} of {count(whole)}")

    return (
        Cell(arm.label, f"{arm.num_runs} seeds" if arm.num_runs > 1 else "1 seed"),
        Cell(one_line(budget.selector, MAX_LABEL)),
        Cell(DASH if budget.ratio is None else f"{100 * budget.ratio:g}{PERCENT}"),
        supervised(budget.num_supervised_steps, budget.supervised_step_share, budget.num_steps),
        supervised(budget.num_supervised_tokens, budget.supervised_token_share, budget.num_tokens),
        Cell(count(budget.optimizer_steps)),
        Cell(seconds(budget.train_seconds)),
        Cell(decimal(budget.final_loss)),
    )
