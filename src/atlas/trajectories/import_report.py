"""What an import found, for the terminal: `manifest -> tables`.

Names and reasons come from files of strangers: they are shown, never interpreted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from atlas.presenting.outcome_shares import describe_shares
from atlas.store.run_folders import Manifest
from atlas.terminal.visible_text import one_line, print_whole, visible_line

ROWS_SHOWN = 12
BAR_WIDTH = 40
# Characters of a reason in the closing lines; problems.jsonl has all of it.
MAX_REASON = 140


def print_import(manifest: Manifest, out: Path, console: Console) -> None:
    """The tables, and three closing lines: what came in, what went out, what was left out."""
    for part in _tables(manifest.summary, min(BAR_WIDTH, console.width - 24)):
        if isinstance(part, Table):
            print_whole(console, part)
        else:
            console.print(part)
        console.print()
    for name, text in _closing(manifest, out).items():
        console.print(_plain(f"{name + ':':11}{text}"), soft_wrap=True)


def _plain(text: str) -> Text:
    """A text without markup, its control characters written as escapes."""
    return Text(visible_line(text))


def _tables(summary: Mapping[str, Any], bar_width: int) -> Iterator[RenderableType]:
    yield _group_table(summary["groups"])
    if spread := summary["steps_per_trajectory"]:
        yield Text(
            f"steps per trajectory: min {spread['min']}, median {spread['median']}, "
            f"95 % up to {spread['p95']}, max {spread['max']}"
        )
        yield _bars(spread["histogram"], max(4, bar_width))
    yield _size_table(summary["characters"], summary.get("tokens"))
    if summary["notes"]:
        yield _text_table("times", "kept, but odd (places: notes.jsonl)", summary["notes"])
    # Imports of earlier versions did not count them.
    if unread := summary.get("unread"):
        yield _text_table("rows", "path that was not read (places: notes.jsonl)", unread)


def _text_table(number: str, text: str, counts: Mapping[str, int]) -> Group:
    """Counts with their texts, the most common first; long texts go on in the next line."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(number, justify="right", no_wrap=True)
    table.add_column(text, overflow="fold")
    most_first = sorted(counts.items(), key=lambda item: -item[1])
    for name, count in most_first[:ROWS_SHOWN]:
        table.add_row(f"{count:,}", _plain(name))
    if rest := most_first[ROWS_SHOWN:]:
        table.add_row(f"{sum(count for _, count in rest):,}", f"({len(rest)} more)")
    return Group(table)


def _group_table(groups: Mapping[str, Any]) -> Table:
    table = _table("task", "trajectories", "steps each", "success")
    most_first = sorted(groups.items(), key=lambda item: (-item[1]["trajectories"], item[0]))
    for name, group in most_first[:ROWS_SHOWN]:
        number, mean_steps = f"{group['trajectories']:,}", f"{group['mean_steps']:.1f}"
        table.add_row(_plain(name), number, mean_steps, _share(group))
    if rest := most_first[ROWS_SHOWN:]:
        number = f"{sum(group['trajectories'] for _, group in rest):,}"
        table.add_row(_plain(f"({len(rest)} more)"), number, "", "")
    return table


def _bars(histogram: list[list[int]], width: int) -> Table:
    bars = Table.grid(padding=(0, 1))
    most = max(count for _, _, count in histogram)
    for low, high, count in histogram:
        label = str(low) if low == high else f"{low}–{high}"
        bar = "█" * (-(-width * count // most)) if count else ""
        bars.add_row(Text(label, justify="right"), Text(bar), f"{count:,}")
    return bars


def _size_table(characters: Mapping[str, int], tokens: Mapping[str, int] | None) -> Table:
    sizes = _table("role", "characters", *([] if tokens is None else ["tokens"]))
    for role, number in characters.items():
        counted = [] if tokens is None else [f"{tokens.get(role, 0):,}"]
        sizes.add_row(_plain(role), f"{number:,}", *counted)
    return sizes


def _closing(manifest: Manifest, out: Path) -> dict[str, str]:
    summary = manifest.summary
    paths, num_files = manifest.config["paths"], summary["files"]
    shown = ", ".join(map(str, paths[:5])) + (
        f" and {len(paths) - 5} more" if len(paths) > 5 else ""
    )
    formats = ", ".join(
        f"{'not recognized' if name == 'none' else name} {count:,}" if num_files > 1 else name
        for name, count in sorted(summary["formats"].items(), key=lambda item: -item[1])
    )
    statuses = describe_shares(summary["outcomes"])
    files = f"{num_files:,} {'file' if num_files == 1 else 'files'}"
    return {
        "in": f"{shown}: {files}, format {formats}",
        "out": f"{out}: trajectories {summary['trajectories']:,}, steps {summary['steps']:,}"
        + (f"; outcomes {statuses}" if statuses else ""),
        "left out": _left_out(summary, out),
    }


def _left_out(summary: Mapping[str, Any], out: Path) -> str:
    parts = [f"{count:,} by {name}" for name, count in summary["filtered"].items()]
    if summary["problems"]:
        reasons = list(summary["reasons"].items())
        listed = "; ".join(
            f"{count:,} × {one_line(reason, MAX_REASON)}" for reason, count in reasons[:3]
        ) + ("; …" if len(reasons) > 3 else "")
        parts.append(f"{summary['problems']:,} ({listed}), see {out / 'problems.jsonl'}")
    # Imports of earlier versions did not count them.
    for path, count in summary.get("ignored", {}).items():
        where = f"in {count:,} trajectories" if count else "which stands nowhere"
        parts.append(f"ignore={path}, {where}")
    if "limit" in summary:
        parts.append(f"kept {summary['limit']}")
    return "; ".join(parts) or "nothing"


def _share(group: Mapping[str, Any]) -> str:
    """The share of successes, and of how many trajectories if not of all."""
    rate = group["success_rate"]
    if rate is None:
        return "unknown"
    # Imports of earlier versions did not count them.
    judged = group.get("judged", group["trajectories"])
    return f"{100 * rate:.1f} %" + ("" if judged == group["trajectories"] else f" of {judged:,}")


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table
