"""Arms that cannot be compared are refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import ConfigError, RunError
from atlas.reporting.build_report import build_report
from atlas.reporting.config import ArmConfig, ArmRun, ReportConfig
from tests.reporting.synthetic_runs import RunFolders, make_run_folders
from tests.run_folders import edit_manifest

pytest.importorskip("matplotlib", reason="the plots need the extra `report`")


def test_arms_with_different_tasks_are_refused_with_the_arm_and_the_number(
    make_runs: Callable[..., RunFolders], tmp_path: Path
) -> None:
    folders = make_runs(arms=("all", "critical"), num_tasks=20)
    fewer = make_run_folders(tmp_path / "fewer", arms=("all", "critical"), num_tasks=17)
    mixed = folders.config.model_copy(
        update={"arms": (folders.config.arms[0], fewer.config.arms[1])}
    )
    with pytest.raises(
        RunError,
        match=r"arm 'critical', split 'held_in_test': 3 tasks differ .*\(3 missing, 0 additional",
    ):
        build_report(mixed, tmp_path / "out")


def test_an_arm_without_one_of_the_splits_is_refused(
    make_runs: Callable[..., RunFolders], tmp_path: Path
) -> None:
    folders = make_runs(arms=("all", "critical"), num_tasks=8)
    critical = folders.config.arms[1]
    run = critical.runs[0]
    partial = critical.model_copy(
        update={
            "runs": (
                run.model_copy(
                    update={"evaluations": {"held_in_test": run.evaluations["held_in_test"]}}
                ),
            )
        }
    )
    with pytest.raises(
        RunError, match="arm 'critical' was evaluated on 'held_in_test', arm 'all' on"
    ):
        build_report(
            folders.config.model_copy(update={"arms": (folders.config.arms[0], partial)}),
            tmp_path / "out",
        )


def test_an_evaluation_of_another_checkpoint_is_refused(
    make_runs: Callable[..., RunFolders], tmp_path: Path
) -> None:
    folders = make_runs(arms=("all", "critical"), num_tasks=8)
    reference, critical = folders.config.arms
    swapped = critical.model_copy(
        update={
            "runs": (
                ArmRun(
                    training=critical.runs[0].training, evaluations=reference.runs[0].evaluations
                ),
            )
        }
    )
    with pytest.raises(RunError, match="did not evaluate the checkpoint"):
        build_report(
            folders.config.model_copy(update={"arms": (reference, swapped)}), tmp_path / "out"
        )


def test_a_selection_that_changed_since_the_training_is_refused(
    make_runs: Callable[..., RunFolders], tmp_path: Path
) -> None:
    folders = make_runs(arms=("all", "critical"), num_tasks=8)
    selection = folders.paths["annotated"]
    with (selection / "selections.jsonl").open("a") as file:
        file.write("\n")
    edit_manifest(selection, lambda content: None)
    with pytest.raises(RunError, match="was made again"):
        build_report(folders.config, tmp_path / "out")


def test_a_missing_or_unfinished_run_is_named(
    make_runs: Callable[..., RunFolders], tmp_path: Path
) -> None:
    folders = make_runs(arms=("all",), splits=("held_in_test",), num_tasks=8)
    missing = ArmConfig(
        name="critical", runs=(ArmRun(evaluations={"held_in_test": tmp_path / "nowhere"}),)
    )
    with pytest.raises(RunError, match="nowhere does not exist"):
        build_report(
            folders.config.model_copy(update={"arms": (*folders.config.arms, missing)}),
            tmp_path / "out",
        )
    manifest = folders.paths["evaluate-all-0-held_in_test"] / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"finished"', '"running"'))
    with pytest.raises(RunError, match="is not finished"):
        build_report(folders.config, tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference": "everything"}, "the reference 'everything' is not an arm"),
        ({"base": "all"}, "must be different arms"),
        (
            {"arms": [{"name": "all", "runs": [{"evaluations": {"a": "x"}}]}] * 2},
            "two arms are named 'all'",
        ),
    ],
)
def test_a_config_that_makes_no_comparison_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    from atlas.config import check_config

    values = {"arms": [{"name": "all", "runs": [{"evaluations": {"held_in": "x"}}]}], **changes}
    with pytest.raises(ConfigError, match=message):
        check_config(ReportConfig, values, "recipe")
