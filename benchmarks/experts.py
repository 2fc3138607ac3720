"""How well the expert of an environment plays, how it labels its steps, and how fast it is.

    python benchmarks/experts.py babyai textcraft split=train episodes=200
    python benchmarks/experts.py babyai --by-group --out experts.json max_steps=40

Each environment is a row of ENVIRONMENTS or `package.module:Class`. The `key=value` settings are
those of `atlas collect`, so its settings `split`, `episodes` and `seed` choose the tasks, and the
others go to the environment. A setting goes to every environment that is named. The episodes are
those that `atlas collect` would write.

`marked` is the share of steps with a label, and the columns after it the share by kind (a step can
have several). `steps/s` is by the clock, in one process and one world, with resets and the
expert's own thinking; `steps/cpu-s` counts the processor time of this process only, so a world
that computes in another process or in a server looks faster there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from atlas.config import load_config
from atlas.environments.base import Environment, HasExpert
from atlas.environments.checked import list_tasks
from atlas.environments.expert_player import ExpertPlayer
from atlas.environments.play import Opening, play_episodes
from atlas.environments.worlds import Worlds, ask_world
from atlas.errors import AtlasError, ConfigError
from atlas.records import CRITICAL_KINDS, Source, Task, Trajectory
from atlas.statistics.intervals import wilson_interval
from atlas.trajectories.collect_experts import CollectConfig, episode_seed

# Failed episodes that are printed; the JSON has all of them.
MAX_SHOWN = 5
# The group that stands for all tasks.
ALL = "all"
# The table stays whole also in a pipe.
WIDTH = 170
SPEEDS = ("steps_per_second", "steps_per_cpu_second")


@dataclass(frozen=True, slots=True)
class Played:
    """The episodes of one expert, and the time that they took."""

    trajectories: list[Trajectory]
    wall_seconds: float
    cpu_seconds: float


def play_expert(config: CollectConfig) -> Played:
    """Play the expert's episodes in one world.

    Raises:
        AtlasError: the environment has no expert or no such split, or a package is missing.
    """

    def ask(environment: Environment) -> list[Task]:
        if not isinstance(environment, HasExpert):
            raise ConfigError(f"environment '{config.environment.name}' has no expert.")
        return list_tasks(environment, config.split, config.episodes, config.seed)

    tasks: list[Task] = ask_world(config.environment, ask, config.limits)
    source = Source(name="expert", details={"seed": config.seed})
    with Worlds.of(config.environment, 1, config.limits) as worlds:
        player = ExpertPlayer(worlds)
        openings = (
            Opening(
                task.id,
                task,
                source,
                on_start=partial(player.seat, task.id, seed=episode_seed(task, config.seed)),
            )
            for task in tasks
        )
        wall, cpu = time.perf_counter(), time.process_time()
        played = [episode.trajectory for _, episode in play_episodes(openings, worlds, player)]
        return Played(played, time.perf_counter() - wall, time.process_time() - cpu)


def figures_of(trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    """Success with its interval, steps, characters, and shares of marked and invalid steps."""
    statuses = Counter(one.outcome.status for one in trajectories)
    steps = [step for one in trajectories for step in one.steps]
    marked = [step.annotation for step in steps if step.annotation and step.annotation.is_marked]
    kinds = Counter(kind for annotation in marked for kind in set(annotation.kinds))
    rate = wilson_interval(statuses["success"], len(trajectories))
    lengths = sorted(len(one.steps) for one in trajectories)
    return {
        "episodes": len(trajectories),
        "success": statuses["success"],
        "rate": round(statuses["success"] / len(trajectories), 4),
        "interval": [round(rate.low or 0.0, 4), round(rate.high or 0.0, 4)],
        "failure": statuses["failure"],
        "truncated": statuses["truncated"],
        "error": statuses["error"],
        "score": round(
            sum(one.outcome.score or 0.0 for one in trajectories) / len(trajectories), 4
        ),
        "steps": round(len(steps) / len(trajectories), 2),
        "steps_median": lengths[len(lengths) // 2],
        "steps_max": lengths[-1],
        "characters": round(sum(map(characters_of, trajectories)) / len(trajectories)),
        "marked": share(len(marked), len(steps)),
        "kinds": {kind: share(kinds[kind], len(steps)) for kind in CRITICAL_KINDS},
        "invalid": share(sum(step.is_invalid is True for step in steps), len(steps)),
    }


def characters_of(trajectory: Trajectory) -> int:
    """The characters of one episode as a model reads it, the prompt included."""
    seen = [*trajectory.prompt, *trajectory.final_observation]
    for step in trajectory.steps:
        seen += [*step.observation, step.response]
    calls = (call for message in seen for call in message.tool_calls)
    return sum(len(one.content) for one in seen) + sum(
        len(call.name) + len(call.arguments) for call in calls
    )


def share(part: int, whole: int) -> float:
    """A share; 0 of nothing."""
    return round(part / whole, 4) if whole else 0.0


def rows_of(played: Played, by_group: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """The figures of all episodes, then those of each group of tasks."""
    num_steps = sum(len(one.steps) for one in played.trajectories)
    yield (
        ALL,
        figures_of(played.trajectories)
        | {
            "steps_per_second": round(num_steps / max(played.wall_seconds, 1e-9), 1),
            "steps_per_cpu_second": round(num_steps / max(played.cpu_seconds, 1e-9), 1),
        },
    )
    for group in sorted({one.task.group for one in played.trajectories}) if by_group else ():
        yield group, figures_of([one for one in played.trajectories if one.task.group == group])


def failures_of(trajectories: Iterable[Trajectory]) -> list[dict[str, str]]:
    """The episodes that the expert did not solve, each with what is known of the reason."""
    return [
        {"task": one.task.id, "status": one.outcome.status, "reason": one.outcome.reason or ""}
        for one in trajectories
        if one.outcome.status != "success"
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("given", nargs="+", metavar="ENVIRONMENT|key=value")
    parser.add_argument("--by-group", action="store_true", help="also a row per group of tasks")
    parser.add_argument("--out", type=Path, default=None, help="where the JSON goes")
    given = parser.parse_intermixed_args()
    names = [one for one in given.given if "=" not in one]
    overrides = [one for one in given.given if "=" in one]
    if not names:
        parser.error("no environment is named, only settings")
    table = Table("environment", "group", "success", "95 %", "steps", "max", "characters")
    for column in ("marked", "plan", "observe", "act", "correct", "invalid", "steps/s", "/cpu-s"):
        table.add_column(column, justify="right")
    console, found = Console(width=WIDTH), []
    for name in names:
        try:
            config = load_config(CollectConfig, None, overrides, {"environment": name})
            played = play_expert(config)
        except AtlasError as error:
            raise SystemExit(str(error)) from None
        failures = failures_of(played.trajectories)
        for group, row in rows_of(played, given.by_group):
            low, high = row["interval"]
            table.add_row(
                name,
                group,
                f"{row['success']}/{row['episodes']}",
                f"[{low:.1%}, {high:.1%}]",
                f"{row['steps']:.1f}",
                str(row["steps_max"]),
                f"{row['characters']:,}",
                f"{row['marked']:.0%}",
                *(f"{row['kinds'][kind]:.0%}" for kind in CRITICAL_KINDS),
                f"{row['invalid']:.0%}",
                *(f"{row[key]:,.0f}" if key in row else "" for key in SPEEDS),
            )
            where = {"environment": name, "split": config.split, "group": group}
            found.append(where | row | ({"failures": failures} if group == ALL else {}))
        for one in failures[:MAX_SHOWN]:
            console.print(f"{one['task']}: {one['status']} {one['reason']}", markup=False)
        if len(failures) > MAX_SHOWN:
            console.print(f"… and {len(failures) - MAX_SHOWN} more that {name}'s expert missed")
    console.print(table)
    if given.out is not None:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps({"benchmark": "experts", "rows": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
