"""Progress of long work: bars on a terminal, lines in a pipe, or reports to a parent process."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TimeElapsedColumn,
)
from rich.table import Column
from rich.text import Text

from atlas.terminal.console import SafeConsole
from atlas.terminal.visible_text import one_line, visible

SECONDS_PER_REFRESH = 0.2
# In a pipe, a line is printed at each tenth of the work, but not more often than this.
SECONDS_PER_TENTH = 5.0
# A line is printed at least this often, even if nothing was done.
SECONDS_PER_LINE = 60.0
# Characters of a title or a note beside a bar.
LONGEST_TITLE = 48

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
        """Report that one more item is done."""
        self.update(self._shown.done + 1, note)

    def tell(self, note: str) -> None:
        """Report that the work continues, although no further item is done."""
        self.update(self._shown.done, note)

    def update(self, done: int, note: str | None = None) -> None:
        """Report that `done` items are done. A note stays until the next one."""
        note = self._shown.note if note is None else note
        is_last = done == self._shown.total and done != self._shown.done
        self._shown = replace(self._shown, done=done, note=note)
        if is_last or time.monotonic() - self._last > SECONDS_PER_REFRESH:
            self._last = time.monotonic()
            self._show(self._shown)


class Rows(Protocol):
    """A display of several tasks at a time, each with a name."""

    def show(self, name: str, shown: Shown) -> None:
        """Show the state of some work; a new name opens a row."""

    def remove(self, name: str) -> None:
        """Remove the row of work that has ended."""

    def say(self, line: str) -> None:
        """Print a line that stays on the screen."""


@contextmanager
def open_rows(console: Console | None = None) -> Iterator[Rows]:
    """Bars on a terminal, which are removed at the end; otherwise a line from time to time."""
    console = console or _console
    if console.is_terminal and not console.is_dumb_terminal:
        with _bars(console) as progress:
            yield _BarRows(progress)
        return
    lines = _LineRows(console)
    thread = threading.Thread(target=lines.repeat, daemon=True)
    thread.start()
    try:
        yield lines
    finally:
        lines.close()


@contextmanager
def show_progress(title: str, total: int | None = None, done: int = 0) -> Iterator[Bar]:
    """A bar for the work inside, removed when it ends."""
    start = Shown(title, done, total, "")
    if _report is not None:
        _report(start)
        yield Bar(start, _report)
        return
    with open_rows() as rows:
        rows.show("", start)
        yield Bar(start, lambda shown: rows.show("", shown))


def say(line: str) -> None:
    """A line that stays above the bars."""
    if _report is not None:
        _report(line)
    else:
        _print(_console, line)


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


def _print(console: Console, line: str) -> None:
    console.print(visible(line), markup=False, highlight=False, soft_wrap=True)


class _Field(ProgressColumn):
    """A field of a row as text on one line."""

    def __init__(self, name: str) -> None:
        super().__init__(Column(no_wrap=True, overflow="crop"))
        self._name = name

    def render(self, task: Task) -> Text:
        return Text(one_line(task.fields[self._name], LONGEST_TITLE))


def _bars(console: Console) -> Progress:
    return Progress(
        # The spinner also moves while no item ends. Its frames are ASCII.
        SpinnerColumn("line"),
        _Field("title"),
        BarColumn(bar_width=20),
        _Field("count"),
        _Field("note"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        # If the output is a pipe, lines must still be written to it.
        redirect_stdout=sys.stdout.isatty(),
    )


class _BarRows:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def show(self, name: str, shown: Shown) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task("", title="", count="", note="")
        self._progress.update(
            self._tasks[name],
            title=shown.title,
            completed=shown.done,
            total=shown.total,
            count=_count(shown),
            note=shown.note,
        )

    def remove(self, name: str) -> None:
        if (task := self._tasks.pop(name, None)) is not None:
            self._progress.remove_task(task)

    def say(self, line: str) -> None:
        _print(self._progress.console, line)


@dataclass(slots=True)
class _Line:
    """The last known progress, and when and where it was last printed."""

    shown: Shown
    started: float
    printed: float
    tenth: int


class _LineRows:
    """Prints a line at each tenth, and at least one a minute; no control characters."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lines: dict[str, _Line] = {}
        self._lock = threading.Lock()
        self._is_over = threading.Event()

    def show(self, name: str, shown: Shown) -> None:
        with self._lock:
            now, tenth = time.monotonic(), _tenth(shown)
            line = self._lines.setdefault(name, _Line(shown, now, now, tenth))
            # Another title means that other work has begun.
            if line.shown.title != shown.title:
                line = self._lines[name] = _Line(shown, now, now, tenth)
            line.shown = shown
            if tenth > line.tenth and now - line.printed >= SECONDS_PER_TENTH:
                self._print(line, now)

    def remove(self, name: str) -> None:
        with self._lock:
            self._lines.pop(name, None)

    def say(self, line: str) -> None:
        _print(self._console, line)

    def repeat(self) -> None:
        """Run in a thread: print the rows that were not printed for a minute."""
        while not self._is_over.wait(SECONDS_PER_LINE / 60):
            with self._lock:
                now = time.monotonic()
                for line in self._lines.values():
                    if now - line.printed >= SECONDS_PER_LINE and not self._is_over.is_set():
                        self._print(line, now)

    def close(self) -> None:
        self._is_over.set()

    def _print(self, line: _Line, now: float) -> None:
        line.printed, line.tenth = now, _tenth(line.shown)
        shown = line.shown
        minutes, seconds = divmod(round(now - line.started), 60)
        parts = (shown.title, _count(shown), shown.note, f"{minutes} min {seconds:02} s")
        _print(self._console, ", ".join(filter(None, parts)))


def _tenth(shown: Shown) -> int:
    return 10 * shown.done // shown.total if shown.total else 0


def _count(shown: Shown) -> str:
    if shown.total is None:
        return f"{shown.done:,}" if shown.done else ""
    return f"{shown.done:,} of {shown.total:,}"
