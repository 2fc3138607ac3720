"""Progress on terminals of all kinds and in pipes."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from atlas.terminal import progress
from atlas.terminal.progress import Shown, open_rows, show_progress

ROOT = Path(__file__).resolve().parents[2]
# In ASCII, so that a shell in any locale can pass it on.
SCRIPT = r"""
import time
from atlas.terminal.output import tolerate_encodings
from atlas.terminal.progress import say, show_progress
tolerate_encodings()
for title, total in (("train: \u00e9tat\u2026", 4), ("importing", None)):
    with show_progress(title, total) as bar:
        say("a line \u25b6 \x1b[31m that stays")
        for number in range(4):
            bar.advance("\u00d7" * 60)
            time.sleep(0.07)
print("done \u2026 \u25b6 \u00d7 \u2588 \u27e6\u27e7 \u00e9")
"""


def in_terminal(environment: dict[str, str], columns: int) -> tuple[int, str]:
    """Run SCRIPT with a terminal as its input and output."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(environment, COLUMNS=str(columns), PYTHONPATH=str(ROOT / "src"))
        os.execv(sys.executable, [sys.executable, "-c", SCRIPT])
    output = b""
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:
            break
        if not chunk:
            break
        output += chunk
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), output.decode("utf-8", "replace")


# The last two: a locale of POSIX without its usual coercion to UTF-8.
ENVIRONMENTS = {
    "utf-8": {"TERM": "xterm"},
    "ascii": {"TERM": "xterm", "PYTHONIOENCODING": "ascii"},
    "latin-1": {"TERM": "xterm", "PYTHONIOENCODING": "latin-1"},
    "dumb": {"TERM": "dumb", "PYTHONIOENCODING": "ascii"},
    "no color": {"TERM": "xterm", "NO_COLOR": "1"},
    "posix": {"TERM": "xterm", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "posix, dumb": {"TERM": "dumb", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
}


@pytest.mark.parametrize("columns", [20, 80])
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_bars_and_signs_end_no_command_on_any_terminal(name: str, columns: int) -> None:
    status, output = in_terminal(ENVIRONMENTS[name], columns)
    assert status == 0, output
    assert "Traceback" not in output
    assert "done" in output
    assert "\x1b[31m that" not in output
    if name == "dumb":
        assert "\x1b" not in output
    if name == "no color":
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]", output)
    if name in ("ascii", "posix", "dumb"):
        assert output.isascii()
        assert "done ... > x # [[]] \\xe9" in output


@pytest.mark.parametrize("name", ["ascii", "posix"])
def test_signs_in_a_pipe_are_ascii_where_nothing_else_can_be_written(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        env={"PYTHONPATH": str(ROOT / "src"), **ENVIRONMENTS[name]},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == "done ... > x # [[]] \\xe9\n"
    assert b"\x1b" not in done.stderr
    assert b"\r" not in done.stderr


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def pipe() -> Console:
    return Console(file=io.StringIO(), width=80)


def lines_in(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_pipe_gets_a_line_at_each_tenth(clock: Clock) -> None:
    console = pipe()
    with open_rows(console) as rows:
        for done in range(1001):
            clock.now = 0.1 * done
            rows.show("", Shown("playing", done, 1000, f"{done // 2} succeeded"))
    assert len(lines_in(console)) == 10
    assert lines_in(console)[0] == "playing, 100 of 1,000, 50 succeeded, 0 min 10 s"


def test_work_of_seconds_prints_nothing_in_a_pipe(clock: Clock) -> None:
    console = pipe()
    with open_rows(console) as rows:
        for done in range(11):
            clock.now = 0.3 * done
            rows.show("", Shown("playing", done, 10, ""))
    assert lines_in(console) == []


def test_a_minute_without_progress_is_a_line_too(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SECONDS_PER_LINE", 0.6)
    console = pipe()
    with open_rows(console) as rows:
        rows.show("", Shown("playing", 0, 200, "37 steps"))
        clock.now = 61.0
        end = time.monotonic() + 5
        while not lines_in(console) and time.monotonic() < end:
            time.sleep(0.01)
    assert lines_in(console) == ["playing, 0 of 200, 37 steps, 1 min 01 s"]


def test_a_note_is_shown_although_no_piece_is_done(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Shown] = []
    monkeypatch.setattr(progress, "_report", lambda one: shown.append(one))
    with show_progress("playing", 4) as bar:
        clock.now = 1.0
        bar.tell("12 steps")
    assert shown[-1] == Shown("playing", 0, 4, "12 steps")
