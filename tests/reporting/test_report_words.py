"""The headline and the notes follow from the verdicts and the inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from atlas.reporting.report import Report
from tests.reporting.synthetic_runs import RunFolders, read_built
from tests.run_folders import edit_manifest

pytest.importorskip("matplotlib", reason="the plots need the extra `report`")


def test_a_single_arm_is_reported_without_comparisons(
    make_runs: Callable[..., RunFolders],
) -> None:
    folders = make_runs(arms=("critical",), num_tasks=16)
    report = read_built(folders)
    assert report.comparisons == ()
    assert "No other tuned arm was given to compare it with." in report.headline
    assert not (folders.root.parent / "report" / "plots" / "differences.svg").exists()


def test_report_says_that_no_oracle_was_used_when_the_labels_are_the_experts_own(
    report: Report,
) -> None:
    assert report.label_origin[0].startswith("No LLM oracle was used")
    assert any(note.text == report.label_origin[0] for note in report.notes)
    assert any("outside the selection of 'annotated'" in line for line in report.label_origin)


def test_training_tasks_in_an_evaluation_are_a_caution(
    make_runs: Callable[..., RunFolders],
) -> None:
    report = read_built(make_runs(arms=("all", "critical"), num_tasks=8, leaked_tasks=3))
    assert any(
        "3 of the 8 tasks of held-in test are also training tasks" in note.text
        for note in report.notes
    )


def test_unequal_settings_and_budgets_are_cautions(make_runs: Callable[..., RunFolders]) -> None:
    folders = make_runs(num_tasks=8, settings_of={"critical": {"learning_rate": 3e-5}})
    cautions = [note.text for note in read_built(folders).notes if note.level == "caution"]
    assert any("learning_rate (1e-05, 3e-05)" in text for text in cautions)
    assert any("more supervised tokens than" in text for text in cautions)


def test_what_auto_stood_for_is_a_caution_where_it_differs(
    make_runs: Callable[..., RunFolders],
) -> None:
    folders = make_runs(arms=("all", "critical"), num_tasks=8)
    for arm, precision in (("all", "fp32"), ("critical", "bf16")):

        def edit(content: dict[str, Any], precision: str = precision) -> None:
            content["summary"]["precision"] = precision

        edit_manifest(folders.root / f"train-{arm}-0", edit)
    cautions = [note.text for note in read_built(folders).notes if note.level == "caution"]
    assert any("not trained in the same precision: All steps fp32" in text for text in cautions)


def test_a_setting_that_changes_only_speed_is_not_a_caution(
    make_runs: Callable[..., RunFolders],
) -> None:
    folders = make_runs(arms=("all", "critical"), num_tasks=8)

    def edit(content: dict[str, Any]) -> None:
        assert content["result_settings"] == content["config"]
        # A marked setting is in the config and not among those that decide the result.
        content["config"]["save_every"] = 7

    edit_manifest(folders.root / "train-critical-0", edit)
    assert not any("same settings" in note.text for note in read_built(folders).notes)


def test_a_model_that_chose_steps_is_named_and_sentences_come_from_the_selection_runs(
    make_runs: Callable[..., RunFolders],
) -> None:
    folders = make_runs(arms=("all", "critical"), num_tasks=8, asked_model="openai/gpt-4o")
    report = read_built(folders)
    assert "language model (openai/gpt-4o)" in report.label_origin[0]
    assert report.label_origin[1:] == (
        "All steps: every step, nothing was selected.",
        "Critical 30 %: the steps that the expert's own annotations mark as critical.",
    )


def test_steps_that_were_drawn_once_for_several_trainings_are_a_caution(
    make_runs: Callable[..., RunFolders],
) -> None:
    folders = make_runs(
        arms=("all", "critical", "random"), num_seeds=2, num_tasks=8, num_trajectories=6
    )
    cautions = [note.text for note in read_built(folders).notes if "one draw" in note.text]
    assert len(cautions) == 1
    assert cautions[0].startswith("Random 30 %: one draw")

    def edit(content: dict[str, Any]) -> None:
        content["summary"]["chosen_by"]["draws"] = False

    # The selection run says it of itself.
    edit_manifest(folders.paths["random"], edit)
    assert not any("one draw" in note.text for note in read_built(folders, "again").notes)

    # It is also drawn if what feeds it was: a vote among random steps.
    def feed(content: dict[str, Any]) -> None:
        path = "../" + folders.paths["random"].name
        content["inputs"]["of"] = {"path": path, "digest": None}

    def redraw(content: dict[str, Any]) -> None:
        content["summary"]["chosen_by"]["draws"] = True

    edit_manifest(folders.paths["random"], redraw)
    edit_manifest(folders.paths["annotated"], feed)
    cautions = [note.text for note in read_built(folders, "fed").notes if "one draw" in note.text]
    assert [text.partition(":")[0] for text in cautions] == ["Critical 30 % and Random 30 %"]
