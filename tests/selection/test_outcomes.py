"""Every command that passes steps on says how their trajectories ended."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.cli.closing_lines import tell
from atlas.presenting.outcome_shares import (
    FEWEST_TRAJECTORIES,
    describe_shares,
    ends_note,
    failure_note,
)
from atlas.records import (
    CriticalStep,
    Outcome,
    OutcomeStatus,
    Selection,
)
from atlas.selection.outlines import Outline
from atlas.selection.select_steps import select_steps
from atlas.selection.summary import summarize_selections
from tests.conftest import make_trajectory
from tests.run_folders import write_trajectories
from tests.selection.configs import select_config
from tests.selection.notes_of_commands import run_the_three


def write_ended(path: Path, *statuses: OutcomeStatus) -> Path:
    trajectories = [
        make_trajectory(10, f"t{number}").model_copy(update={"outcome": Outcome(status=status)})
        for number, status in enumerate(statuses)
    ]
    return write_trajectories(path, trajectories)


@pytest.mark.parametrize("name", ["all", "rules", "random"])
def test_a_selection_says_how_the_trajectories_of_its_steps_ended(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = write_ended(Path("run"), "success", *["failure"] * 4, "unknown")
    manifest = select_steps(select_config(name), run, Path("out"))
    assert manifest.summary["outcomes"] == {"failure": 4, "success": 1, "unknown": 1}
    assert (
        sum(manifest.summary["selected_by_outcome"].values())
        == (manifest.summary["selected_steps"])
    )
    tell(manifest, Path("out"))
    said = capsys.readouterr().out
    assert "failure 4 (67 %), success 1 (17 %), unknown 1 (17 %)" in said
    assert "atlas import run only=success --out run-success" in said
    # The counts are said once.
    assert said.count("outcomes") == 1
    assert ("worth:" in said) is (name == "rules")


def test_without_failures_there_is_no_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_ended(tmp_path / "run", "success", "unknown")
    tell(select_steps(select_config("all"), run, tmp_path / "out"), tmp_path / "out")
    said = capsys.readouterr().out
    assert "selected steps success 10 (50 %), unknown 10 (50 %)" in said
    assert "note:" not in said


def test_an_outcome_of_a_run_that_is_finished_again_is_counted_again(tmp_path: Path) -> None:
    run = write_ended(tmp_path / "run", "success", "failure")
    config = select_config("all")
    first = select_steps(config, run, tmp_path / "out")
    assert select_steps(config, run, tmp_path / "out") == first


def test_shares_are_never_rounded_to_none_or_all() -> None:
    assert describe_shares({"success": 999, "error": 1}) == "success 999 (> 99 %), error 1 (< 1 %)"
    assert describe_shares({}) == ""
    assert failure_note({"success": 3, "unknown": 2}, "run") is None
    assert "1 of 2 selected steps (50 %)" in str(failure_note({"success": 1, "truncated": 1}, "r"))


@given(where=st.lists(st.sampled_from(["first", "last", "both", "none"]), max_size=30))
def test_last_steps_are_counted_over_trajectories_with_selected_steps(where: list[str]) -> None:
    indices = {"first": (0,), "last": (4,), "both": (0, 4), "none": ()}
    selections = [
        Selection(
            trajectory_id=f"t{number}",
            selector="test",
            num_steps=5,
            budget=2,
            critical_steps=tuple(CriticalStep(index=index) for index in indices[place]),
        )
        for number, place in enumerate(where)
    ]
    outlines = {one.trajectory_id: Outline("success", ((),) * 5) for one in selections}
    summary = summarize_selections(selections, select_config("random"), outlines, [], None)
    of, selected = len(where) - where.count("none"), where.count("last") + where.count("both")
    assert summary["last_steps"] == {"selected": selected, "trajectories": of}
    note = ends_note(**summary["last_steps"])
    assert (note is not None) == (of >= FEWEST_TRAJECTORIES and selected < 0.05 * of)
    assert note is None or f"in {selected} of {of} trajectories" in note


@pytest.mark.parametrize(("place", "is_told"), [(0, True), (3, False)])
def test_select_train_and_export_say_that_a_selection_has_no_ends(
    place: int,
    is_told: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tiny_model_folder: Path,
) -> None:
    told = run_the_three(tmp_path, tiny_model_folder, capsys, 12, {place})
    for text in told.texts:
        assert ("the last step is selected in 0 of 12 trajectories" in text) == is_told
