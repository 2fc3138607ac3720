"""Makes the tables of docs/results.md from report folders, so that every number can be traced.

    python recipes/paper/make_results.py --report runs/smollm2/so-far-9
        --command "atlas run recipes/paper/smollm2.yaml --out runs/smollm2" [--report … --command …]
        --page docs/results.md

`--report` names a run folder of `atlas report` (also the folder `report` of `atlas run`, and those
of `report_so_far.py`), `--command` what made its runs. Everything from the heading "Tables" on is
replaced in `--page`; without it, the tables are printed. Each table says from which report its
numbers come, by the digest of the run folder; `report.json` there says for each number from which
run, file and field it was computed. The rows are in the order of the difference, the lowest first.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError
from atlas.presenting.wording import (
    DASH,
    p_text,
    percent,
    percent_interval,
    points,
    points_interval,
)
from atlas.reporting.claims.registrations import design_digest
from atlas.reporting.claims.verdicts import difference_text, plain_points, split_label
from atlas.reporting.claims.words import claim_text
from atlas.reporting.page.paper_figures import PAPER
from atlas.reporting.page.paper_table import paper_pairs
from atlas.reporting.read_report import read_report
from atlas.reporting.report import ArmComparison, ArmReport, Report, ScopeResult
from atlas.statistics.estimate import Estimate
from atlas.store.run_folders import read_manifest

TABLES = "## Tables"
# Characters of a digest, as on the report's page.
DIGEST = 12
WIDTH = 100


def results_of(folder: Path, command: str) -> Iterator[str]:
    """The lines about one report."""
    report, manifest = read_report(folder), read_manifest(folder, ("report",))
    yield from (f"### {report.title}", "", "```sh", command, "```", "")
    design = design_of(manifest.config, report)
    yield f"Report `{manifest.digest[:DIGEST]}`; {design}; {seeds_of(report)}."
    yield ""
    for number, scope in enumerate(report.scopes):
        tasks = f"{scope.num_tasks:,} tasks"
        if len(scope.environments) > 1:
            tasks += f" of {len(scope.environments)} environments"
        yield from (f"**{split_label(scope.name)}**: {tasks}, {averaged(report)}.", "")
        yield from scope_table(report, number)
        yield ""
    yield from cost_table(report)
    yield ""
    yield from primary_lines(report)
    yield from paper_lines(report)


def design_of(config: Mapping[str, Any], report: Report) -> str:
    """The digest of the registered design, and whether it was kept."""
    design = config.get("design")
    if not design:
        return "no registered design"
    return f"design `{design_digest(design)[:DIGEST]}`, {report.claims.registration}"


def seeds_of(report: Report) -> str:
    counts = [f"{arm.name} {arm.num_runs}" for arm in report.arms if arm.budget is not None]
    return f"trainings: {', '.join(counts)}"


def averaged(report: Report) -> str:
    found = {row.average for row in report.comparisons}
    return f"every {' or '.join(sorted(found)).removesuffix('s')} alike" if found else "one arm"


def scope_table(report: Report, number: int) -> Iterator[str]:
    """Rate, difference from the reference, verdict and power of each arm, the lowest first."""
    scope = report.scopes[number].name
    reference = report.arm(report.reference)
    rows = {
        row.arm: row
        for row in report.comparisons
        if row.scope == scope and row.against == report.reference
    }
    yield (
        f"| training data | trainings | success | minus {reference.label}, points | p, corrected | "
        "verdict | could have seen, points |"
    )
    yield "|---" * 7 + "|"
    arms = sorted(report.arms, key=lambda arm: difference_value(rows.get(arm.name)))
    for arm in arms:
        rate = rate_text(report, arm.scopes[number])
        yield f"| {arm.label} | {trainings(arm)} | {rate} | {compared(report, rows.get(arm.name))}"


def difference_value(row: ArmComparison | None) -> float:
    value = None if row is None else row.success_difference.value
    return 0.0 if value is None else value


def trainings(arm: ArmReport) -> str:
    return DASH if arm.budget is None else str(arm.num_runs)


def rate_text(report: Report, result: ScopeResult) -> str:
    """The rate by the average that the verdicts are about."""
    found = [row.average for row in report.comparisons if row.scope == result.scope]
    rate = result.rates.get(found[0] if found else "tasks")
    if rate is None:
        return DASH
    return f"{percent(rate)} {percent_interval(rate)}".strip()


def compared(report: Report, row: ArmComparison | None) -> str:
    """The other cells of a row, and the end of the line."""
    if row is None:
        return " | ".join((DASH,) * 4) + " |"
    difference = row.success_difference
    shown = DASH
    if difference.value is not None:
        shown = f"{points(difference)} {points_interval(difference)}".strip()
    power = plain_points(row.minimum_detectable) or DASH
    return f"{shown} | {p_text(row.p_adjusted)} | {claim_text(row, report)} | {power} |"


def cost_table(report: Report) -> Iterator[str]:
    """What each arm was trained on, and how long."""
    yield "| training data | steps with loss | tokens with loss | seconds of a training |"
    yield "|---|---|---|---|"
    for arm in report.arms:
        if (budget := arm.budget) is not None:
            share = percent(budget.supervised_token_share)
            seconds = budget.train_seconds.value
            yield (
                f"| {arm.label} | {whole(budget.num_supervised_steps)} | "
                f"{whole(budget.num_supervised_tokens)} ({share}) | "
                f"{DASH if seconds is None else f'{seconds:,.0f}'} |"
            )


def whole(number: Estimate) -> str:
    return DASH if number.value is None else f"{number.value:,.0f}"


def primary_lines(report: Report) -> Iterator[str]:
    """The primary comparison in a sentence."""
    for row in report.comparisons:
        if row.is_primary:
            arm, against = report.arm(row.arm).label, report.arm(row.against).label
            yield (
                f"Primary comparison, {split_label(row.scope)}: {arm} minus {against}: "
                f"{difference_text(row)}, {claim_text(row, report)}."
            )
            yield ""


def paper_lines(report: Report) -> Iterator[str]:
    """The paper's rates of the arms that it has, too."""
    found = [row for row, _ in paper_pairs(report) if row.model.startswith("Llama")]
    if found:
        rows = "; ".join(
            f"{row.title} {row.held_in:.2f} and {row.held_out:.2f}" for row in dict.fromkeys(found)
        )
        yield f"The paper, Llama-3.1-8B, held-in and held-out, one run each ({PAPER}): {rows}."
        yield ""


