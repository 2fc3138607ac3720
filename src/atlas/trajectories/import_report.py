"""What an import found, for the terminal: `manifest -> tables`.

Names and reasons come from strangers' files: they are shown, never obeyed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from atlas.store.run_folders import Manifest
from atlas.terminal.visible_text import visible_line

ROWS_SHOWN = 12
BAR_WIDTH = 40


def print_import(manifest: Manifest, out: Path, console: Console) -> None:
    """The tables, and the three closing lines: what came in, what went out, what was left out and why."""
    for part in _tables(manifest.summary):
        console.print(part)
        console.print()
    for name, text in _closing(manifest, out).items():
        console.print(plain(f"{name + ':':11}{text}"), soft_wrap=True)


def plain(text: str) -> Text:
    """A text without markup, its control characters written as escapes."""
    return Text(visible_line(text))


def _tables(summary: Mapping[str, Any]) -> Iterator[RenderableType]:
    groups = sorted(summary["groups"].items(), key=lambda item: (-item[1]["trajectories"], item[0]))
    table = _table("task", "trajectories", "steps each", "success")
    for name, group in groups[:ROWS_SHOWN]:
        table.add_row(
            plain(name),
            f"{group['trajectories']:,}",
            f"{group['mean_steps']:.1f}",
            _share(group["success_rate"]),
        )
    if len(groups) > ROWS_SHOWN:
        rest = groups[ROWS_SHOWN:]
        table.add_row(
            plain(f"({len(rest)} more)"),
            f"{sum(group['trajectories'] for _, group in rest):,}",
            "",
            "",
        )
    yield table
    if spread := summary["steps_per_trajectory"]:
        middle = f"min {spread['min']}, median {spread['median']}, 95 % up to {spread['p95']}, max {spread['max']}"
        bars = Table.grid(padding=(0, 1))
        most = max(count for _, _, count in spread["histogram"])
        for low, high, count in spread["histogram"]:
            label = str(low) if low == high else f"{low}–{high}"
            bars.add_row(
                Text(label, justify="right"),
                Text("█" * (-(-BAR_WIDTH * count // most)) if count else ""),
                f"{count:,}",
            )
        yield Text(f"steps per trajectory: {middle}")
        yield bars
    sizes = _table("role", "characters", *(["tokens"] if "tokens" in summary else []))
    for role, number in summary["characters"].items():
        sizes.add_row(
            plain(role),
            f"{number:,}",
            *([f"{summary['tokens'].get(role, 0):,}"] if "tokens" in summary else []),
        )
    yield sizes
    if summary["notes"]:
        notes = _table("kept, but odd", "steps")
        for remark, count in sorted(summary["notes"].items(), key=lambda item: -item[1])[
            :ROWS_SHOWN
        ]:
            notes.add_row(plain(remark), f"{count:,}")
        yield notes


def _closing(manifest: Manifest, out: Path) -> dict[str, str]:
    summary = manifest.summary
    paths = manifest.config["paths"]
    shown = ", ".join(map(str, paths[:5])) + (
        f" and {len(paths) - 5} more" if len(paths) > 5 else ""
    )
    formats = ", ".join(
        f"{name} {count:,}" if summary["files"] > 1 else name
        for name, count in summary["formats"].items()
    )
    statuses = ", ".join(f"{status} {count:,}" for status, count in summary["outcomes"].items())
    return {
        "in": f"{shown}: {summary['files']:,} {'file' if summary['files'] == 1 else 'files'}, format {formats}",
        "out": f"{out}: trajectories {summary['trajectories']:,} ({statuses}), steps {summary['steps']:,}",
        "left out": _left_out(summary, out),
    }


def _left_out(summary: Mapping[str, Any], out: Path) -> str:
    parts = [f"{count:,} by {name}" for name, count in summary["filtered"].items()]
    if summary["problems"]:
        reasons = list(summary["reasons"].items())
        listed = "; ".join(f"{count:,} × {reason}" for reason, count in reasons[:3]) + (
            "; …" if len(reasons) > 3 else ""
        )
        parts.append(f"{summary['problems']:,} ({listed}), see {out / 'problems.jsonl'}")
    return "; ".join(parts) or "nothing"


def _share(rate: float | None) -> str:
    return "unknown" if rate is None else f"{100 * rate:.1f} %"


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table
