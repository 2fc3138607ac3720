"""Collect in several worlds: suite + experts -> one run folder of trajectories."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from atlas.config import StrPath, check_config
from atlas.environments.split_tasks import find_absent, refuse_absent
from atlas.environments.suite import GivenSuite, SuiteEntry
from atlas.errors import ConfigError
from atlas.records import Problem
from atlas.store.run_folders import Manifest, is_finished, start_run
from atlas.trajectories.collect_experts import (
    COMMAND,
    CollectConfig,
    ExpertPlayConfig,
    expert_tasks,
    play_experts,
)


class CollectSuiteConfig(ExpertPlayConfig):
    """What to collect in the environments of a suite."""

    suite: GivenSuite = Field(
        description="the name of a suite of the package, a path, or a mapping of entries; "
        "{from: NAME, …} changes a suite"
    )
    skip_missing: bool = Field(
        default=False,
        description="leave out the entries that cannot be played here (a package, a server or a "
        "file is missing), instead of stopping",
    )

    def of_entry(self, name: str, entry: SuiteEntry) -> CollectConfig:
        """The settings of one entry."""
        values = {"environment": entry.environment, "split": entry.split}
        values |= {"episodes": entry.episodes}
        values |= {key: getattr(self, key) for key in ExpertPlayConfig.model_fields}
        return check_config(CollectConfig, values, f"suite: entries.{name}")


def collect_suite(config: CollectSuiteConfig, out: StrPath) -> Manifest:
    """Play the experts' episodes of all entries into the run folder `out`.

    Raises:
        ConfigError: an entry cannot be played here (unless `skip_missing`), its environment has no
            expert, or two entries hold the same task.
        RunError: the folder belongs to another run.
    """
    if is_finished(out, COMMAND):
        # What was needed to play, such as a server, may be gone.
        with start_run(Path(out), COMMAND, config) as run:
            return run.manifest
    absent = find_absent(config.suite, config.limits, config.seed)
    refuse_absent(config.suite, absent, config.skip_missing)
    parts = {
        name: config.of_entry(name, entry)
        for name, entry in config.suite.entries.items()
        if name not in absent
    }
    tasks = {name: expert_tasks(part) for name, part in parts.items()}
    owner: dict[str, str] = {}
    for name, own in tasks.items():
        for task in own:
            if (other := owner.setdefault(task.id, name)) != name:
                raise ConfigError(
                    f"the entries '{other}' and '{name}' of the suite both hold the task "
                    f"'{task.id}', expected each task once. Give one of them another split, or "
                    "collect it into a separate run folder."
                )
    with start_run(Path(out), COMMAND, config) as run:
        if run.finished:
            return run.manifest
        left_out = [
            Problem(where=COMMAND, item=name, reason=f"entry '{name}' was left out: {reason}")
            for name, reason in absent.items()
        ]
        return play_experts(run, [(parts[name], tasks[name]) for name in parts], left_out)
