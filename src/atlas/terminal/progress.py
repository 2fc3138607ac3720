"""Progress of long work: a bar on the terminal, or reports to a parent process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from atlas.terminal.console import SafeConsole
from atlas.terminal.visible_text import visible

SECONDS_PER_REFRESH = 0.2

_console = SafeConsole(stderr=True)
_report: Callable[[Shown | str], None] | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """The progress of some work; `total` is None if it is unknown."""

    title: str
    done: int
    total: int | None
    note: str


class Bar:
    """Shows progress, updated at most a few times per second, so `advance` is cheap."""

    def __init__(self, shown: Shown, show: Callable[[Shown], None]) -> None:
        self._shown = shown
        self._show = show
        self._last = time.monotonic()

    def advance(self, note: str | None = None) -> None:
        """One more piece is done."""
        self.update(self._shown.done + 1, note)

    def update(self, done: int, note: str | None = None) -> None:
        """`done` pieces are done; a note stays until the next one."""
        note = self._shown.note if note is None else note
        self._shown = replace(self._shown, done=done, note=note)
        if done == self._shown.total or time.monotonic() - self._last > SECONDS_PER_REFRESH:
            self._last = time.monotonic()
            self._show(self._shown)


@contextmanager
def show_progress(title: str, total: int | None = None, done: int = 0) -> Iterator[Bar]:
    """A bar for the work inside, removed when it ends."""
    start = Shown(title, done, total, "")
    if _report is not None:
        _report(start)
        yield Bar(start, _report)
        return
    is_hidden, shown = not _console.is_terminal, columns(total is not None)
    with Progress(*shown, console=_console, transient=True, disable=is_hidden) as progress:
        row = progress.add_task(title, total=total, completed=done, note="")
        yield Bar(start, lambda shown: progress.update(row, completed=shown.done, note=shown.note))


def say(line: str) -> None:
    """A line that stays above the bars."""
    if _report is not None:
        _report(line)
    else:
        _console.print(visible(line), markup=False, highlight=False, soft_wrap=True)


def report_to(report: Callable[[Shown | str], None]) -> None:
    """Send bars and lines of this process to `report` from now on."""
    global _report
    _report = report


@contextmanager
def quiet_unless(speaks: bool) -> Iterator[None]:
    """Show nothing inside the block unless `speaks`: of several processes one should print."""
    global _report
    before = _report
    if not speaks:
        _report = _ignore
    try:
        yield
    finally:
        _report = before


def _ignore(shown: Shown | str) -> None:
    pass


def columns(has_total: bool = True) -> tuple[ProgressColumn, ...]:
    """The columns of a bar; its row needs a field `note`."""
    title, note = TextColumn("{task.description}"), TextColumn("{task.fields[note]}")
    if not has_total:
        return SpinnerColumn(), title, TextColumn("{task.completed:,.0f}"), note
    return title, BarColumn(), MofNCompleteColumn(), note, TimeRemainingColumn()
