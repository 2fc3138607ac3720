"""As `replay.py`, with many worlds at a time: for environments that wait for a server.

    python benchmarks/replay_many.py AGENTTRAJ/textcraft_train.json agentgym --worlds 16 \
        server=textcraft url=http://127.0.0.1:36001 wording=agenttraj client=2024

A world that breaks is replaced, and its trajectory is played once more, as in an evaluation. What
breaks twice is counted as "not played" with its reason.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from replay import Replay, read, summary_of, task_of, text_of

from atlas.environments.base import ENVIRONMENT
from atlas.environments.episode import Episode
from atlas.environments.play import Opening, play_episodes
from atlas.environments.worlds import Limits, Worlds
from atlas.errors import AtlasError
from atlas.kinds import Choice, config_class
from atlas.recipe_file import parse_yaml
from atlas.records import Source, Trajectory

MAX_SHOWN = 5


def choice_of(name: str, overrides: Sequence[str]) -> Choice:
    """The environment with its settings; without a limit of its own."""
    fields = config_class(ENVIRONMENT.find(name)).model_fields
    settings = {"max_steps": 1_000} if "max_steps" in fields else {}
    for override in overrides:
        key, _, value = override.partition("=")
        settings[key] = parse_yaml(value)
    return Choice(name, settings)


def count(found: Replay, trajectory: Trajectory, episode: Episode) -> None:
    """Count one episode as `replay.py` does."""
    found.num_trajectories += 1
    recorded = [text_of(step.observation) for step in trajectory.steps]
    recorded.append(text_of(trajectory.final_observation))
    shown = [text_of(step.observation) for step in episode.steps]
    shown.append(text_of(episode.observation))
    outcome = episode.outcome
    if outcome is not None and outcome.status == "error":
        num_left = sum(map(bool, recorded[1:]))
        found.fail(trajectory.id, 0, AtlasError(outcome.reason or ""), num_left)
        return
    for index, text in enumerate(recorded[: len(shown)]):
        # What was shown after the last response is often not recorded.
        if text:
            found.compare(trajectory.id, index, text, shown[index])
    if early := sum(map(bool, recorded[len(shown) :])):
        found.laters["not played"] += early
    status = "not ended" if outcome is None else outcome.status
    found.ends[status] += 1
    found.score += (outcome.score or 0.0) if outcome is not None else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trajectories", type=Path, help="a file for atlas import, or a run folder")
    parser.add_argument("environment", help="a row of ENVIRONMENTS, or package.module:Class")
    parser.add_argument("settings", nargs="*", help="key=value settings of the environment")
    parser.add_argument("--worlds", type=int, default=16, help="worlds that are open at a time")
    parser.add_argument("--limit", type=int, default=None, help="only the first trajectories")
    given = parser.parse_intermixed_args()
    if given.limit is not None and given.limit < 1:
        parser.error(f"--limit is {given.limit}, expected 1 or more")
    trajectories = dict(enumerate(list(read(given.trajectories))[: given.limit]))
    openings = (
        Opening(
            str(number),
            task_of(one.task, text_of(one.steps[0].observation)),
            Source(name="replay"),
            responses=tuple(step.response for step in one.steps),
        )
        for number, one in trajectories.items()
    )
    found, num_steps, started = Replay(), 0, time.monotonic()
    choice, limits = choice_of(given.environment, given.settings), Limits(step_seconds=600)
    with Worlds.of(choice, given.worlds, limits) as worlds:
        for name, episode in play_episodes(openings, worlds, None):
            num_steps += len(episode.steps)
            count(found, trajectories[int(name)], episode)
    seconds = round(time.monotonic() - started, 1)
    reasons = Counter(row["shown"] for row in found.differences if row["kind"] == "not played")
    for row in [row for row in found.differences if row["kind"] != "not played"][:MAX_SHOWN]:
        print(json.dumps({key: str(value)[-240:] for key, value in row.items()}))
    print(json.dumps(summary_of(found) | {"not_played": dict(reasons.most_common(5))}, indent=1))
    print(f"{num_steps:,} steps in {seconds} s, {given.worlds} worlds")


if __name__ == "__main__":
    try:
        main()
    except AtlasError as error:
        sys.exit(f"error: {error}")
