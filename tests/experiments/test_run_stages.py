"""Stages side by side: their order, their errors, and interruptions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from atlas.config import Config
from atlas.errors import DataError, DependencyError, RunError
from atlas.experiments.run_stages import Stage, run_stages
from atlas.store.record_files import write_text
from atlas.store.run_folders import Manifest, start_run
from atlas.terminal.progress import say, show_progress

ROOT = Path(__file__).resolve().parents[2]
IMPORTS = """\
from pathlib import Path
from atlas.experiments.run_stages import Stage, run_stages
from tests.experiments.test_run_stages import times"""


class Nothing(Config):
    """Settings of a stage that has none."""


def make(seconds: float, out: Path) -> Manifest:
    """A stage that writes when it began and ended, and under how many threads."""
    with start_run(out, "collect", Nothing()) as run:
        if run.finished:
            return run.manifest
        began = time.time()
        say("at work")
        with show_progress("waiting", 10) as bar:
            for _ in range(10):
                time.sleep(seconds / 10)
                bar.advance()
        write_text(out / "times.txt", f"{began} {time.time()} {os.environ.get('OMP_NUM_THREADS')}")
        return run.finish({})


def fail(kind: str, out: Path) -> Manifest:
    """A stage that ends in one of the ways in which stages end badly."""
    if kind == "data":
        raise DataError(f"{out} is bad.")
    if kind == "dependency":
        raise DependencyError("nothing", "all")
    if kind == "bug":
        raise ZeroDivisionError("a bug")
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def note_mask(out: Path) -> Manifest:
    """A stage that writes whether Ctrl-C would reach its process."""
    with start_run(out, "collect", Nothing()) as run:
        write_text(
            out / "blocked.txt", str(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        )
        return run.finish({})


def times(out: Path) -> tuple[float, float]:
    began, ended, _ = (out / "times.txt").read_text().split()
    return float(began), float(ended)


def test_stages_run_side_by_side_but_never_before_what_they_need(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    stages = [
        Stage("1", first, make, (1.0,)),
        Stage("2", second, make, (1.0,)),
        Stage("3", third, make, (0.1,), needs=(first, second)),
    ]
    ended = [
        stage.title for stage, manifest in run_stages(stages, 2) if manifest.status == "finished"
    ]
    assert sorted(ended[:2]) == ["1", "2"]
    assert ended[2:] == ["3"]
    assert max(times(first)[0], times(second)[0]) < min(times(first)[1], times(second)[1]), (
        "the two overlap"
    )
    assert times(third)[0] > max(times(first)[1], times(second)[1])


def test_each_process_has_its_share_of_the_cores_unless_the_user_has_said_how_many_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    for given, expected in ((None, "3"), ("5", "5")):
        monkeypatch.delenv(
            "OMP_NUM_THREADS", raising=False
        ) if given is None else monkeypatch.setenv("OMP_NUM_THREADS", given)
        list(run_stages([Stage("1", tmp_path / expected, make, (0.0,))], 2))
        assert (tmp_path / expected / "times.txt").read_text().split()[2] == expected
        assert os.environ.get("OMP_NUM_THREADS") == given


def test_finished_stages_start_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = [Stage(str(number), tmp_path / str(number), make, (0.0,)) for number in range(4)]
    before = [manifest for _, manifest in run_stages(stages, 1)]
    monkeypatch.setattr(SpawnProcess, "start", lambda process: pytest.fail("a process started"))
    assert [manifest for _, manifest in run_stages(stages, 2)] == before


@pytest.mark.parametrize(
    ("kind", "expected", "words"),
    [
        ("data", DataError, "is bad"),
        ("dependency", DependencyError, "Install it with"),
        ("bug", ZeroDivisionError, "a bug"),
        ("kill", RunError, "stage 'bad' was killed"),
    ],
)
def test_what_a_stage_raises_reaches_the_caller_and_stops_the_others(
    tmp_path: Path, kind: str, expected: type[Exception], words: str
) -> None:
    stages = [
        Stage("long", tmp_path / "long", make, (600.0,)),
        Stage("bad", tmp_path / "bad", fail, (kind,)),
    ]
    with pytest.raises(expected, match=words):
        list(run_stages(stages, 2))
    assert not (tmp_path / "long" / "times.txt").exists()
    assert (
        next(run_stages([Stage("long", tmp_path / "long", make, (0.1,))]))[1].status == "finished"
    ), "its lock is free"


def test_no_stage_sees_ctrl_c_itself_not_even_in_the_first_process_that_is_ever_started(
    tmp_path: Path,
) -> None:
    code = (
        f"{IMPORTS}, note_mask\n"
        f"FOLDER = Path({str(tmp_path)!r})\n"
        "if __name__ == '__main__':\n"
        "    list(run_stages([Stage(n, FOLDER / n, note_mask) for n in 'ab'], 2))\n"
    )
    (tmp_path / "main.py").write_text(code)
    subprocess.run(
        [sys.executable, tmp_path / "main.py"],
        check=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
    )
    assert [(tmp_path / name / "blocked.txt").read_text() for name in "ab"] == ["True", "True"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stages_end_with_the_process_that_started_them(tmp_path: Path, number: int) -> None:
    code = (
        f"{IMPORTS}, make\n"
        f"FOLDER = Path({str(tmp_path)!r})\n"
        "if __name__ == '__main__':\n"
        "    list(run_stages([Stage(n, FOLDER / n, make, (60.0,)) for n in 'ab'], 2))\n"
    )
    (tmp_path / "main.py").write_text(code)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "main.py"],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
    )
    while not all((tmp_path / name / "manifest.json").exists() for name in "ab"):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    process.wait(20)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            for name in "ab":
                next(run_stages([Stage(name, tmp_path / name, make, (0.0,))]))
            return
        except RunError:  # still locked: the process has not left yet
            time.sleep(0.1)
    pytest.fail("a stage outlived the process that started it")
