"""Replays recorded trajectories through an environment: what is the same, what is not, and why.

    python benchmarks/replay.py AGENTTRAJ/babyai_train.json babyai-agentgym
    python benchmarks/replay.py runs/imported textcraft --out replay.json agenttraj=runs/imported

The trajectories are a file that `atlas import` reads, or a run folder of imported, collected or
evaluated trajectories. The environment is any row of ENVIRONMENTS or `package.module:Class`, with
its settings as `key=value`; it starts each task from the recorded one (its id, and the goal that
the first observation names). Then every recorded response is given to it until it ends the
episode.

Texts are compared without leading and trailing blanks. A difference is counted by its kind:

    prefix       one text begins with words that the other one lacks ("Instruction:")
    suffix       one text ends with more (a list of available actions)
    order        the same lines in another order
    lines        some lines are the same (another choice of recipes that are not needed)
    text         anything else
    not played   the environment could not start or go on; the reason is listed

`max_steps` is set to 1,000 where the environment has such a setting, so that no limit of ours cuts
an episode that was recorded with another one.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from atlas.config import load_config
from atlas.environments.base import ENVIRONMENT, Environment
from atlas.environments.checked import begin_task, take_step
from atlas.errors import AtlasError
from atlas.kinds import config_class
from atlas.records import Message, Task, Trajectory
from atlas.store.readers import read_trajectories
from atlas.trajectories.collect_experts import CollectConfig
from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories

# Differences that are printed; the JSON has all of them.
MAX_SHOWN = 5
# The end of a text that is printed.
MAX_CHARACTERS = 240
GOAL = re.compile(r"^(?:your )?goal: (?:craft )?(?P<goal>.+?)\.?$", re.IGNORECASE | re.MULTILINE)


@dataclass(slots=True)
class Replay:
    """What came out of a set of trajectories."""

    num_trajectories: int = 0
    firsts: Counter[str] = field(default_factory=Counter)
    laters: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    score: float = 0.0
    differences: list[dict[str, Any]] = field(default_factory=list)

    def compare(self, where: str, index: int, recorded: str, shown: str) -> None:
        """Count an observation; the kind "same" means that it is identical."""
        kind = kind_of_difference(recorded, shown)
        (self.firsts if index == 0 else self.laters)[kind] += 1
        if kind != "same":
            row = {"trajectory": where, "step": index, "kind": kind}
            self.differences.append(row | {"recorded": recorded, "shown": shown})

    def fail(self, where: str, index: int, error: Exception, num_left: int) -> None:
        """Count the observations that were not shown."""
        if index == 0:
            self.firsts["not played"] += 1
        self.laters["not played"] += num_left
        self.ends["not played"] += 1
        reason = f"{type(error).__name__}: {error}"
        row = {"trajectory": where, "step": index, "kind": "not played"}
        self.differences.append(row | {"recorded": "", "shown": reason})


def kind_of_difference(recorded: str, shown: str) -> str:
    """The kind of a difference between two texts; "same" without one."""
    one, other = recorded.strip(), shown.strip()
    if one == other:
        return "same"
    if one.endswith(other) or other.endswith(one):
        return "prefix"
    if one.startswith(other) or other.startswith(one):
        return "suffix"
    lines, others = one.splitlines(), other.splitlines()
    if sorted(lines) == sorted(others):
        return "order"
    return "lines" if set(lines) & set(others) - {""} else "text"


def replay(environment: Environment, trajectories: Sequence[Trajectory]) -> Replay:
    """Play the recorded responses of each trajectory."""
    found = Replay()
    for trajectory in trajectories:
        found.num_trajectories += 1
        replay_one(environment, trajectory, found)
    return found


def replay_one(environment: Environment, trajectory: Trajectory, found: Replay) -> None:
    """Play one trajectory until the environment ends it, or its responses are used up."""
    steps = trajectory.steps
    texts = [text_of(step.observation) for step in steps] + [text_of(trajectory.final_observation)]
    index = 0
    try:
        shown = text_of(begin_task(environment, task_of(trajectory.task, texts[0])))
        found.compare(trajectory.id, 0, texts[0], shown)
        for index, step in enumerate(steps, start=1):
            result = take_step(environment, step.response)
            is_over = result.terminated or result.truncated
            # What was shown after the last response is often not recorded.
            if texts[index]:
                found.compare(trajectory.id, index, texts[index], text_of(result.observation))
            if is_over:
                break
    except Exception as error:
        if isinstance(error, AtlasError) or index:
            found.fail(trajectory.id, index, error, sum(map(bool, texts[max(index, 1) :])))
            return
        raise
    early = sum(map(bool, texts[index + 1 :]))
    if early:
        found.laters["not played"] += early
        reason = f"the environment ended the episode {early} observations earlier"
        row = {"trajectory": trajectory.id, "step": index, "kind": "not played"}
        found.differences.append(row | {"recorded": "", "shown": reason})
    solved = "solved" if result.success else "not solved"
    found.ends[f"{solved}, {'ended' if result.terminated else 'not ended'}"] += 1
    found.score += result.score


def text_of(messages: Sequence[Message]) -> str:
    return "\n".join(message.content for message in messages)


def task_of(task: Task, first: str) -> Task:
    """The recorded task, with the goal that its first observation names."""
    found = GOAL.search(first)
    return task if task.goal or found is None else task.model_copy(update={"goal": found["goal"]})


def read(path: Path) -> Iterator[Trajectory]:
    """The trajectories of a run folder, or of a file after an import."""
    if path.is_dir():
        yield from read_trajectories(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        import_trajectories(ImportConfig(paths=(str(path),)), run)
        yield from read_trajectories(run)


def make_environment(name: str, overrides: Sequence[str]) -> Environment:
    """The environment with its settings; without a limit of its own, unless one is given.

    Raises:
        ConfigError: there is no such environment or setting.
    """
    fields = config_class(ENVIRONMENT.find(name)).model_fields
    limit = ["max_steps=1000"] if "max_steps" in fields else []
    config = load_config(CollectConfig, None, [*limit, *overrides], {"environment": name})
    made: Environment = ENVIRONMENT.make(config.environment)
    return made


def summary_of(found: Replay) -> dict[str, Any]:
    return {
        "trajectories": found.num_trajectories,
        "first_observations": dict(found.firsts.most_common()),
        "later_observations": dict(found.laters.most_common()),
        "ends": dict(found.ends.most_common()),
        "mean_score": round(found.score / max(found.num_trajectories, 1), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trajectories", type=Path, help="a file for atlas import, or a run folder")
    parser.add_argument("environment", help="a row of ENVIRONMENTS, or package.module:Class")
    parser.add_argument("settings", nargs="*", help="key=value settings of the environment")
    parser.add_argument("--limit", type=int, default=None, help="only the first trajectories")
    parser.add_argument("--out", type=Path, default=None, help="where the JSON goes")
    given = parser.parse_intermixed_args()
    if given.limit is not None and given.limit < 1:
        parser.error(f"--limit is {given.limit}, expected 1 or more")
    console = Console(width=160)
    try:
        trajectories = list(read(given.trajectories))[: given.limit]
        # A world may go to another directory.
        with chdir("."):
            environment = make_environment(given.environment, given.settings)
            try:
                found = replay(environment, trajectories)
            finally:
                environment.close()
    except AtlasError as error:
        raise SystemExit(str(error)) from None
    summary = {"environment": given.environment, "settings": given.settings} | summary_of(found)
    for row in found.differences[:MAX_SHOWN]:
        short = {key: str(value)[-MAX_CHARACTERS:] for key, value in row.items()}
        console.print(json.dumps(short, ensure_ascii=False), markup=False)
    if len(found.differences) > MAX_SHOWN:
        console.print(f"… and {len(found.differences) - MAX_SHOWN:,} more differences")
    console.print_json(json.dumps(summary))
    if given.out is not None:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        record = {"benchmark": "replay", **summary, "differences": found.differences}
        given.out.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
