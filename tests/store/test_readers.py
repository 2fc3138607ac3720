from __future__ import annotations

from pathlib import Path

import pytest

from atlas.errors import DataError, RunError
from atlas.records import Selection
from atlas.store.readers import (
    TRAJECTORY_FILES,
    read_selected,
    read_selections,
    read_trajectories,
)
from tests.conftest import make_trajectory
from tests.opened_files import opens_of
from tests.run_folders import NoSettings, write_selections, write_trajectories

TRAJECTORIES = [make_trajectory(num_steps, f"t{num_steps}") for num_steps in (3, 0, 5)]


def selection_of(trajectory_id: str, num_steps: int) -> Selection:
    return Selection(trajectory_id=trajectory_id, selector="test", num_steps=num_steps, budget=1)


SELECTIONS = [selection_of(trajectory.id, len(trajectory.steps)) for trajectory in TRAJECTORIES]


@pytest.mark.parametrize("command", TRAJECTORY_FILES)
def test_every_command_that_writes_trajectories_can_be_read(tmp_path: Path, command: str) -> None:
    assert (
        list(read_trajectories(write_trajectories(tmp_path / "run", TRAJECTORIES, command)))
        == TRAJECTORIES
    )


def test_an_empty_run_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no trajectories"):
        read_trajectories(write_trajectories(tmp_path / "run", []))


def test_an_unfinished_run_is_refused_at_once(tmp_path: Path) -> None:
    from atlas.store.run_folders import start_run

    start_run(tmp_path / "run", "collect", NoSettings()).close()
    with pytest.raises(RunError, match="not finished"):
        read_trajectories(tmp_path / "run")


def test_a_run_of_another_command_is_refused(tmp_path: Path) -> None:
    trajectories = write_trajectories(tmp_path / "run", TRAJECTORIES)
    with pytest.raises(RunError, match="written by 'atlas select'"):
        read_trajectories(write_selections(tmp_path / "selection", SELECTIONS, trajectories))


def test_selections_come_back_by_trajectory_id(tmp_path: Path) -> None:
    trajectories = write_trajectories(tmp_path / "run", TRAJECTORIES)
    selection = write_selections(tmp_path / "selection", SELECTIONS, trajectories)
    assert read_selections(selection, trajectories) == {
        given.trajectory_id: given for given in SELECTIONS
    }


def test_a_selection_from_other_trajectories_is_refused(tmp_path: Path) -> None:
    trajectories = write_trajectories(tmp_path / "run", TRAJECTORIES)
    others = write_trajectories(tmp_path / "others", TRAJECTORIES[:2])
    with pytest.raises(RunError, match=r"made from other trajectories than those in .*others"):
        read_selections(write_selections(tmp_path / "selection", SELECTIONS, trajectories), others)


def test_runs_that_moved_together_still_belong_together(tmp_path: Path) -> None:
    trajectories = write_trajectories(tmp_path / "a" / "run", TRAJECTORIES)
    write_selections(tmp_path / "a" / "selection", SELECTIONS, trajectories)
    (tmp_path / "a").rename(tmp_path / "b")
    assert len(read_selections(tmp_path / "b" / "selection", tmp_path / "b" / "run")) == 3


@pytest.mark.parametrize(
    ("selections", "message"),
    [
        (SELECTIONS[:2], "no selection for trajectory 't5'"),
        ([*SELECTIONS, selection_of("ghost", 2)], "'ghost', which is not in"),
        (
            [*SELECTIONS[:2], selection_of("t5", 4)],
            "had 4 steps when it was selected from, it has 5",
        ),
    ],
)
def test_a_selection_that_does_not_fit_its_trajectories_is_refused(
    tmp_path: Path, selections: list[Selection], message: str
) -> None:
    trajectories = write_trajectories(tmp_path / "run", TRAJECTORIES)
    run = write_selections(tmp_path / "selection", selections, trajectories)
    with pytest.raises(RunError, match=message):
        list(read_selected(run, trajectories))


def test_each_trajectory_comes_with_its_selection_in_one_pass(tmp_path: Path) -> None:
    trajectories = write_trajectories(tmp_path / "run", TRAJECTORIES)
    selection = write_selections(tmp_path / "selection", SELECTIONS[::-1], trajectories)
    opened = opens_of(trajectories / "trajectories.jsonl")
    assert list(read_selected(selection, trajectories)) == list(
        zip(TRAJECTORIES, SELECTIONS, strict=True)
    )
    assert opened() == 1


def test_what_the_digest_proved_is_not_read_again(tmp_path: Path) -> None:
    trajectories = write_trajectories(tmp_path / "run", TRAJECTORIES)
    selection = write_selections(tmp_path / "selection", SELECTIONS, trajectories)
    opened = opens_of(trajectories / "trajectories.jsonl")
    assert len(read_selections(selection, trajectories)) == 3
    assert opened() == 0


def test_runs_that_do_not_belong_together_are_refused_before_the_first_pair(tmp_path: Path) -> None:
    trajectories = write_trajectories(tmp_path / "run", TRAJECTORIES)
    others = write_trajectories(tmp_path / "others", TRAJECTORIES[:2])
    with pytest.raises(RunError, match="made from other trajectories"):
        read_selected(write_selections(tmp_path / "selection", SELECTIONS, trajectories), others)


def test_an_empty_selection_run_is_refused(tmp_path: Path) -> None:
    trajectories = write_trajectories(tmp_path / "run", TRAJECTORIES)
    with pytest.raises(DataError, match="holds no selections"):
        read_selections(write_selections(tmp_path / "selection", [], trajectories), trajectories)
