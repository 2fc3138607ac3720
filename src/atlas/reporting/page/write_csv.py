"""Report -> CSV files: each table with one row for each number, the run folders, all episodes.

A program that opens such a file as a spreadsheet must not run what a label says, so a text that
begins like a formula gets an apostrophe before it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from atlas.reporting.arms import Arm
from atlas.reporting.page.number_rows import COLUMNS, number_tables
from atlas.reporting.report import Report
from atlas.statistics.trajectory_summary import TrajectoryFacts
from atlas.store.record_files import write_text
from atlas.terminal.visible_text import one_line

TABLES_FOLDER = "tables"
EPISODES_FILE = "episodes.csv"
EPISODE_COLUMNS = (
    *("arm", "run", "seed", "split", "repetition", "environment", "group", "task", "episode"),
    *("success", "score", "steps", "status", "reason", "folder"),
)
RUN_COLUMNS = ("run", "command", "folder", "digest", "model", "seed", "wall_seconds", "versions")
# Spreadsheets refuse longer cells. The sources of a number of many runs are long.
MAX_CELL = 32_000
# What a spreadsheet takes as a formula.
FORMULA = re.compile(r"[=+\-@]")


def write_tables(report: Report, arms: Sequence[Arm], out: Path) -> None:
    """Write the tables of the report and the episodes of its arms below the folder `out`."""
    folder = out / TABLES_FOLDER
    folder.mkdir(exist_ok=True)
    for name, rows in number_tables(report).items():
        write_text(folder / f"{name}.csv", csv_text(COLUMNS, map(astuple, rows)))
    write_text(folder / "runs.csv", csv_text(RUN_COLUMNS, _run_rows(report)))
    write_text(out / EPISODES_FILE, csv_text(EPISODE_COLUMNS, _episode_rows(report, arms)))


def csv_text(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Rows as CSV text. Texts are safe to show; numbers have all their digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(map(_cell, row) for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    shown = one_line(value, MAX_CELL)
    return f"'{shown}" if FORMULA.match(shown) else shown


def _run_rows(report: Report) -> Iterator[tuple[Any, ...]]:
    for run in report.runs:
        versions = " ".join(f"{package}={version}" for package, version in run.versions.items())
        for name in run.names:
            known = (run.command, run.path, run.digest, run.model, run.seed, run.wall_seconds)
            yield (name, *known, versions)


def _episode_rows(report: Report, arms: Sequence[Arm]) -> Iterator[tuple[Any, ...]]:
    seeds = {name: run.seed for run in report.runs for name in run.names}
    paths = {name: run.path for run in report.runs for name in run.names}
    for arm in arms:
        for number, run in enumerate(arm.runs, start=1):
            seed = seeds[run.training.folder.name] if run.training else None
            for split, evaluation in run.evaluations.items():
                for repetition, played in enumerate(evaluation.repetitions, start=1):
                    place = (arm.name, number, seed, split, repetition)
                    folder = paths[played.folder.name]
                    for episode in played.episodes.values():
                        yield (*place, *_episode_cells(episode), folder)


def _episode_cells(episode: TrajectoryFacts) -> tuple[Any, ...]:
    success = int(episode.status == "success") if episode.is_valid else None
    task = (episode.environment, episode.group, episode.task_id, episode.trajectory_id)
    return (*task, success, episode.score, episode.num_steps, episode.status, episode.reason)
