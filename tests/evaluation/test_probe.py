"""Probe: success from before and after each selected step, with a control at the same budget."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from atlas.environments.recorded_settings import recorded_environment
from atlas.environments.replay import replay_difference, replay_opening
from atlas.environments.worlds import Worlds
from atlas.errors import ConfigError
from atlas.evaluation.probe_metrics import ProbedStep, measure_probe
from atlas.evaluation.probe_steps import ProbeConfig, count_probe, plan_probe, probe_steps
from atlas.kinds import Choice
from atlas.records import Source, Trajectory
from atlas.selection.select_steps import SelectConfig, select_steps
from atlas.store.readers import read_trajectories
from atlas.store.record_files import read_records
from atlas.store.record_log import RecordLog
from atlas.trajectories.collect_experts import CollectConfig, collect_experts
from atlas.trajectories.collect_suite import CollectSuiteConfig, collect_suite
from atlas.trajectories.write_trajectories import write_trajectories
from tests.environments.push import PushConfig, ToolPushEnvironment

PUSH = Choice("tests.environments.push:PushEnvironment")


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Expert episodes of 1 to 4 pushes, and a selection of the last step of each."""
    collect = CollectConfig(environment=PUSH, episodes=8, workers=1)
    collect_experts(collect, tmp_path / "trajectories")
    select = SelectConfig(selector=Choice("random"), ratio=0.3)
    select_steps(select, tmp_path / "trajectories", tmp_path / "selection")
    return tmp_path / "trajectories", tmp_path / "selection"


def config(**changes: object) -> ProbeConfig:
    player = {"name": "tests.evaluation.test_probe:Pushes", "after": 2}
    return ProbeConfig.model_validate(
        {"model": "m", "environment": PUSH, "player": player, "worlds": 2} | changes
    )


class Pushes:
    """A player that pushes only if at least `after` pushes were seen."""

    from atlas.config import Config as _Config

    class Config(_Config):
        after: int = 2

    def __init__(self, config: Config, model: str, seed: int) -> None:
        self.after = config.after
        self.waiting: dict[str, bool] = {}

    @staticmethod
    def describe_model(model: str, out: Path) -> object:
        from atlas.store.run_folders import Input

        return Input(path=model)

    def submit(self, name: str, new_messages: list[object], tools: object = ()) -> None:
        seen = [message.content for message in new_messages]  # type: ignore[attr-defined]
        number = sum(text.startswith("You pushed") for text in seen)
        self.waiting[name] = self.waiting.get(name, False) or number >= self.after

    def next_answers(self, timeout: float | None = None) -> dict[str, object]:
        from atlas.models.players import PlayerAnswer
        from atlas.records import Message

        answers = {
            name: PlayerAnswer(Message(role="assistant", content="push" if knows else "wait"))
            for name, knows in self.waiting.items()
        }
        self.answered, self.waiting = self.waiting, {}
        return answers

    def close(self, name: str) -> None: ...

    def end(self) -> None: ...


