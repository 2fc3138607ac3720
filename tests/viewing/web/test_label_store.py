"""The file of labels: a model of the edits, durability, several people and processes at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.errors import AtlasError, ConfigError, DataError, RunError
from atlas.records import Message
from atlas.store.labels import read_labels
from atlas.viewing.web.labels.database import LabelDatabase
from atlas.viewing.web.labels.edits import labeled_trajectory
from atlas.viewing.web.labels.store import KEEP, TYPES, LabelStore
from tests.conftest import make_trajectory

TRAJECTORIES = [make_trajectory(3, "t0"), make_trajectory(2, "t1")]
PEOPLE = ("ann", "bob", "Zoë 🦊")
TEXTS = st.none() | st.text(st.characters(codec="utf-8"), max_size=8)
EDITS = st.lists(
    st.one_of(
        st.tuples(
            st.just("set"),
            st.sampled_from(PEOPLE),
            st.integers(0, 1),
            st.integers(0, 1),
            st.sampled_from((*TYPES, None)),
            TEXTS,
        ),
        st.tuples(
            st.sampled_from(("finish", "reopen", "undo")),
            st.sampled_from(PEOPLE),
            st.integers(0, 1),
        ),
    ),
    max_size=25,
)
# What a person says about a trajectory: label and reason by step, and whether it is finished.
State = tuple[dict[int, tuple[str | None, str | None]], bool]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelStore]:
    opened = LabelStore(tmp_path / "labels.sqlite")
    yield opened
    opened.close()


def as_state(store: LabelStore, person: str, index: int) -> State:
    one = store.labeling(person, TRAJECTORIES[index])
    labels = {step: (label.type, label.reason) for step, label in one.labels.items()}
    return labels, one.is_finished


def apply(store: LabelStore, edit: tuple[Any, ...]) -> None:
    kind, person, index, *rest = edit
    trajectory = TRAJECTORIES[index]
    if kind == "set":
        step, type_, reason = rest
        store.set(person, trajectory, step, type_, reason=reason)
    elif kind == "undo":
        store.undo(person, trajectory)
    else:
        store.finish(person, trajectory, kind == "finish")


def model_of(edits: list[tuple[Any, ...]]) -> dict[tuple[str, int], State]:
    """Every person has a stack of states for every trajectory; an undo takes the last one off."""
    stacks: dict[tuple[str, int], list[State]] = {}
    for kind, person, index, *rest in edits:
        stack = stacks.setdefault((person, index), [({}, False)])
        labels, finished = stack[-1]
        if kind == "undo":
            stack[:] = stack[:-1] or stack
            if not stack:
                stack.append(({}, False))
            continue
        if kind == "set":
            step, type_, reason = rest
            now = {**labels, step: (type_, (reason or "").strip() or None)}
            if now[step] == (None, None):
                del now[step]
            state = now, finished
        else:
            state = labels, kind == "finish"
        if state != stack[-1]:
            stack.append(state)
    return {key: stack[-1] for key, stack in stacks.items()}


@given(EDITS)
@settings(max_examples=30)
def test_any_edits_and_undos_of_several_people_equal_a_stack_of_states_for_each(
    edits: list[tuple[Any, ...]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = LabelStore(Path(folder) / "labels.sqlite")
        for edit in edits:
            apply(store, edit)
        expected = model_of(edits)
        for person in PEOPLE:
            for index in (0, 1):
                state = expected.get((person, index), ({}, False))
                assert as_state(store, person, index) == state
        store.close()
        # The file holds the same after a restart.
        again = LabelStore(Path(folder) / "labels.sqlite")
        for (person, index), state in expected.items():
            assert as_state(again, person, index) == state
        again.close()


PARTS = {
    "type": st.sampled_from((*TYPES, None)),
    "reason": st.sampled_from(("why", None)),
    "evidence": st.sampled_from(("there", None)),
    "confidence": st.sampled_from((0.5, None)),
}


@given(st.fixed_dictionaries(PARTS), st.fixed_dictionaries({}, optional=PARTS))
@settings(max_examples=30)
def test_parts_that_are_kept_are_those_of_the_label_before(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = LabelStore(Path(folder) / "labels.sqlite")
        store.set("ann", TRAJECTORIES[0], 1, **first)
        store.set("ann", TRAJECTORIES[0], 1, **{**dict.fromkeys(PARTS, KEEP), **second})
        expected = {**first, **second}
        label = store.labeling("ann", TRAJECTORIES[0]).labels.get(1)
        assert {name: getattr(label, name, None) for name in PARTS} == expected
        store.close()


@given(EDITS)
@settings(max_examples=30)
def test_what_is_exported_reads_back_as_the_current_labels(edits: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = LabelStore(Path(folder) / "labels.sqlite")
        for edit in edits:
            apply(store, edit)
        exported = store.export_labels(Path(folder) / "labels.jsonl")
        file = read_labels(Path(folder) / "labels.jsonl")
        assert not file.problems
        assert len(file.labels) == exported.num_labels
        read = {
            (label.annotator, label.trajectory_id, label.step): label.type
            for label in (placed.label for placed in file.labels)
        }
        current = {
            (one.annotator, one.trajectory_id, step): label.type
            for one in store.labelings()
            for step, label in one.labels.items()
            if label.type is not None
        }
        # A finished trajectory without any label is written as one step that is not critical.
        for one in store.labelings():
            if one.is_finished and not one.decided:
                current[one.annotator, one.trajectory_id, 0] = "none"
        assert read == current
        store.close()


def test_reason_evidence_and_confidence_are_the_note_of_the_exported_line(
    store: LabelStore, tmp_path: Path
) -> None:
    said: dict[str, Any] = {"reason": "sets the goal", "evidence": "go to", "confidence": 0.75}
    store.set("ann", TRAJECTORIES[0], 1, "plan_creation", **said)
    store.export_labels(tmp_path / "labels.jsonl")
    [placed] = read_labels(tmp_path / "labels.jsonl").labels
    assert placed.label.note == "sets the goal; evidence: go to; confidence 0.75"


def test_the_history_says_who_did_what_and_keeps_what_was_undone(store: LabelStore) -> None:
    store.set("ann", TRAJECTORIES[0], 1, "critical")
    store.set("bob", TRAJECTORIES[0], 1, "none")
    undone = store.undo("ann", TRAJECTORIES[0])
    assert undone is not None
    assert undone.step == 1
    told = [(edit.annotator, edit.action, edit.type) for edit in store.history(TRAJECTORIES[0])]
    assert told == [("ann", "undo", None), ("bob", "label", "none"), ("ann", "label", "critical")]
    assert store.undo("ann", TRAJECTORIES[0]) is None
    assert all(edit.time.endswith("+00:00") for edit in store.history())


def test_a_label_that_changes_nothing_is_not_an_edit(store: LabelStore) -> None:
    assert store.set("ann", TRAJECTORIES[0], 1, "critical", reason=" x ") is not None
    assert store.set("ann", TRAJECTORIES[0], 1, "critical", reason="x") is None
    assert len(store.history()) == 1


def test_no_program_can_change_or_remove_an_edit(store: LabelStore) -> None:
    store.set("ann", TRAJECTORIES[0], 1, "critical")
    other = sqlite3.connect(store.path)
    for change in ("DELETE FROM edits", "UPDATE edits SET annotator = 'bob'"):
        with pytest.raises(sqlite3.IntegrityError, match="only added"):
            other.execute(change)
    other.close()


def test_the_same_id_with_other_steps_has_other_labels(store: LabelStore, tmp_path: Path) -> None:
    first, second = make_trajectory(3, "t"), make_trajectory(3, "t", thought="I think again.")
    store.set("ann", first, 0, "critical")
    assert store.labels(second) == ()
    renamed = first.model_copy(update={"prompt": (Message(role="system", content="other"),)})
    assert labeled_trajectory(renamed) == labeled_trajectory(first)
    store.set("ann", second, 0, "none")
    with pytest.raises(DataError, match="two versions"):
        store.export_labels(tmp_path / "labels.jsonl")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"annotator": "  "}, "annotator is empty"),
        ({"annotator": "x" * 201}, "201 characters"),
        ({"step": 3}, "expected 0 to 2"),
        ({"step": -1}, "expected 0 to 2"),
        ({"type": "critcal"}, "Did you mean 'critical'"),
        ({"confidence": 1.5}, "from 0 to 1"),
        ({"confidence": float("nan")}, "from 0 to 1"),
        ({"reason": "\ud800"}, "UTF-8"),
        ({"reason": "x" * 20_001}, "20,001 characters"),
    ],
)
def test_what_cannot_be_a_label_is_refused_with_its_reason(
    store: LabelStore, given: dict[str, Any], words: str
) -> None:
    said = {"annotator": "ann", "step": 0, "type": "critical", **given}
    with pytest.raises(ConfigError, match=words):
        store.set(trajectory=TRAJECTORIES[0], **said)
    assert store.history() == ()


def _label_many(path: Path, person: str, count: int) -> None:
    store = LabelStore(path)
    for number in range(count):
        store.set(person, TRAJECTORIES[0], 0, "critical", reason=f"{number}")
    store.close()


def test_processes_that_open_and_write_one_file_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "labels.sqlite"
    context = multiprocessing.get_context("spawn")
    jobs = [
        context.Process(target=_label_many, args=(path, person, 15))
        for person in ("ann", "bob", "ann", "cy")
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(120)
    assert [job.exitcode for job in jobs] == [0] * 4
    store = LabelStore(path)
    for person, expected in {"bob": 15, "cy": 15}.items():
        assert len([edit for edit in store.history() if edit.annotator == person]) == expected
    # Two processes of one person may say the same by chance, which is not an edit.
    assert 15 <= len([edit for edit in store.history() if edit.annotator == "ann"]) <= 30
    assert {label.annotator for label in store.labels(TRAJECTORIES[0])} == {"ann", "bob", "cy"}
    store.close()


WRITER = """
import sys
from atlas.viewing.web.labels.store import LabelStore
from tests.conftest import make_trajectory
store = LabelStore(sys.argv[1])
for number in range(10_000):
    store.set("ann", make_trajectory(3, "t0"), number % 3, "critical", reason=str(number))
    print(number, flush=True)
