"""Plans the selections of an experiment: for each arm one, or one per seed if it draws.

A selector says whether it draws (`Class.draws`). An arm that is fed by a drawn one, such as the
complement of random steps, follows it. All others are made once, and shared by arms that differ in
their training only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from atlas.config import check_config, metadata_of
from atlas.errors import ConfigError
from atlas.experiments.config import ExperimentConfig
from atlas.kinds import config_class
from atlas.lookup import nearest
from atlas.selection.other_selection import NAMES_SELECTIONS
from atlas.selection.select_steps import SelectConfig
from atlas.selection.selectors.base import SELECTOR, draws_steps

# This selector means the oracle if the recipe has one, else the annotations in the trajectories.
CRITICAL = "critical"
# Adds a stage: arm, name of the folder, settings, the selections that it reads -> the run folder.
AddSelection = Callable[[str, SelectConfig, tuple[Path, ...]], Path]


class SelectionPlan:
    """The selections of the arms, each planned when it is first asked for.

    Args:
        add: plans a stage, given the name of its folder.
        where: the recipe's name in error messages.
    """

    def __init__(self, config: ExperimentConfig, where: str, add: AddSelection) -> None:
        self._config, self._where, self._add = config, where, add
        # By the settings that make it.
        self._made: dict[str, Path] = {}
        self._written = {arm: self._settings(arm) for arm in config.arms}
        self._fed_by = {arm: self._arms_read_by(arm) for arm in config.arms}

    def settings(self, arm: str) -> SelectConfig:
        """The settings of an arm; where they name other arms, with these names."""
        return check_config(SelectConfig, self._written[arm], f"{self._where}: arms.{arm}")

    def is_drawn(self, arm: str) -> bool:
        """Whether the selection of an arm differs from seed to seed."""
        return draws_steps(self.settings(arm).selector) or any(
            self.is_drawn(other) for others in self._fed_by[arm].values() for other in others
        )

    def folder(self, arm: str, seed: int) -> Path:
        """The selection of an arm for one training seed."""
        given = dict(self._written[arm])
        reads: list[Path] = []
        if self._fed_by[arm]:
            selector = SELECTOR.written(given["selector"])
            for setting, others in self._fed_by[arm].items():
                runs = {other: str(self.folder(other, seed)) for other in others}
                named = selector[setting]
                is_list = isinstance(named, list | tuple)
                found = [runs.get(str(one), str(one)) for one in (named if is_list else [named])]
                selector[setting] = found if is_list else found[0]
                reads += map(Path, found)
            given["selector"] = selector
        is_drawn = self.is_drawn(arm)
        if is_drawn:
            given["seed"] = seed
        select = check_config(SelectConfig, given, f"{self._where}: arms.{arm}")
        key = select.model_dump_json()
        if key not in self._made:
            name = self._config.run_name(arm, seed) if is_drawn else arm
            self._made[key] = self._add(name, select, tuple(reads))
        return self._made[key]

    def _settings(self, arm: str) -> dict[str, Any]:
        """What the recipe says, with the selector that `critical` stands for."""
        given = self._config.selection_of(arm)
        selector, oracle = given.get("selector"), self._config.oracle
        name = selector.get("name") if isinstance(selector, Mapping) else selector
        if name == CRITICAL:
            given["selector"] = "annotated" if oracle is None else {"name": "oracle", **oracle}
        return given

    def _arms_read_by(self, arm: str) -> dict[str, tuple[str, ...]]:
        """Setting -> the earlier arms that it names; what else it names is a run folder."""
        if "selector" not in self._written[arm]:
            return {}
        earlier = [*self._config.arms][: [*self._config.arms].index(arm)]
        selector = SELECTOR.written(self._written[arm]["selector"])
        read = {}
        for setting in _settings_that_name_selections(self.settings(arm)):
            if (named := selector.get(setting)) is None:
                continue
            names = [str(one) for one in (named if isinstance(named, list | tuple) else [named])]
            for name in names:
                if name not in earlier and not Path(name).exists():
                    known = nearest(name, earlier) if earlier else "This is the first arm."
                    raise ConfigError(
                        f"{self._where}: arms.{arm}: {setting}: '{name}' is neither an earlier arm "
                        f"nor a run folder of select. {known}"
                    )
            read[setting] = tuple(name for name in names if name in earlier)
        return read


def _settings_that_name_selections(select: SelectConfig) -> list[str]:
    kind = config_class(SELECTOR.find(select.selector.name))
    fields = kind.model_fields.items()
    return [name for name, field in fields if NAMES_SELECTIONS in metadata_of(field)]