def test_each_state_is_played_once_and_the_gain_is_after_minus_before(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    manifest = probe_steps(config(), *runs, tmp_path / "probe")
    episodes = list(read_records(tmp_path / "probe" / "episodes.jsonl", Trajectory))
    states = [(one.source.details["trajectory"], one.source.details["state"]) for one in episodes]
    assert len(set(states)) == len(states) == count_probe(config(), *runs)[2]
    metrics = json.loads((tmp_path / "probe" / "metrics.json").read_text())
    for part in (metrics["selected"], metrics["control"]):
        if part["num_steps"]:
            gain = part["after"]["value"] - part["before"]["value"]
            assert part["gain"]["difference"]["value"] == pytest.approx(gain)
    assert manifest.summary["broken"] == 0
    # The last push of an episode ends it, so there is nothing to play after it.
    assert metrics["selected"]["num_ended"] + metrics["control"]["num_ended"] > 0
    probe_steps(config(count_ended=True), *runs, tmp_path / "counted")
    counted = json.loads((tmp_path / "counted" / "metrics.json").read_text())
    assert counted["selected"]["num_ended"] == 0
    assert counted["selected"]["after"]["value"] >= metrics["selected"]["after"]["value"]


def test_an_interrupted_probe_plays_only_what_is_missing(
    runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe_steps(config(), *runs, tmp_path / "whole")
    appended: list[Trajectory] = []
    append = RecordLog.append

    def breaks(self: RecordLog[Trajectory], record: Trajectory) -> None:
        if len(appended) == 3:
            raise KeyboardInterrupt
        appended.append(record)
        append(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(RecordLog, "append", breaks)
        with pytest.raises(KeyboardInterrupt):
            probe_steps(config(), *runs, tmp_path / "cut")
    probe_steps(config(), *runs, tmp_path / "cut")
    for name in ("episodes.jsonl", "metrics.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


def test_the_control_has_as_many_steps_and_none_of_the_selected(runs: tuple[Path, Path]) -> None:
    for plan in plan_probe(config(), *runs):
        chosen = {step.index for step in plan.steps if step.is_selected}
        others = {step.index for step in plan.steps if not step.is_selected}
        assert not chosen & others
        assert len(others) == min(len(chosen), len(plan.trajectory.steps) - len(chosen))
    assert all(
        step.is_selected for plan in plan_probe(config(control=False), *runs) for step in plan.steps
    )


def test_a_replay_that_differs_is_a_problem_and_not_a_failure(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    altered = []
    for one in read_trajectories(runs[0]):
        first = one.steps[0].model_copy(
            update={"observation": (one.steps[0].observation[0].model_copy(
                update={"content": "You see a wall."}),)}
        )  # fmt: skip
        altered.append(one.model_copy(update={"steps": (first, *one.steps[1:])}))
    write_trajectories(altered, tmp_path / "altered")
    select_steps(SelectConfig(selector=Choice("random")), tmp_path / "altered", tmp_path / "of")
    strict = probe_steps(config(), tmp_path / "altered", tmp_path / "of", tmp_path / "strict")
    assert strict.summary["steps"] == 0
    assert "differs before step 0" in (tmp_path / "strict" / "problems.jsonl").read_text()
    lax = config(allow_differences=True)
    assert probe_steps(lax, tmp_path / "altered", tmp_path / "of", tmp_path / "lax").summary[
        "steps"
    ]


def test_an_environment_that_is_not_known_is_a_config_error(
    runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert recorded_environment("chess", runs[0]) is None
    monkeypatch.setattr(f"{probe_steps.__module__}.recorded_environment", lambda *_: None)
    with pytest.raises(ConfigError, match=r"environment 'push' .* cannot be played here"):
        probe_steps(config(environment=None), *runs, tmp_path / "probe")
    with pytest.raises(ValueError, match="all 3 rollouts are the same"):
        ProbeConfig(model="m", rollouts=3)


def test_a_state_is_restored_with_its_whole_history(runs: tuple[Path, Path]) -> None:
    longest = max(read_trajectories(runs[0]), key=lambda one: len(one.steps))
    source = Source(name="test")
    with Worlds.of(PUSH, 1) as worlds:
        for state in range(len(longest.steps) + 1):
            opening = replay_opening(longest, state, f"{state}", source, is_exact=True)
            worlds.begin("a", opening.start)
            [(_, episode)] = worlds.results(None)
            worlds.end("a", is_broken=False)
            assert len(episode.steps) == state
            assert replay_difference(episode, longest, state) is None
    assert ToolPushEnvironment.name == "tool-push"


def step(trajectory: str, *, selected: bool = True, **values: object) -> ProbedStep:
    return ProbedStep(trajectory, 0, selected, **values)  # type: ignore[arg-type]


def test_the_unit_is_the_trajectory_and_what_ended_or_broke_is_left_out() -> None:
    steps = [
        step("a", before=0.0, after=1.0),
        step("a", before=0.0, after=0.0),
        step("b", before=1.0, after=1.0),
        step("b", before=0.0, after=None),
        step("c", before=0.0, after=1.0, is_ended=True),
        step("a", selected=False, before=0.0, after=0.0),
    ]
    metrics = measure_probe(steps, 0)
    assert metrics.selected.before.value == 0.5
    assert metrics.selected.after.value == 0.75
    assert metrics.selected.gain.difference.value == 0.25
    assert (metrics.selected.num_ended, metrics.selected.num_broken) == (1, 1)
    assert metrics.selected.gain.difference.limits is None
    assert metrics.selected_minus_control is not None
    assert metrics.selected_minus_control.difference.value == 0.5
    assert metrics.selected_minus_control.num_trajectories == 1


def test_the_environment_is_played_with_the_settings_of_the_run(
    tmp_path: Path, runs: tuple[Path, Path]
) -> None:
    trajectories, selection = runs
    # The run names its environment by its class, and the tasks say 'push'.
    manifest = probe_steps(config(environment=None), trajectories, selection, tmp_path / "own")
    given = probe_steps(config(), trajectories, selection, tmp_path / "given")
    assert manifest.summary == given.summary
    assert recorded_environment("push", trajectories) == Choice(
        PUSH.name, PushConfig.model_validate({})
    )


def test_settings_that_a_suite_plays_in_two_ways_are_not_guessed(tmp_path: Path) -> None:
    def entry(max_steps: int, split: str) -> dict[str, object]:
        environment = {"name": "maze", "max_steps": max_steps}
        return {"environment": environment, "split": split, "episodes": 2}

    def collected(name: str, other: int) -> Path:
        entries = {"a": entry(7, "train"), "b": entry(other, "held_in_test")}
        suite = CollectSuiteConfig.model_validate({"suite": {"entries": entries}, "workers": 1})
        collect_suite(suite, tmp_path / name)
        return tmp_path / name

    found = recorded_environment("maze", collected("same", 7))
    assert found is not None
    assert found.settings.max_steps == 7
    with pytest.raises(ConfigError, match="2 different settings"):
        recorded_environment("maze", collected("different", 9))
