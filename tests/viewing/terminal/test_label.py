from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from rich.console import Console

from atlas.errors import ConfigError, DataError, RunError
from atlas.store.labels import read_labels
from atlas.viewing.terminal.keyboard import END
from atlas.viewing.terminal.label import label_trajectories
from atlas.viewing.terminal.label_book import LabelBook
from tests.conftest import make_trajectory
from tests.run_folders import write_trajectories


class Script:
    """A keyboard on which everything is typed already; `!` is Ctrl-C."""

    def __init__(self, keys: str, lines: Iterable[str] = ()) -> None:
        self._keys = iter(keys)
        self._lines = iter(lines)

    def key(self) -> str:
        key = next(self._keys, END)
        if key == "!":
            raise KeyboardInterrupt
        return key

    def line(self, question: str) -> str:
        return next(self._lines)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    trajectories = [
        make_trajectory(3, "t3"),
        make_trajectory(0, "t0"),
        make_trajectory(1, "t1", thought="\x1b[2J[bold]red[/]"),
    ]
    return write_trajectories(tmp_path / "trajectories", trajectories)


def label(
    run: Path, keys: str, *lines: str, annotator: str = "ann", id_prefix: str | None = None
) -> tuple[int, str]:
    """How many trajectories were finished, and what the screen showed."""
    console = Console(file=io.StringIO(), width=120, highlight=False)
    finished = label_trajectories(
        console, run, run.parent / "labels.jsonl", annotator, id_prefix, Script(keys, lines)
    )
    assert isinstance(console.file, io.StringIO)
    return finished, console.file.getvalue()


def labels_in(run: Path) -> list[tuple[str, int, str]]:
    return [
        (one.label.trajectory_id, one.label.step, one.label.type)
        for one in read_labels(run.parent / "labels.jsonl").labels
    ]


def test_one_key_a_step_and_a_yes_make_the_labels_of_a_trajectory(run: Path) -> None:
    assert label(run, "pnayoy")[0] == 2  # the trajectory without a step is passed over
    expected = [
        ("t3", 0, "plan_creation"),
        ("t3", 1, "none"),
        ("t3", 2, "critical_action"),
        ("t1", 0, "critical_observation"),
    ]
    assert labels_in(run) == expected
    assert sorted(path.name for path in run.parent.iterdir()) == [
        ".labels.jsonl.lock",
        "labels.jsonl",
        "trajectories",
    ]
    assert label(run, "n")[0] == 0  # nothing is left to ask


def test_keys_without_a_meaning_do_nothing_and_back_takes_the_last_label_back(run: Path) -> None:
    label(run, "bxP\n sbcnnbaby" + "yq")
    assert not (run.parent / "labels.jsonl").exists()
    label(run, "c" + "y")
    assert labels_in(run) == [("t3", 0, "critical"), ("t3", 1, "none"), ("t3", 2, "critical")]


@pytest.mark.parametrize("stop", ["q", END, "!"])
def test_the_next_sitting_goes_on_at_the_step_where_the_last_one_stopped(
    stop: str, run: Path
) -> None:
    if stop == "!":
        with pytest.raises(KeyboardInterrupt):
            label(run, "pn!")
    else:
        label(run, "pn" + stop)
    # Half a trajectory is not written to the file.
    assert not (run.parent / "labels.jsonl").exists()
    assert "step 2 of 0 to 2" in label(run, "sy")[1]
    assert labels_in(run) == [
        ("t3", 0, "plan_creation"),
        ("t3", 1, "none"),
        ("t3", 2, "self_correction"),
    ]


def test_a_skipped_trajectory_is_asked_about_again_and_people_do_not_see_each_others_labels(
    run: Path,
) -> None:
    label(run, "pk" + "ny")
    label(run, "nnny" + "ay", annotator="bea")
    label(run, "nny")
    by = {
        (one.label.annotator, one.label.trajectory_id): one.label.type
        for one in read_labels(run.parent / "labels.jsonl").labels
        if not one.label.step
    }
    assert by == {
        ("ann", "t1"): "none",
        ("bea", "t3"): "none",
        ("bea", "t1"): "critical_action",
        ("ann", "t3"): "plan_creation",
    }


def test_a_note_goes_only_with_the_next_label(run: Path) -> None:
    label(run, "wpnny", " why \u2028 so ")
    notes = [one.label.note for one in read_labels(run.parent / "labels.jsonl").labels]
    assert notes == ["why \u2028 so", None, None]


def test_one_trajectory_can_be_asked_for(run: Path) -> None:
    assert label(run, "cy", id_prefix="t1")[0] == 1
    assert labels_in(run) == [("t1", 0, "critical")]


def test_hostile_text_moves_no_cursor(run: Path) -> None:
    shown = label(run, "vq", id_prefix="t1")[1]
    assert "\x1b" not in shown
    assert "\\x1b[2J[bold]red[/]" in shown


def test_what_others_wrote_stays_as_it_is_and_a_missing_line_end_is_added(run: Path) -> None:
    theirs = '{"step":0,  "trajectory_id":"elsewhere"}'
    (run.parent / "labels.jsonl").write_text(theirs, encoding="utf-8")
    label(run, "nny")
    assert (run.parent / "labels.jsonl").read_text(
        encoding="utf-8"
    ) == theirs  # "y" does not answer for the last step
    label(run, "ny")
    assert (run.parent / "labels.jsonl").read_text(encoding="utf-8").startswith(theirs + "\n{")
    assert len(labels_in(run)) == 4


