"""Several worlds in one run folder of trajectories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from atlas.config import check_config
from atlas.errors import ConfigError, RunError
from atlas.records import Problem
from atlas.store.readers import read_trajectories
from atlas.store.record_files import read_records
from atlas.trajectories.collect_experts import CollectConfig, collect_experts
from atlas.trajectories.collect_suite import CollectSuiteConfig, collect_suite
from tests.environments.push import PushEnvironment

PUSH = "tests.environments.push:PushEnvironment"
ABSENT = "tests.evaluation.test_evaluate_suite:AbsentEnvironment"


class DoorEnvironment(PushEnvironment):
    """The same door under other task ids."""

    name = "door"

    def tasks(self, split: str, num_tasks: int, seed: int) -> Any:
        return [
            task.model_copy(update={"id": task.id.replace("push", "door"), "environment": "door"})
            for task in super().tasks(split, num_tasks, seed)
        ]


ENTRIES: dict[str, Any] = {
    "push": {"environment": PUSH, "split": "train", "episodes": 5},
    "door": {"environment": f"{__name__}:DoorEnvironment", "split": "train", "episodes": 3},
}


def config(entries: Any = ENTRIES, **changes: Any) -> CollectSuiteConfig:
    values = {"suite": {"entries": entries}, "workers": 1, **changes}
    return check_config(CollectSuiteConfig, values, "recipe")


def test_one_run_folder_holds_what_each_environment_gives_alone(tmp_path: Path) -> None:
    manifest = collect_suite(config(), tmp_path / "all")
    found = list(read_trajectories(tmp_path / "all"))
    assert [one.task.environment for one in found] == ["push"] * 5 + ["door"] * 3
    assert manifest.command == "collect"
    for name, entry in ENTRIES.items():
        alone = check_config(CollectConfig, entry, "recipe")
        collect_experts(alone, tmp_path / name)
        assert list(read_trajectories(tmp_path / name)) == [
            one for one in found if one.task.environment == name
        ]
    again = collect_suite(config(workers=2), tmp_path / "again")
    assert again.outputs["trajectories.jsonl"] == manifest.outputs["trajectories.jsonl"]


def test_what_is_missing_is_named_or_left_out(tmp_path: Path) -> None:
    entries = {**ENTRIES, "gone": {"environment": ABSENT}}
    with pytest.raises(ConfigError, match="gone: the package 'nothing' is not installed"):
        collect_suite(config(entries), tmp_path / "all")
    collect_suite(config(entries, skip_missing=True), tmp_path / "all")
    [problem] = read_records(tmp_path / "all" / "problems.jsonl", Problem)
    assert problem.item == "gone"
    assert len(list(read_trajectories(tmp_path / "all"))) == 8


def test_two_entries_may_not_hold_the_same_task(tmp_path: Path) -> None:
    twice = {**ENTRIES, "again": {"environment": {"name": PUSH, "max_steps": 3}}}
    with pytest.raises(ConfigError, match=r"'push' and 'again' .* both hold the task 'push/0'"):
        collect_suite(config(twice), tmp_path / "all")


def test_a_finished_run_needs_no_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = check_config(CollectConfig, {**ENTRIES["push"], "workers": 1}, "recipe")
    before = collect_suite(config(), tmp_path / "all"), collect_experts(alone, tmp_path / "one")

    def gone(*_: object) -> None:
        raise ConfigError("its server is gone")

    monkeypatch.setattr(PushEnvironment, "__init__", gone)
    again = collect_suite(config(), tmp_path / "all"), collect_experts(alone, tmp_path / "one")
    assert again == before
    with pytest.raises(RunError, match="other settings"):
        collect_suite(config(seed=1), tmp_path / "all")


def test_a_suite_is_collected_over_ray_like_one_environment() -> None:
    settings = config(workers="ray", ray={"num_workers": 2})
    assert settings.needed_extras() == ("ray",)
    parts = [settings.of_entry(name, entry) for name, entry in settings.suite.entries.items()]
    assert {(part.workers, part.ray.num_workers) for part in parts} == {("ray", 2)}
