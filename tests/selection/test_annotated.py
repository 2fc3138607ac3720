from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.config import load_config
from atlas.errors import ConfigError, DataError, RunError
from atlas.records import Message, Problem, Selection, Trajectory
from atlas.reporting.selections.compare_selections import (
    CompareConfig,
    compare_selections,
    read_comparison,
)
from atlas.selection.select_steps import SelectConfig, select_steps
from atlas.store.record_files import read_records
from atlas.store.run_folders import read_manifest
from tests.conftest import make_trajectory
from tests.run_folders import selections_in, write_trajectories
from tests.selection.configs import new_selector, select_config


@pytest.fixture
def run(tmp_path: Path) -> Path:
    protocol = make_trajectory(2, "t2").model_copy(
        update={
            "prompt": (Message(role="user", content="Hi"), Message(role="assistant", content="OK."))
        }
    )
    trajectories: list[Trajectory] = [make_trajectory(6, "t6"), protocol, make_trajectory(0, "t0")]
    return write_trajectories(tmp_path / "trajectories", trajectories)


def label(
    id_: str, step: int, type_: str = "critical", annotator: str = "ann", **more: Any
) -> dict[str, Any]:
    return {"trajectory_id": id_, "step": step, "type": type_, "annotator": annotator} | more


def select(
    run: Path, *labels: dict[str, Any], out: str = "s", **settings: Any
) -> tuple[dict[str, Selection], list[Problem]]:
    file = run.parent / f"{out}.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in labels), encoding="utf-8")
    select_steps(
        select_config(labels=str(file), **({"ratio": 1.0} | settings)), run, run.parent / out
    )
    selections = {one.trajectory_id: one for one in selections_in(run.parent / out)}
    return selections, list(read_records(run.parent / out / "problems.jsonl", Problem))


def test_the_steps_that_a_person_marked_are_chosen_with_kinds_and_notes(run: Path) -> None:
    labels = [
        label("t6", 1, "plan_creation", note="sets the goal"),
        label("t6", 1, "critical_action"),
        label("t6", 4),
        label("t6", 5, "none"),
    ]
    selections, problems = select(run, *labels, label("t2", 0, "none"))
    assert {step.index: step.kinds for step in selections["t6"].critical_steps} == {
        1: ("plan_creation", "critical_action"),
        4: (),
    }
    assert "ann: sets the goal" in str(selections["t6"].critical_steps[0].reason)
    assert (selections["t2"].critical_steps, selections["t2"].problem) == ((), None)
    assert problems == []


def test_of_several_people_the_majority_of_those_who_labeled_the_trajectory_decides(
    run: Path,
) -> None:
    labels = [
        label("t6", step, annotator=who)
        for who, steps in {"ann": (0, 3), "bea": (3, 4), "cem": (3, 0)}.items()
        for step in steps
    ]
    selections, _ = select(run, *labels, label("t2", 0), label("t2", 0, "none", "bea"))
    assert {step.index: step.score for step in selections["t6"].critical_steps} == {
        0: 0.666667,
        3: 1.0,
    }
    assert selections["t2"].indices == set()
    # Most agree on this step.
    assert select(run, *labels, out="few", ratio=0.2)[0]["t6"].indices == {3}


def test_one_annotator_can_be_picked(run: Path) -> None:
    labels = [label("t6", 0), label("t6", 1, annotator="bea"), label("t2", 0)]
    selections, problems = select(run, *labels, annotator="bea")
    assert selections["t6"].indices == {1}
    assert selections["t2"].problem == "no label by bea in s.jsonl"
    assert [problem.item for problem in problems] == ["t2"]
    with pytest.raises(ConfigError, match=r"annotator='be' has no label in .* Did you mean 'bea'"):
        select(run, *labels, out="other", annotator="be")


def test_lines_that_fit_no_step_are_problems_with_their_numbers_and_cost_no_other(
    run: Path,
) -> None:
    strange = [
        label("t7", 0),
        label("t6", 6),
        label("t0", 0),
        label("t2", -1),
        label("t6", 2),
        label("t2", 1),
        label("t6", 2, "none"),
    ]
    selections, problems = select(run, *strange)
    assert selections["t2"].indices == {1}
    reasons = {problem.where: problem.reason for problem in problems}
    assert "trajectory 't7' is not among those" in reasons["s.jsonl line 1"]
    assert "step 6 of a trajectory with steps 0 to 5" in reasons["s.jsonl line 2"]
    assert "a trajectory with no step" in reasons["s.jsonl line 3"]
    assert "Turns of the prompt (a canned 'OK.') are not steps" in reasons["s.jsonl line 4"]
    assert "both critical and 'none' (lines 5 and 7)" in reasons["s.jsonl line 7"]
    assert reasons["trajectory t6"] == "no label by anyone in s.jsonl"
    assert read_manifest(run.parent / "s").summary["problems"] == len(problems) == 6


def test_a_file_without_a_usable_label_stops_the_run_with_the_first_reason(run: Path) -> None:
    with pytest.raises(
        DataError, match=r"no label that can be used; the first problem: s.jsonl line 1: step is -1"
    ):
        select(run, label("t6", -1))
    with pytest.raises(DataError, match="it is empty"):
        select(run, out="none")
    with pytest.raises(DataError, match="selected no step of 3 trajectories"):
        select(run, label("t6", 0, "none"), out="nothing")


def test_changed_labels_are_another_input(run: Path) -> None:
    select(run, label("t6", 0))
    select(run, label("t6", 0))
    with pytest.raises(RunError, match="input labels: content"):
        select(run, label("t6", 1))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["selector=random", "labels=l.csv"], "a setting of selector 'annotated'; leave it out"),
        (["annotator=ann"], "add labels=FILE"),
    ],
)
def test_settings_that_nobody_reads_are_refused(settings: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(SelectConfig, None, settings)


def test_peoples_labels_are_compared_as_one_more_selection(run: Path) -> None:
    select(run, label("t6", 0), label("t6", 3), out="people")
    select_steps(select_config(selector="random"), run, run.parent / "random")
    compare_selections(
        CompareConfig(selections=(run.parent / "people", run.parent / "random"), plot=False),
        run.parent / "c",
    )
    comparison = read_comparison(run.parent / "c")
    assert [
        (profile.name, profile.num_trajectories, profile.num_problems)
        for profile in comparison.profiles
    ] == [("people", 2, 1), ("random", 3, 0)]
    assert comparison.pairs[0].agreement.num_trajectories == 2  # t2 has no label


def test_the_sentence_says_who_marked_the_steps_and_with_what_knowledge(
    run: Path, tmp_path: Path
) -> None:
    (tmp_path / "labels.jsonl").write_text(json.dumps(label("t6", 1)) + "\n", encoding="utf-8")
    people = new_selector(select_config(labels=str(tmp_path / "labels.jsonl")), run)
    assert people.sentence == (
        "the steps that people's labels (by anyone) call critical, written by people who read the "
        "trajectories"
    )
    expert = new_selector(select_config(), run)
    assert expert.sentence == (
        "the steps that their source marks: annotations of an expert, written while it acted with "
        "knowledge of the inside of the environment, or training flags of a file"
    )