def test_a_crash_while_a_trajectory_goes_over_makes_no_label_twice(run: Path) -> None:
    partial = run.parent / "labels.jsonl.partial"
    label(run, "nnnq")
    drafts = partial.read_bytes()
    label(run, "y")
    partial.write_bytes(drafts + b'{"digest": "", "label": {"trajectory_id": "t1", "st')
    label(run, "ay")
    assert [step[:2] for step in labels_in(run)] == [("t3", 0), ("t3", 1), ("t3", 2), ("t1", 0)]
    assert not partial.exists()


def test_a_file_of_something_else_is_not_written_to(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_text('{"id": "t3"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"labels.jsonl line 1: .*Fix the file"):
        label(run, "n")
    assert file.read_text(encoding="utf-8") == '{"id": "t3"}\n'
    file.unlink()
    file.with_suffix(".jsonl.partial").write_text("[]\n", encoding="utf-8")
    with pytest.raises(DataError, match="something other than drafts"):
        label(run, "n")
    with pytest.raises(ConfigError, match="does not end in"):
        LabelBook(tmp_path / "labels.csv", "ann")
    with pytest.raises(ConfigError, match="is not a folder"):
        LabelBook(tmp_path / "nowhere" / "labels.jsonl", "ann")
    with pytest.raises(ConfigError, match="annotator is empty"):
        label(run, "n", annotator=" ")


def test_two_sittings_at_once_do_not_share_a_file(tmp_path: Path) -> None:
    with (
        LabelBook(tmp_path / "l.jsonl", "ann"),
        pytest.raises(RunError, match="written by another process"),
    ):
        LabelBook(tmp_path / "l.jsonl", "bea")
    with LabelBook(tmp_path / "l.jsonl", "bea") as book:
        book.add(make_trajectory(1), 0, "critical")


@pytest.mark.parametrize("others", [1, 3, 4])
def test_answers_of_an_unfinished_trajectory_never_go_to_other_steps_with_its_id(
    run: Path, tmp_path: Path, others: int
) -> None:
    """Whether the other run has fewer steps than were answered, as many or more."""
    label(run, "pnq")
    drafts = (tmp_path / "labels.jsonl.partial").read_bytes()
    other = write_trajectories(
        tmp_path / "other", [make_trajectory(others, "t3", "I think otherwise.")]
    )
    with pytest.raises(DataError, match=r"'t3' by ann are about other steps .* another --out"):
        label(other, "nnnny")
    assert (tmp_path / "labels.jsonl.partial").read_bytes() == drafts
    assert not (tmp_path / "labels.jsonl").exists()
    # Another person has no answers there, and the run that was begun goes on.
    assert label(other, "n" * others + "y", annotator="bea")[0] == 1
    assert label(run, "ay", id_prefix="t3")[0] == 1


def test_a_kill_while_a_torn_line_is_removed_loses_no_answer(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label(run, "pnq")
    partial = run.parent / "labels.jsonl.partial"
    whole = partial.read_bytes()
    partial.write_bytes(whole + b'{"digest": "')

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            label(run, "q")
    assert partial.read_bytes().startswith(whole)
    assert "step 2 of 0 to 2" in label(run, "q")[1]
    assert partial.read_bytes() == whole


def read_until(screen: int, text: str) -> str:
    shown, deadline = "", time.monotonic() + 20
    while text not in shown:
        assert time.monotonic() < deadline, shown
        if select.select([screen], [], [], 0.1)[0]:
            shown += os.read(screen, 65536).decode()
    return shown


def test_the_command_at_a_real_terminal(run: Path) -> None:
    """Keys, an arrow, a note, Ctrl-C; then the second sitting to its end."""
    command = [
        sys.executable,
        "-m",
        "atlas",
        "label",
        str(run),
        "--out",
        str(run.parent / "labels.jsonl"),
        "annotator=ann",
    ]
    for keys, status in ((b"p\x1b[Dw", 130), (b"ny" + b"q", 0)):
        screen, terminal = pty.openpty()
        process = subprocess.Popen(
            command, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
        )
        try:
            read_until(screen, "[q]uit")
            os.write(screen, keys)
            if status:
                read_until(screen, "note: ")
                os.write(screen, b"a note\n")
                os.write(screen, b"a")
                read_until(screen, "step 2 of")
                os.kill(process.pid, signal.SIGINT)
            assert process.wait(timeout=20) == status
        finally:
            process.kill()
            process.wait()
            os.close(screen)
            os.close(terminal)
    lines = (run.parent / "labels.jsonl").read_text(encoding="utf-8").splitlines()
    assert [(one["type"], one["note"]) for one in map(json.loads, lines)] == [
        ("plan_creation", None),
        ("critical_action", "a note"),
        ("none", None),
    ]


def test_a_sitting_without_a_finished_trajectory_names_no_file_to_use(run: Path) -> None:
    screen, terminal = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "atlas",
        "label",
        str(run),
        "--out",
        str(run.parent / "labels.jsonl"),
    ]
    process = subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
    )
    try:
        read_until(screen, "[q]uit")
        os.write(screen, b"q")
        assert "Use them" not in read_until(
            screen, "The file is written once a whole trajectory is labeled"
        )
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(screen)
        os.close(terminal)


def test_without_a_terminal_the_command_says_so(run: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "atlas",
        "label",
        str(run),
        "--out",
        str(run.parent / "labels.jsonl"),
    ]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.startswith("error: label reads single keys")) == (2, True)
