"""Replays recorded episodes in an environment: how much of what it says is what was recorded.

    python -m benchmarks.replay --env agentgym --trajectories textcraft_train.json \
        server=textcraft url=http://127.0.0.1:36001 wording=agenttraj client_version=2024-06

Takes any environment that knows the ids of the recorded tasks. The recording is a file of AgentTraj
or a run folder of `atlas import`. Settings of the environment follow as key=value. `max_steps` is
200 unless it is given: a recorded episode may be longer than the limit of an evaluation.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from atlas.config import Config, load_config
from atlas.environments.base import ENVIRONMENT
from atlas.environments.episode import Episode
from atlas.environments.play import Opening, play_episodes
from atlas.environments.worlds import Limits, Worlds
from atlas.errors import AtlasError
from atlas.kinds import Choice, config_class
from atlas.records import Message, Source, Task
from atlas.store.readers import read_trajectories

GOAL = re.compile(r"Goal: (craft .+?)\.?\s*$")
MAX_SHOWN = 160


class _Settings(Config):
    environment: Annotated[Choice, ENVIRONMENT] = Field(
        default=Choice("babyai"), description="the environment"
    )


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded episode: what was seen before each response."""

    task: Task
    seen: tuple[str, ...]
    responses: tuple[Message, ...]


def read_recordings(path: Path, environment: str) -> Iterator[Recording]:
    """The recorded episodes of a file of AgentTraj, or of a run folder."""
    if path.is_dir():
        for trajectory in read_trajectories(path):
            observations = tuple(
                "\n".join(message.content for message in step.observation)
                for step in trajectory.steps
            )
            responses = tuple(step.response for step in trajectory.steps)
            yield _recording(trajectory.task.id, environment, observations, responses)
        return
    for row in json.loads(path.read_text(encoding="utf-8")):
        # The instruction and its confirmation come first.
        turns = [turn["value"] for turn in row["conversations"][2:]]
        said = tuple(Message(role="assistant", content=text) for text in turns[1::2])
        yield _recording(row["item_id"], environment, tuple(turns[::2]), said)


def _recording(
    item: str, environment: str, seen: tuple[str, ...], responses: tuple[Message, ...]
) -> Recording:
    found = GOAL.search(seen[0])
    task = Task(id=item, environment=environment, goal=found[1] if found else None)
    return Recording(task, seen, responses)


@dataclass(slots=True)
class Tally:
    """What the replayed episodes have in common with the recorded ones."""

    episodes: int = 0
    first: int = 0
    first_words: int = 0
    later: int = 0
    later_equal: int = 0
    later_words: int = 0
    whole: int = 0
    solved: int = 0
    score: float = 0.0

    def add(self, recording: Recording, episode: Episode) -> tuple[str, str] | None:
        """Count one episode; the first pair of texts that differ, recorded and seen."""
        seen = [_text(step.observation) for step in episode.steps]
        if len(seen) < len(recording.seen) and episode.observation:
            seen.append(_text(episode.observation))
        pairs = list(zip(recording.seen, seen, strict=False))
        equal = [a == b for a, b in pairs]
        self.episodes += 1
        self.first += bool(equal and equal[0])
        self.first_words += bool(pairs and _same_words(*pairs[0]))
        self.later += len(equal[1:])
        self.later_equal += sum(equal[1:])
        self.later_words += sum(_same_words(*pair) for pair in pairs[1:])
        self.whole += all(equal) and len(equal) == len(recording.seen)
        outcome = episode.outcome
        self.solved += outcome is not None and outcome.status == "success"
        self.score += (outcome.score or 0.0) if outcome is not None else 0.0
        return next(
            (pair for pair, is_equal in zip(pairs, equal, strict=True) if not is_equal), None
        )

    def lines(self) -> Iterator[str]:
        """The tally as lines of text."""
        if not self.episodes:
            return
        yield f"first observations identical: {_share(self.first, self.episodes)}"
        yield f"first observations with the same words: {_share(self.first_words, self.episodes)}"
        yield f"later observations identical: {_share(self.later_equal, self.later)}"
        yield f"later observations with the same words: {_share(self.later_words, self.later)}"
        yield f"episodes identical throughout: {_share(self.whole, self.episodes)}"
        yield f"goals reached: {_share(self.solved, self.episodes)}"
        yield f"mean score: {self.score / self.episodes:.3f}"


def _same_words(recorded: str, seen: str) -> bool:
    return sorted(recorded.split()) == sorted(seen.split())


def _share(count: int, total: int) -> str:
    return f"{count:,} of {total:,}" + (f" ({count / total:.1%})" if total else "")


def _text(messages: Sequence[Message]) -> str:
    return "\n".join(message.content for message in messages)


def replay(choice: Choice, recordings: Sequence[Recording], num_worlds: int, shown: int) -> None:
    """Replay all recordings, many at a time, and print what came of it."""
    by_name = {str(index): recording for index, recording in enumerate(recordings)}
    openings = (
        Opening(name, one.task, Source(name="replay"), responses=one.responses)
        for name, one in by_name.items()
    )
    tally, errors, differences = Tally(), Counter[str](), list[str]()
    num_steps, started = 0, time.monotonic()
    with Worlds.of(choice, num_worlds, Limits(step_seconds=600)) as worlds:
        for name, episode in play_episodes(openings, worlds, None):
            num_steps += len(episode.steps)
            if episode.outcome is not None and episode.outcome.status == "error":
                errors[episode.outcome.reason or ""] += 1
                continue
            if (pair := tally.add(by_name[name], episode)) is not None:
                differences.append(_difference(by_name[name].task.id, *pair))
    seconds = time.monotonic() - started
    print(
        f"{len(recordings):,} episodes, {num_steps:,} steps in {seconds:.1f} s, {num_worlds} worlds"
    )
    for line in tally.lines():
        print(line)
    print(f"errors: {errors.total():,}")
    for reason, count in errors.most_common(5):
        print(f"  {count}: {reason}")
    for line in differences[:shown]:
        print(line)


def _difference(item: str, recorded: str, seen: str) -> str:
    """Two texts from a little before the place where they part."""
    parting = next(
        (i for i, (a, b) in enumerate(zip(recorded, seen, strict=False)) if a != b),
        min(len(recorded), len(seen)),
    )
    start = max(0, parting - 40)
    end = start + MAX_SHOWN
    return f"  {item}\n    recorded {recorded[start:end]!r}\n    seen     {seen[start:end]!r}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--env", required=True, help="an environment, or package.module:Class")
    parser.add_argument("--trajectories", required=True, type=Path)
    parser.add_argument("--worlds", type=int, default=16, help="worlds that are open at a time")
    parser.add_argument("--limit", type=int, help="replay only the first so many")
    parser.add_argument("--show", type=int, default=3, help="differences that are printed")
    parser.add_argument("settings", nargs="*", help="key=value")
    given = parser.parse_args()
    settings: list[str] = given.settings
    if "max_steps" in config_class(ENVIRONMENT.find(given.env)).model_fields:
        settings = ["max_steps=200", *settings]
    config: Any = load_config(_Settings, None, settings, {"environment": given.env})
    recordings = read_recordings(given.trajectories, given.env)
    replay(config.environment, list(islice(recordings, given.limit)), given.worlds, given.show)


if __name__ == "__main__":
    try:
        main()
    except AtlasError as error:
        sys.exit(f"error: {error}")
