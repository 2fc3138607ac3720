"""The tasks of a split, asked of a world before anything is played."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atlas.config import require_installed
from atlas.environments.base import Environment
from atlas.environments.checked import begin_task, list_tasks, read_notes
from atlas.environments.suite import Suite, SuiteEntry
from atlas.environments.worlds import Limits, ask_world
from atlas.errors import AtlasError, ConfigError
from atlas.kinds import Choice
from atlas.records import Task


@dataclass(frozen=True, slots=True)
class SplitTasks:
    """Tasks of a split, and remarks of the environment on the split."""

    tasks: Sequence[Task]
    notes: Sequence[str]


def read_split(
    environment: Choice, split: str, num_tasks: int, seed: int, limits: Limits
) -> SplitTasks:
    """The first `num_tasks` tasks of a split.

    Raises:
        ConfigError: no such split, or it has fewer tasks, or the environment cannot be started.
    """

    def ask(world: Environment) -> SplitTasks:
        return SplitTasks(list_tasks(world, split, num_tasks, seed), read_notes(world, split))

    found: SplitTasks = ask_world(environment, ask, limits, lists_tasks=True)
    return found


def find_absent(
    suite: Suite, limits: Limits, seed: int, passed: Sequence[str] = ()
) -> dict[str, str]:
    """The entries that cannot be played here, with the reason: a package, a server, a file.

    The first task of each entry is started in its environment.

    Args:
        passed: entries that need no check.
    """
    absent = {
        name: "its server has no address (suite.servers)"
        for name in suite.without_server
        if name not in passed
    }
    for name, entry in suite.entries.items():
        if name in passed:
            continue
        try:
            _try_entry(entry, limits, seed)
        except (AtlasError, ImportError) as error:
            absent[name] = str(error)
    return absent


def refuse_absent(suite: Suite, absent: Mapping[str, str], may_skip: bool) -> None:
    """Raise ConfigError if entries are absent and may not be left out, or if none is left."""
    reasons = "\n".join(f"  {name}: {reason}" for name, reason in absent.items())
    if absent and not may_skip:
        raise ConfigError(
            f"{len(absent)} entries of the suite cannot be played here, and nothing was started:\n"
            f"{reasons}\nMake it possible, or leave these entries out with skip_missing=true."
        )
    if not suite.entries.keys() - absent.keys():
        raise ConfigError(f"no entry of the suite can be played here:\n{reasons}")


def _try_entry(entry: SuiteEntry, limits: Limits, seed: int) -> None:
    require_installed(entry.environment.settings)

    def begin(world: Environment) -> None:
        begin_task(world, list_tasks(world, entry.split, entry.episodes, seed)[0])

    ask_world(entry.environment, begin, limits)
