"""An export that is disturbed leaves one whole file of its own, or none."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from atlas.errors import ConfigError, RunError
from atlas.exporting import export_selection as exporting
from atlas.exporting.export_selection import ExportConfig, export_selection
from atlas.kinds import Choice
from atlas.store.record_files import is_temporary, remove_temporary, written_whole
from tests.conftest import make_trajectory
from tests.opened_files import opens_of
from tests.run_folders import write_selections, write_trajectories
from tests.store.test_readers import selection_of

OPENAI = ExportConfig(dialect=Choice("openai"))


def write_runs(folder: Path, num: int, step: int) -> tuple[Path, Path]:
    trajectories = [make_trajectory(4, f"{folder.name}-{index}") for index in range(num)]
    run = write_trajectories(folder / "t", trajectories)
    from atlas.records import CriticalStep

    selections = [
        selection_of(one.id, 4).model_copy(update={"critical_steps": (CriticalStep(index=step),)})
        for one in trajectories
    ]
    return run, write_selections(folder / "s", selections, run)


def exporting_command(runs: tuple[Path, Path], out: Path) -> list[str]:
    inputs = ["--trajectories", str(runs[0]), "--selection", str(runs[1])]
    return [sys.executable, "-m", "atlas", "export", "--to", "openai", *inputs, "--out", str(out)]


def test_two_exports_at_once_leave_the_rows_of_one_and_a_message_of_the_other(
    tmp_path: Path,
) -> None:
    runs = [write_runs(tmp_path / name, 300, step) for step, name in enumerate("ab")]
    wholes = []
    for name, made_from in zip("ab", runs, strict=True):
        export_selection(OPENAI, *made_from, tmp_path / f"{name}.jsonl")
        wholes.append((tmp_path / f"{name}.jsonl").read_bytes())
    out = tmp_path / "out" / "x.jsonl"
    processes = [
        subprocess.Popen(exporting_command(each, out), stderr=subprocess.PIPE, text=True)
        for each in runs
    ]
    said = [process.communicate()[1] for process in processes]
    codes = [process.returncode for process in processes]
    assert sorted(codes) == [0, 2], said
    assert out.read_bytes() == wholes[codes.index(0)]
    assert "Traceback" not in said[codes.index(2)]
    assert sorted(file.name for file in out.parent.iterdir()) == [
        "x.jsonl",
        "x.jsonl.manifest.json",
    ]


def test_an_export_beside_a_running_one_is_refused(tmp_path: Path) -> None:
    from atlas.store.locks import locked_file

    runs = write_runs(tmp_path / "a", 2, 1)
    with locked_file(tmp_path / "x.jsonl"), pytest.raises(RunError, match="another process"):
        export_selection(OPENAI, *runs, tmp_path / "x.jsonl")
    assert export_selection(OPENAI, *runs, tmp_path / "x.jsonl").finished


def test_two_writers_of_one_file_never_mix_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with written_whole(path) as first, written_whole(path) as second:
        for _ in range(1000):
            first.write(b"1" * 5000)
            second.write(b"2" * 5000)
    assert set(path.read_bytes()) == {ord("1")}
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("killed_at", ["file_digest", "write_records", "write_rows"])
def test_an_export_that_was_killed_goes_on(
    killed_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = write_runs(tmp_path / "a", 3, 1)
    whole = export_selection(OPENAI, *runs, tmp_path / "whole.jsonl")

    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    out = tmp_path / "x.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr(exporting, killed_at, kill)
        try:
            export_selection(OPENAI, *runs, out)
        except Killed:
            assert not json.loads((tmp_path / "x.jsonl.manifest.json").read_text())["outputs"]
    again = export_selection(OPENAI, *runs, out)
    assert again.finished
    assert list(again.outputs.values()) == list(whole.outputs.values())
    other = write_runs(tmp_path / "b", 3, 2)
    with pytest.raises(RunError, match="from other runs"):
        export_selection(OPENAI, *other, out)


def test_an_export_that_is_killed_at_any_time_goes_on(tmp_path: Path) -> None:
    runs = write_runs(tmp_path / "a", 300, 1)
    export_selection(OPENAI, *runs, tmp_path / "whole.jsonl")
    out = tmp_path / "out" / "x.jsonl"
    for seconds in (0.1, 0.6, 1.0):
        process = subprocess.Popen(exporting_command(runs, out), stdout=subprocess.DEVNULL)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
    export_selection(OPENAI, *runs, out)
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not list(out.parent.glob("*.tmp"))


def test_an_export_reads_each_run_once_and_holds_one_selection_at_a_time(tmp_path: Path) -> None:
    runs = write_runs(tmp_path / "a", 50, 1)
    opened = [opens_of(runs[0] / "trajectories.jsonl"), opens_of(runs[1] / "selections.jsonl")]
    export_selection(OPENAI, *runs, tmp_path / "x.jsonl")
    assert [count() for count in opened] == [1, 1]


@pytest.mark.parametrize(
    ("mine", "others"),
    [
        ("m.jsonl", "m.jsonl.jsonl"),
        ("m.jsonl", "m.jsonl.parquet"),
        (f"{'x' * 40}a.jsonl", f"{'x' * 40}b.jsonl"),
    ],
)
def test_a_writer_clears_away_only_what_was_left_of_its_own_file(
    mine: str, others: str, tmp_path: Path
) -> None:
    runs = write_runs(tmp_path / "runs", 2, 0)
    with written_whole(tmp_path / others) as file:
        export_selection(OPENAI, *runs, tmp_path / mine)
        file.write(b"whole")
    assert (tmp_path / others).read_bytes() == b"whole"


def test_what_a_killed_writer_left_is_cleared_away(tmp_path: Path) -> None:
    kept = {}
    for name in ("a.jsonl", "a.jsonl.manifest.json", "b.jsonl"):
        with written_whole(tmp_path / name):
            (made,) = (file for file in tmp_path.iterdir() if is_temporary(file))
            kept[name] = made.name
    for name in kept.values():
        (tmp_path / name).touch()
    remove_temporary(tmp_path, "a.jsonl", "a.jsonl.manifest.json")
    assert [file.name for file in tmp_path.iterdir() if is_temporary(file)] == [kept["b.jsonl"]]


@pytest.mark.parametrize("length", [256, 255, 249, 245, 241])
def test_a_name_without_room_for_the_files_beside_it_is_refused(
    length: int, tmp_path: Path
) -> None:
    runs = write_runs(tmp_path / "runs", 2, 0)
    out = tmp_path / ("x" * (length - 6) + ".jsonl")
    with pytest.raises(ConfigError, match=r"--out .* longer than the file system allows"):
        export_selection(OPENAI, *runs, out)
    export_selection(OPENAI, *runs, tmp_path / ("x" * 234 + ".jsonl"))
