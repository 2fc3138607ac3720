"""The table of a suite in the terminal: a line per entry, then the averages per ring."""

from __future__ import annotations

from pathlib import Path

from atlas.cli.closing_lines import say
from atlas.evaluation.metrics import GroupMetrics
from atlas.evaluation.suite_metrics import MacroMetrics, SuiteMetrics
from atlas.statistics.estimate import Estimate

COLUMNS = ("success", "95 % interval", "score", "steps", "tokens", "episodes")


def tell_suite(out: Path) -> None:
    """Print the figures of the suite that was played into `out`."""
    metrics = SuiteMetrics.model_validate_json((out / "metrics.json").read_bytes())
    rows: list[tuple[str, ...]] = [("entry", "ring", *COLUMNS)]
    for name, entry in metrics.entries.items():
        rows.append((name, entry.ring, *_cells(entry.figures)))
    for ring, figures in metrics.rings.items():
        rows.append(("average over worlds", ring, *_cells(figures)))
    if len(metrics.rings) > 1:
        rows.append(("average over worlds", "all", *_cells(metrics.total)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        say("  ".join(cells).rstrip())


def _cells(figures: GroupMetrics | MacroMetrics) -> tuple[str, ...]:
    rate = figures.success_rate
    interval = "" if rate.limits is None else "[{:.3f}, {:.3f}]".format(*rate.limits)
    ended = {
        "truncated": figures.num_truncated,
        "crashed": figures.num_crashed,
        "refused": figures.num_refused,
    }
    apart = [f"{number:,} {what}" for what, number in ended.items() if number]
    return (
        _figure(rate, 3),
        interval,
        _figure(figures.mean_score, 3),
        _figure(figures.mean_steps, 1),
        _figure(figures.mean_output_tokens, 0),
        ", ".join([f"{figures.num_episodes:,}", *apart]),
    )


def _figure(estimate: Estimate, digits: int) -> str:
    return "" if estimate.value is None else f"{estimate.value:,.{digits}f}"
