"""Collecting: the same bytes whoever plays, and no episode lost to an interruption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("minigrid", reason="the babyai extra is not installed")

from atlas.config import load_config
from atlas.errors import ConfigError, RunError
from atlas.kinds import Choice, NoConfig
from atlas.records import Message, Problem, Task, Trajectory
from atlas.statistics.trajectory_summary import summarize
from atlas.store.readers import read_trajectories
from atlas.store.record_files import read_records
from atlas.store.run_folders import read_manifest
from atlas.trajectories.collect_experts import (
    CollectConfig,
    collect_experts,
    episode_seed,
)
from tests.environments.push import PushEnvironment
from tests.processes import wait_for

FILE = "trajectories.jsonl"
SCRIPT = """
import sys
from pathlib import Path
from atlas.trajectories.collect_experts import CollectConfig, collect_experts
if __name__ == "__main__":
    try:
        config = CollectConfig(episodes=int(sys.argv[2]), workers=int(sys.argv[3]))
        collect_experts(config, Path(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
"""


def start_script(folder: Path, out: Path, episodes: int, workers: int) -> subprocess.Popen[str]:
    script = folder / "collect_script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(out), str(episodes), str(workers)]
    # Ctrl-C works even where the tests themselves run as a background job, which ignores it
    interruptible = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=interruptible
    )


def wait_for_lines(path: Path, num_lines: int) -> None:
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_bytes().count(b"\n") >= num_lines):
        assert time.monotonic() < deadline, "the run made no progress"
        time.sleep(0.02)


def test_the_bytes_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    for workers in (1, 2):
        collect_experts(CollectConfig(episodes=40, workers=workers), tmp_path / f"{workers}")
    assert (tmp_path / "1" / FILE).read_bytes() == (tmp_path / "2" / FILE).read_bytes()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path: Path, workers: int) -> None:
    out = tmp_path / "killed"
    process = start_script(tmp_path, out, 120, workers)
    wait_for_lines(out / f"{FILE}.partial", 10)
    process.kill()
    process.communicate()
    assert not (out / FILE).exists()
    with (out / f"{FILE}.partial").open("ab") as partial:
        partial.write(b'{"id": "torn')
    collect_experts(CollectConfig(episodes=120, workers=1), out)
    collect_experts(CollectConfig(episodes=120, workers=1), tmp_path / "whole")
    assert (out / FILE).read_bytes() == (tmp_path / "whole" / FILE).read_bytes()
    assert read_manifest(out).digest == read_manifest(tmp_path / "whole").digest


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_ctrl_c_stops_without_a_traceback_and_the_run_can_go_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start_script(tmp_path, out, 2000, 2)
    wait_for_lines(out / f"{FILE}.partial", 10)
    os.killpg(process.pid, signal.SIGINT)
    try:
        _, errors = wait_for(process)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert (out / f"{FILE}.partial").read_bytes().count(b"\n") >= 10


def test_a_finished_run_returns_at_once_and_other_settings_are_refused(tmp_path: Path) -> None:
    config = CollectConfig(episodes=10, workers=1)
    first = collect_experts(config, tmp_path)
    written = (tmp_path / FILE).stat().st_mtime_ns
    assert collect_experts(config.model_copy(update={"workers": 2}), tmp_path) == first
    assert (tmp_path / FILE).stat().st_mtime_ns == written
    with pytest.raises(RunError, match="seed"):
        collect_experts(config.model_copy(update={"seed": 1}), tmp_path)


def test_records_stand_in_the_order_of_the_tasks_and_the_summary_counts_them(
    tmp_path: Path,
) -> None:
    manifest = collect_experts(CollectConfig(episodes=30, workers=2), tmp_path)
    trajectories = list(read_records(tmp_path / FILE, Trajectory))
    from atlas.environments.babyai.tasks import babyai_tasks

    assert [trajectory.task for trajectory in trajectories] == list(babyai_tasks("train", 30, 0))
    assert manifest.summary["episodes"] == 30
    assert sum(manifest.summary["by_status"].values()) == 30
    assert manifest.summary["steps"] == sum(len(trajectory.steps) for trajectory in trajectories)
    assert sum(group["episodes"] for group in manifest.summary["groups"].values()) == 30
    assert all(
        step.annotation is not None for trajectory in trajectories for step in trajectory.steps
    )


def test_failures_are_kept_and_marked(tmp_path: Path) -> None:
    manifest = collect_experts(
        CollectConfig(episodes=20, workers=1, environment=Choice("babyai", {"max_steps": 2})),
        tmp_path,
    )
    assert manifest.summary["by_status"]["truncated"] > 0
    assert manifest.summary["episodes"] == 20


def test_an_episode_error_is_a_problem_with_its_reason() -> None:
    task = Task(id="x/1", environment="x", group="g")
    broken = Trajectory.model_validate(
        {
            "id": "x/1/expert-0",
            "task": task,
            "outcome": {"status": "error", "reason": "lost"},
            "source": {"name": "expert"},
        }
    )
    summary, problems = summarize([broken])
    assert problems == [Problem(where="collect", reason="lost", item="x/1/expert-0")]
    assert summary["by_status"] == {"error": 1}


def test_each_episode_has_a_seed_of_its_own() -> None:
    tasks = [Task(id=f"babyai/GoToLocal/{seed}", environment="babyai") for seed in range(50)]
    assert len({episode_seed(task, seed) for task in tasks for seed in (0, 1)}) == 100


class NoExpert:
    """An environment nobody can play well."""

    name = "none"

    def __init__(self, config: NoConfig) -> None: ...

    def tasks(self, split: str, num_tasks: int, seed: int) -> list[Task]:
        return []

    def reset(self, task: Task) -> None: ...

    def step(self, response: object) -> None: ...

    def close(self) -> None: ...


def test_an_environment_without_an_expert_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no expert"):
        collect_experts(CollectConfig(environment=Choice(f"{__name__}:NoExpert")), tmp_path)
    assert not list(tmp_path.iterdir())


class Wanderer(PushEnvironment):
    """An environment that changes the working directory."""

    def reset(self, task: Task) -> tuple[Message, ...]:
        os.chdir("/")
        return super().reset(task)


@pytest.mark.parametrize("worlds", [1, 3])
def test_an_environment_may_go_to_another_directory(
    worlds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wanderer = Choice(f"{__name__}:Wanderer")
    config = CollectConfig(environment=wanderer, episodes=4, workers=1, worlds=worlds)
    collect_experts(config, Path("out"))
    assert Path.cwd() == tmp_path
    assert len(list(read_trajectories(tmp_path / "out"))) == 4


@pytest.mark.parametrize("workers", [1, 2])
def test_an_outside_environment_with_settings_is_collected_from(
    tmp_path: Path, workers: int
) -> None:
    push = Choice("tests.environments.push:PushEnvironment", {"word": "shove"})
    config = CollectConfig(environment=push, episodes=24, workers=workers, worlds=3)
    manifest = collect_experts(config, tmp_path)
    assert manifest.summary["by_status"] == {"success": 24}
    trajectories = list(read_records(tmp_path / FILE, Trajectory))
    assert {step.action for trajectory in trajectories for step in trajectory.steps} == {"shove"}
    assert trajectories[0].source.details == {"seed": 0}


def test_the_source_names_the_seed_and_the_settings_of_the_expert(tmp_path: Path) -> None:
    expert = {"detour_rate": 0.2, "mistake_rate": 0.0}
    babyai = Choice("babyai", {"expert": expert})
    collect_experts(CollectConfig(environment=babyai, episodes=1, workers=1, seed=3), tmp_path)
    [trajectory] = read_records(tmp_path / FILE, Trajectory)
    assert trajectory.source.details == {"seed": 3, **expert}


def test_settings_of_the_environment_and_of_its_expert_are_found_from_the_command_line() -> None:
    config = load_config(
        CollectConfig, None, ["max_steps=7", "expert.detour_rate=0.3"], {"environment": "babyai"}
    )
    settings = config.environment.settings
    assert (settings.max_steps, settings.expert.detour_rate) == (7, 0.3)
    assert settings.expert.mistake_rate == 0.1
