"""Suites: recipes that say which tasks of which environments are played, the same for each model.

entries:
  maze: {environment: maze, episodes: 20, ring: held_in}
  maze-large: {environment: {name: maze, size: 7}, split: held_out_test, ring: held_out_sizes}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from atlas.config import SPEED_ONLY, Config, check_config
from atlas.environments.base import ENVIRONMENT
from atlas.errors import ConfigError
from atlas.kinds import Choice
from atlas.lookup import nearest
from atlas.recipe_file import read_recipe
from atlas.shipped import shipped
from atlas.store.paths import name_fault

SUITES = Path("recipes/suites")
# The key of a suite that is another one with changes.
FROM = "from"
# The settings that hold the address of a server, of which an environment has at most one.
ADDRESSES = ("url", "base_url")
# Files of the run folder that holds the folders of the entries.
RESERVED = ("config.yaml", "manifest.json", "metrics.json", "problems.jsonl", "trajectories.jsonl")
# What a file of the run is called before it is whole.
UNFINISHED = (".partial", ".tmp")


class SuiteEntry(Config):
    """Some tasks of one environment."""

    environment: Annotated[Choice, ENVIRONMENT] = Field(
        description="an environment, with its settings"
    )
    split: str = Field(default="held_in_test", description="the split of its tasks")
    episodes: int = Field(default=100, ge=1, description="number of tasks; each is played once")
    ring: str = Field(
        default="held_in",
        description="how far the tasks are from those of the training: held_in, or held_out with "
        "what differs (held_out_tasks, held_out_sizes, held_out_families)",
    )
    world: str | None = Field(
        default=None,
        description="what counts as one world in averages; none: its server, or the environment "
        "(for gymnasium, openenv and verifiers: the world that it plays)",
    )
    group: str | None = Field(default=None, description="the kind of skill, for averages by kind")
    difficulty: str | None = Field(default=None, description="for averages by difficulty")
    max_answer_tokens: int | None = Field(
        default=None,
        ge=1,
        description="maximum tokens of one answer, for any player; none: the player's own",
    )
    player: dict[str, Any] = Field(
        default_factory=dict, description="settings of the player that differ for this entry"
    )
    server: str | None = Field(
        default=None,
        description="the name in `servers` of the address at which the environment is played",
    )

    @property
    def world_name(self) -> str:
        """The world that the entry is a part of."""
        # The rows that play worlds from outside name the world in their settings.
        own = getattr(self.environment.settings, "name", None)
        return self.world or self.server or own or self.environment.name


class Suite(Config):
    """Entries by name, each with an environment and a ring."""

    title: str | None = Field(default=None, description="what the suite measures")
    servers: Annotated[dict[str, str | None], SPEED_ONLY] = Field(
        default_factory=dict, description="addresses of servers, for the entries that name them"
    )
    entries: dict[str, SuiteEntry] = Field(
        description="the entries by name: environment, split, episodes, ring"
    )
    without_server: tuple[str, ...] = Field(
        default=(), description="entries whose server has no address; found by atlas"
    )

    @model_validator(mode="before")
    @classmethod
    def _gives_addresses(cls, values: Any) -> Any:
        """Write the address of its server into the environment of each entry that names one."""
        if not isinstance(values, Mapping) or not isinstance(values.get("entries"), Mapping):
            return values
        servers = values.get("servers") or {}
        without = values.get("without_server") or ()
        if not isinstance(servers, Mapping) or not isinstance(without, list | tuple):
            return values
        entries, without = dict[str, Any](), list(without)
        for name, entry in values["entries"].items():
            server = entry.get("server") if isinstance(entry, Mapping) else None
            if not isinstance(server, str):
                entries[name] = entry
            elif address := servers.get(server):
                world = ENVIRONMENT.written(entry.get("environment"))
                world[_address_of(world)] = address
                entries[name] = {**entry, "environment": world}
            elif server in servers:
                without.append(str(name))
            else:
                raise ValueError(
                    f"entry '{name}' names the server '{server}', which 'servers' does not have. "
                    f"{nearest(str(server), servers)}"
                )
        return {**values, "entries": entries, "without_server": tuple(without)}

    @model_validator(mode="after")
    def _names_are_folders(self) -> Suite:
        if not self.entries and not self.without_server:
            raise ValueError("a suite without entries. Add one: name: {environment: …}")
        for name in (*self.entries, *self.without_server):
            if reason := _entry_fault(name):
                raise ValueError(f"the entry '{name}' cannot be the name of a folder: {reason}")
        return self


def read_suite(value: Any) -> Any:
    """A suite that is given by name or path, or as `{from: NAME, …}` with changes.

    Entries and servers are changed one by one; an entry keeps its other settings, and so do its
    environment and player. The file of a suite may begin with `from`, too.

    Raises:
        ConfigError: the suite does not exist, or cannot be read.
    """
    if isinstance(value, str):
        value = {FROM: value}
    if not isinstance(value, Mapping) or FROM not in value:
        return value
    return check_config(Suite, _written_suite(value, ()), str(_find_suite(value[FROM])))


GivenSuite = Annotated[Suite, BeforeValidator(read_suite)]


def _written_suite(value: Mapping[str, Any], within: tuple[Path, ...]) -> dict[str, Any]:
    """The suite that `from` names, with the changes beside it; `within` are the files around."""
    path = _find_suite(value[FROM])
    if path in within:
        raise ConfigError(f"suite {path} is made from itself: {' -> '.join(map(str, within))}.")
    suite = read_recipe(path)
    if FROM in suite:
        suite = _written_suite(suite, (*within, path))
    for key, changed in value.items():
        known = suite.get(key)
        if key == "entries" and isinstance(changed, Mapping):
            suite[key] = _changed_entries(known or {}, changed, path)
        elif key == "servers" and isinstance(changed, Mapping):
            suite[key] = {**(known if isinstance(known, Mapping) else {}), **changed}
        elif key != FROM:
            suite[key] = changed
    if isinstance(changed := value.get("servers"), Mapping):
        _refuse_unused(suite, changed, path)
    return suite


def _refuse_unused(suite: Mapping[str, Any], changed: Mapping[str, Any], path: Path) -> None:
    """Raise for an address that no entry uses: a typing error would leave its world out."""
    entries = suite.get("entries")
    given = entries.values() if isinstance(entries, Mapping) else ()
    named = [entry.get("server") for entry in given if isinstance(entry, Mapping)]
    for name in changed:
        if name not in named:
            advice = nearest(str(name), sorted({one for one in named if isinstance(one, str)}))
            raise ConfigError(f"suite {path}: no entry is played at a server '{name}'. {advice}")


def _entry_fault(name: str) -> str | None:
    """Why a name cannot be the folder of an entry in the folder of a run."""
    if name in RESERVED:
        return "it is a file of the run"
    if (fault := name_fault(name)) is not None:
        return fault
    if name.startswith(".") or name.endswith(UNFINISHED):
        return f"it begins with a dot, or ends with {' or '.join(UNFINISHED)}. Leave this out"
    return None


def _changed_entries(
    entries: Mapping[str, Any], changed: Mapping[str, Any], path: Path
) -> dict[str, Any]:
    found = dict(entries)
    for name, change in changed.items():
        known = found.get(name)
        if isinstance(known, Mapping) and isinstance(change, Mapping):
            found[name] = {**known, **{key: _merged(known, key, change[key]) for key in change}}
        elif change is None and name in found:
            del found[name]
        elif isinstance(change, Mapping) and "environment" in change:
            found[name] = change
        else:
            advice = nearest(str(name), entries)
            raise ConfigError(f"suite {path} has no entry '{name}' to change. {advice}")
    return found


def _address_of(world: Mapping[str, Any]) -> str:
    """The setting of an environment that holds its server's address."""
    known = getattr(ENVIRONMENT.find(str(world.get("name"))), "Config", Config).model_fields
    return next((name for name in ADDRESSES if name in known), ADDRESSES[0])


def _merged(known: Mapping[str, Any], key: str, change: Any) -> Any:
    """The new value of a key of an entry: settings without a name change those that it has."""
    before = known.get(key)
    if not isinstance(change, Mapping) or key not in ("environment", "player") or "name" in change:
        return change
    if isinstance(before, str):
        before = {"name": before}
    return {**before, **change} if isinstance(before, Mapping) else change


def _find_suite(given: Any) -> Path:
    """The file of a suite that is given by the name of a shipped one, or by its path."""
    if not isinstance(given, str) or not given:
        raise ConfigError(f"suite {given!r:.80} is not a name, expected that of a suite, or a path")
    path = Path(given)
    if len(path.parts) > 1 or path.suffix in (".yaml", ".yml"):
        return path
    if fault := name_fault(given):
        raise ConfigError(f"suite {given!r:.80} is not a name: {fault}.")
    if path.exists():
        return path
    named = SUITES / f"{given}.yaml"
    if shipped(named).exists():
        return named
    known = sorted(file.stem for file in shipped(SUITES).glob("*.yaml"))
    raise ConfigError(f"no suite is called '{given}'. {nearest(given, known)} Or give a path.")
