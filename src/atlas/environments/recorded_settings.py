"""The environment in which a run's trajectories were played, with its settings, from its config.

Playing on from a recorded state under other settings (another limit of turns, other games, another
server) would measure another world.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from atlas.config import Config, check_config
from atlas.environments.base import ENVIRONMENT, ENVIRONMENTS
from atlas.errors import ConfigError
from atlas.kinds import Choice
from atlas.store.manifests import MANIFEST_FILE, read_manifest

# The settings of an environment that only its expert reads.
OF_EXPERT = "expert"


class _Played(Config):
    environment: Annotated[Choice, ENVIRONMENT]


def recorded_environment(name: str, run: Path) -> Choice | None:
    """The environment called `name` in the tasks of a run, as the run played it.

    A run that does not say its settings (of import) has the environment's own; None if the name
    is not known either.

    Raises:
        ConfigError: a suite played it with different settings, or its settings cannot be read here.
    """
    found = dict[str, Choice]()
    for written in _written_environments(run):
        where = f"{run / MANIFEST_FILE}: config"
        choice = check_config(_Played, {"environment": written}, where).environment
        if getattr(ENVIRONMENT.find(choice.name), "name", choice.name) == name:
            settings = ENVIRONMENT.written(choice)
            found[repr({key: settings[key] for key in settings if key != OF_EXPERT})] = choice
    if len(found) > 1:
        raise ConfigError(
            f"{run} holds episodes of '{name}' with {len(found)} different settings, so the ones "
            f"to play on with are not known. Name the environment with its settings by --env."
        )
    if found:
        return next(iter(found.values()))
    return Choice(name) if name in ENVIRONMENTS else None


def _written_environments(run: Path) -> Iterator[Any]:
    if not (run / MANIFEST_FILE).exists():
        return
    config = read_manifest(run).config
    if (one := config.get("environment")) is not None:
        yield one
    suite = config.get("suite")
    entries = suite.get("entries") if isinstance(suite, Mapping) else None
    for entry in entries.values() if isinstance(entries, Mapping) else ():
        if isinstance(entry, Mapping) and "environment" in entry:
            yield entry["environment"]
