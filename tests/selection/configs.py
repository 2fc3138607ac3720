"""Settings of a selection, written flat as on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from atlas.config import check_config
from atlas.models.endpoints.endpoint import Endpoint
from atlas.selection.config import SelectConfig, make_selector
from atlas.selection.selectors.base import SelectorContext


def select_config(selector: str = "annotated", **settings: Any) -> SelectConfig:
    """Each setting goes to the stage, to the selector's endpoint or to the selector."""
    stage = {key: settings.pop(key) for key in [*settings] if key in SelectConfig.model_fields}
    endpoint = {key: settings.pop(key) for key in [*settings] if key in Endpoint.model_fields}
    if endpoint:
        settings["endpoint"] = endpoint
    values = {**stage, "selector": {"name": selector, **settings}}
    return check_config(SelectConfig, values, where="test")


def new_selector(config: SelectConfig, trajectories: Path = Path("trajectories")) -> Any:
    return make_selector(config, trajectories)


def context_of(config: SelectConfig, trajectories: Path = Path("trajectories")) -> SelectorContext:
    return SelectorContext(config.selector.name, config.seed, trajectories)
