"""Probe: does a model do better from right after a selected step than from right before it?

    trajectories + selection + model -> success before and after each selected step

The paper's Table 6 (ATLaS, arXiv 2503.02197): the untuned model takes over an expert's episode. A
step that decides much should raise its success more than a step drawn at random, so as many steps
that were not selected are probed as a control.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass, replace
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from atlas.config import BY_CONTENT, SPEED_ONLY, Config, StrPath
from atlas.environments.base import ENVIRONMENT, ENVIRONMENTS
from atlas.environments.episode import STEP_LIMIT
from atlas.environments.experts import stream
from atlas.environments.play import Opening, play_episodes
from atlas.environments.recorded_settings import recorded_environment
from atlas.environments.replay import replay_opening
from atlas.environments.worlds import Limits, Worlds
from atlas.errors import ConfigError
from atlas.evaluation.open_player import OpenPlayer
from atlas.evaluation.probe_metrics import ProbedStep, measure_probe
from atlas.evaluation.spent import Spent
from atlas.kinds import Choice
from atlas.models.local.load import rendering_inputs
from atlas.models.local.local_player import LocalPlayerConfig
from atlas.models.payments import Payment
from atlas.models.players import PLAYER, PlayerAnswer
from atlas.records import Problem, Selection, Source, Trajectory
from atlas.store.readers import TRAJECTORY_FILES, limits_of, read_selected
from atlas.store.record_files import read_records, write_text
from atlas.store.record_log import RecordLog
from atlas.store.run_folders import Manifest, run_input, start_run
from atlas.terminal.progress import show_progress

COMMAND = "probe"
STATE, ROLLOUT = "state", "rollout"


class ProbeConfig(Config):
    """Which model takes over, where, and how often."""

    model: Annotated[str, BY_CONTENT] = Field(
        description="the untuned model: a hub id, a model folder, or a run folder of train; for "
        "the player `endpoint`, the model's name at the provider or server"
    )
    environment: Annotated[Choice, ENVIRONMENT] | None = Field(
        default=None,
        description="the environment to play in, with the same settings as when the trajectories "
        "were made; if none, that of the run of the trajectories with its settings",
    )
    player: Annotated[Choice, PLAYER] = Field(
        default=Choice("local"),
        description="a player listed below, or your own as package.module:Class",
    )
    control: bool = Field(
        default=True,
        description="probe as many steps that were not selected, drawn at random from the same "
        "trajectory, to compare with",
    )
    rollouts: int = Field(
        default=1,
        ge=1,
        description="number of episodes from each state; more than 1 needs a player that samples",
    )
    limit: int | None = Field(
        default=None, ge=1, description="probe the first trajectories only, at most this many"
    )
    allow_differences: bool = Field(
        default=False,
        description="also probe trajectories whose replay shows other observations than recorded",
    )
    count_ended: bool = Field(
        default=False,
        description="a step after which the episode was over counts with the outcome of the "
        "episode; by default it is left out, because there is nothing to play after it",
    )
    seed: int = Field(default=0, ge=0, description="seed for the control steps, and for sampling")
    worlds: Annotated[int, SPEED_ONLY] = Field(
        default=64, ge=1, description="how many environments run at a time"
    )
    limits: Limits = Field(default=Limits(), description="time limits for an environment")

    @model_validator(mode="after")
    def _rollouts_differ(self) -> ProbeConfig:
        if self.rollouts > 1 and getattr(self.player.settings, "temperature", None) == 0:
            raise ValueError(
                f"at temperature 0 all {self.rollouts} rollouts are the same; raise "
                "player.temperature, or set rollouts=1"
            )
        return self


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """The steps to be probed in one trajectory. State s is the state after s steps."""

    trajectory: Trajectory
    steps: tuple[ProbedStep, ...]

    @property
    def states(self) -> tuple[int, ...]:
        """The states from which episodes are played, each once."""
        return tuple(sorted({step.index + side for step in self.steps for side in (0, 1)}))


def plan_probe(
    config: ProbeConfig, trajectories: StrPath, selection: StrPath
) -> Iterator[ProbePlan]:
    """The steps to be probed, trajectory by trajectory; one without selected steps is skipped."""
    pairs = read_selected(Path(selection), Path(trajectories))
    for trajectory, selected in islice(pairs, config.limit):
        if steps := _steps_of(trajectory, selected, config):
            yield ProbePlan(trajectory, tuple(steps))


def count_probe(config: ProbeConfig, trajectories: StrPath, selection: StrPath) -> tuple[int, ...]:
    """How many trajectories, steps and episodes a probe has, at most."""
    plans = [
        (len(plan.steps), len(plan.states) * config.rollouts)
        for plan in plan_probe(config, trajectories, selection)
    ]
    return len(plans), sum(steps for steps, _ in plans), sum(episodes for _, episodes in plans)


def probe_steps(
    config: ProbeConfig, trajectories: StrPath, selection: StrPath, out: StrPath
) -> Manifest:
    """Play from before and after each probed step into the run folder `out`; resumable.

    The folder then holds episodes.jsonl and metrics.json.

    Raises:
        ConfigError: no trajectory has a selected step, or its environment cannot be played.
        RunError: the runs do not belong together, or `out` belongs to another run.
        ModelError: the model cannot be loaded or asked.
    """
    out, trajectories, selection = Path(out), Path(trajectories), Path(selection)
    with OpenPlayer(config.player.name, config.model, config.seed) as opened:
        inputs = {
            "trajectories": run_input(trajectories, out, tuple(TRAJECTORY_FILES)),
            "selection": run_input(selection, out, ("select",)),
            "model": opened.describe(out),
            **rendering_inputs(out, getattr(config.player.settings, "chat_template", None)),
        }
        with start_run(out, COMMAND, config, inputs) as run:
            if run.finished:
                return run.manifest
            plans = list(plan_probe(config, trajectories, selection))
            if not plans:
                raise ConfigError(
                    f"{selection} selects no step of {trajectories}, so there is nothing to probe."
                )
            log = run.log("episodes", Trajectory, key=_key_of)
            names = [name for plan in plans for name, _, _ in _names(plan, config.rollouts)]
            spent = Spent(run)
            if not log.sealed:
                try:
                    with chdir(os.curdir):
                        _Probe(config, trajectories.absolute(), log, spent).play(
                            plans, opened, run.manifest.day
                        )
                    log.seal(names)
                finally:
                    log.close()
                    spent.close()
            paid = spent.seal()
            episodes = {_key_of(one): one for one in read_records(log.path, Trajectory)}
            steps = [step for plan in plans for step in _outcomes(plan, episodes, config)]
            metrics = measure_probe(steps, config.seed)
            write_text(run.path / "metrics.json", metrics.model_dump_json(indent=2) + "\n")
            run.write_problems(
                Problem(where=COMMAND, item=key, reason=episode.outcome.reason or "unknown")
                for key, episode in episodes.items()
                if not episode.outcome.is_valid
            )
            summary: dict[str, Any] = {
                "steps": metrics.selected.num_steps,
                "before": metrics.selected.before.model_dump(),
                "after": metrics.selected.after.model_dump(),
                "gain": metrics.selected.gain.difference.model_dump(),
                "control_gain": metrics.control and metrics.control.gain.difference.model_dump(),
                "selected_minus_control": metrics.selected_minus_control
                and metrics.selected_minus_control.difference.model_dump(),
                "episodes": len(episodes),
                "ended": metrics.selected.num_ended,
                "broken": metrics.selected.num_broken,
            }
            if limits := limits_of(trajectories, selection):
                summary["limited"] = "; ".join(limits)
            return run.finish(summary | (paid.summary() if paid is not None else {}))


class _Probe:
    """Plays the states of all plans that have no episode yet."""

    def __init__(
        self, config: ProbeConfig, run: Path, log: RecordLog[Trajectory], spent: Spent
    ) -> None:
        self._config, self._run, self._log, self._spent = config, run, log, spent
        self._num_answers = 0

    def play(self, plans: Sequence[ProbePlan], opened: OpenPlayer, day: date | None) -> None:
        """Play one environment after the other."""
        of: dict[str, list[ProbePlan]] = {}
        for plan in plans:
            of.setdefault(plan.trajectory.task.environment, []).append(plan)
        choices = {name: self._environment(name) for name in of}
        total = sum(len(plan.states) for plan in plans) * self._config.rollouts
        num_done = len(self._log.done)
        if num_done == total:
            return
        settings = self._config.player.settings
        if isinstance(settings, LocalPlayerConfig):
            settings = settings.on_day(day)
        player = opened.with_settings(settings)
        with show_progress("probing", total, num_done) as bar:

            def count(answer: PlayerAnswer) -> None:
                self._num_answers += 1
                if isinstance(answer.usage, Payment):
                    self._spent.pay(answer.usage)
                bar.tell(f"{self._num_answers:,} answers")

            for name, choice in choices.items():
                with Worlds.of(choice, self._config.worlds, self._config.limits) as worlds:
                    openings = self._openings(of[name])
                    for _, episode in play_episodes(openings, worlds, player, count):
                        self._log.append(episode.trajectory)
                        bar.advance()

    def _environment(self, name: str) -> Choice:
        if self._config.environment is not None:
            return self._config.environment
        found = recorded_environment(name, self._run)
        if found is None:
            raise ConfigError(
                f"environment '{name}' of the trajectories cannot be played here. Known: "
                f"{', '.join(sorted(ENVIRONMENTS))}. Name one by --env."
            )
        return found

    def _openings(self, plans: Sequence[ProbePlan]) -> Iterator[Opening]:
        for plan in plans:
            for name, state, rollout in _names(plan, self._config.rollouts):
                if name not in self._log.done:
                    details = {"trajectory": plan.trajectory.id, STATE: state, ROLLOUT: rollout}
                    yield replay_opening(
                        plan.trajectory,
                        state,
                        name,
                        Source(name=COMMAND, details=details),
                        is_exact=not self._config.allow_differences,
                    )


def _steps_of(
    trajectory: Trajectory, selection: Selection, config: ProbeConfig
) -> list[ProbedStep]:
    """The selected steps, and as many others drawn at random."""
    chosen = [
        ProbedStep(trajectory.id, step.index, is_selected=True, kinds=step.kinds)
        for step in selection.critical_steps
    ]
    if not config.control:
        return chosen
    others = sorted(set(range(len(trajectory.steps))) - selection.indices)
    drawn = stream(COMMAND, trajectory.id, config.seed).sample(
        others, min(len(chosen), len(others))
    )
    return chosen + [ProbedStep(trajectory.id, index, is_selected=False) for index in drawn]


def _names(plan: ProbePlan, rollouts: int) -> Iterator[tuple[str, int, int]]:
    """The episodes of a plan: name, state and number of the rollout."""
    for state in plan.states:
        for rollout in range(rollouts):
            yield _name(plan.trajectory.id, state, rollout), state, rollout


def _name(trajectory_id: str, state: int, rollout: int) -> str:
    return f"{trajectory_id} {state} {rollout}"


def _key_of(episode: Trajectory) -> str:
    details = episode.source.details
    return _name(details["trajectory"], details[STATE], details[ROLLOUT])


def _outcomes(
    plan: ProbePlan, episodes: Mapping[str, Trajectory], config: ProbeConfig
) -> Iterator[ProbedStep]:
    """The steps of a plan with the success rates on both sides."""
    rates: dict[int, float | None] = {}
    ended = set()
    for state in plan.states:
        played = [episodes[_name(plan.trajectory.id, state, one)] for one in range(config.rollouts)]
        valid = [one.outcome.status == "success" for one in played if one.outcome.is_valid]
        rates[state] = sum(valid) / len(valid) if valid else None
        # The replay ended the episode: there was nothing left to play.
        if valid and all(len(one.steps) == state and not _had_no_room(one) for one in played):
            ended.add(state)
    for step in plan.steps:
        yield replace(
            step,
            before=rates[step.index],
            after=rates[step.index + 1],
            is_ended=step.index + 1 in ended and not config.count_ended,
        )


def _had_no_room(episode: Trajectory) -> bool:
    """Whether the model could not answer, in a world that would have gone on."""
    return episode.outcome.reason not in (None, STEP_LIMIT)