def write_page(page: Path, tables: str) -> None:
    """Replace the tables of the page, which are everything from their heading on."""
    text, heading, _ = page.read_text(encoding="utf-8").partition(f"{TABLES}\n")
    if not heading:
        raise SystemExit(f"{page} has no heading '{TABLES}', expected one where the tables begin")
    page.write_text(text + tables, encoding="utf-8")


def wrap_prose(line: str) -> str:
    """The line in the width of the docs; rows of tables and commands stay as they are."""
    if line.startswith(("|", "#", "atlas ", "python ")):
        return line
    return textwrap.fill(line, WIDTH, break_long_words=False, break_on_hyphens=False)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--report", type=Path, action="append", required=True)
    parser.add_argument("--command", action="append", required=True)
    parser.add_argument("--page", type=Path, default=None)
    given = parser.parse_args()
    if len(given.report) != len(given.command):
        parser.error(
            f"{len(given.report)} reports and {len(given.command)} commands are given, expected a "
            "command for each report"
        )
    lines = [TABLES, ""]
    for folder, command in zip(given.report, given.command, strict=True):
        lines += results_of(folder, command)
    tables = "\n".join(map(wrap_prose, lines)).rstrip("\n") + "\n"
    if given.page is None:
        print(tables, end="")
    else:
        write_page(given.page, tables)


if __name__ == "__main__":
    try:
        main()
    except AtlasError as error:
        raise SystemExit(f"error: {error}") from None