"""


@pytest.mark.parametrize("wanted", [1, 7, 30])
def test_a_killed_process_loses_nothing_that_it_has_confirmed(tmp_path: Path, wanted: int) -> None:
    path = tmp_path / "labels.sqlite"
    command = [sys.executable, "-c", WRITER, str(path)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    for line in writer.stdout:
        confirmed = int(line)
        if confirmed == wanted:
            break
    os.kill(writer.pid, signal.SIGKILL)
    rest = writer.stdout.read().split()
    writer.stdout.close()
    writer.wait()
    confirmed = max([confirmed, *map(int, rest)])
    store = LabelStore(path)
    kept = [int(edit.reason or -1) for edit in store.history()]
    store.close()
    # At most the edit that was not confirmed yet follows.
    assert kept[::-1] == list(range(len(kept)))
    assert confirmed + 1 <= len(kept) <= confirmed + 2


@pytest.mark.parametrize("content", [b"hello" * 500, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_file_of_something_else_is_refused_and_stays_as_it_is(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "labels.sqlite"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"labels\.sqlite: not a file of labels, or damaged"):
        LabelStore(path)
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE edits (id)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(DataError, match="another program"):
        LabelStore(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["other.sqlite"]


def test_a_damaged_page_is_found_when_the_file_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "labels.sqlite"
    store = LabelStore(path)
    for number in range(60):
        store.set("ann", TRAJECTORIES[0], 0, "critical", reason="x" * 500 + str(number))
    store.close()
    content = bytearray(path.read_bytes())
    content[8192:16384] = b"\xa5" * 8192
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        LabelStore(path)


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    store = LabelStore(tmp_path / "labels.sqlite")
    with store.database.write() as connection:
        connection.execute("PRAGMA user_version=2")
    store.close()
    with pytest.raises(DataError, match="newer version"):
        LabelStore(tmp_path / "labels.sqlite")


def test_a_folder_and_a_file_in_a_missing_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a file"):
        LabelStore(tmp_path)
    with pytest.raises(ConfigError, match="not a folder"):
        LabelStore(tmp_path / "missing" / "labels.sqlite")


def test_a_file_that_was_removed_meanwhile_accepts_no_label(store: LabelStore) -> None:
    store.set("ann", TRAJECTORIES[0], 0, "critical")
    store.path.unlink()
    with pytest.raises(RunError, match="removed or replaced"):
        store.set("ann", TRAJECTORIES[0], 1, "critical")


def test_a_lock_that_is_never_released_is_an_error_and_not_a_hang(
    store: LabelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with store.database.read() as connection:
        connection.execute("PRAGMA busy_timeout=50")
    with pytest.raises(RunError, match="did not release"):
        store.set("ann", TRAJECTORIES[0], 0, "critical")
    other.execute("COMMIT")
    other.close()
    store.set("ann", TRAJECTORIES[0], 0, "critical")


@given(st.binary(max_size=300))
@settings(max_examples=50)
def test_any_bytes_are_a_file_of_labels_or_an_error_that_names_it(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.sqlite"
        path.write_bytes(content)
        said = path.name
        try:
            LabelDatabase(path).close()
        except AtlasError as error:
            said = str(error)
        assert path.name in said
