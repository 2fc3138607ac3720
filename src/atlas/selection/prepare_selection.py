"""Everything that a selection, its pilot and its estimate begin with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from atlas.errors import ConfigError
from atlas.records import Selection
from atlas.selection.config import SelectConfig, make_selector
from atlas.selection.layers import Layers, layers_of
from atlas.selection.retry_problems import read_kept_selections
from atlas.selection.selectors.base import HasInputs, Scorer, Selector
from atlas.store.readers import TRAJECTORY_FILES
from atlas.store.run_folders import Input, run_input


@dataclass(frozen=True, slots=True)
class PreparedSelection:
    """A selection that can start, into the run folder `out`.

    Attributes:
        trajectories: the run folder with the trajectories.
        inputs: those of the run.
        kept: by trajectory id, the selections that are given already.
    """

    config: SelectConfig
    trajectories: Path
    out: Path
    selector: Selector | Scorer
    inputs: Mapping[str, Input]
    kept: Mapping[str, Selection]

    @property
    def layers(self) -> Layers | None:
        """The layers below, if the selector asks a cheaper model first."""
        return layers_of(self.selector, self.config, self.out)

    def of_cheaper_model(self, layers: Layers) -> PreparedSelection:
        """The selection of the cheaper model, for every trajectory that is not kept here."""
        below = prepare_selection(layers.config, self.trajectories, layers.small)
        return replace(below, kept=self.kept)


def prepare_selection(config: SelectConfig, trajectories: Path, out: Path) -> PreparedSelection:
    """Make the selector, and read what an earlier run gives.

    Raises:
        ConfigError: the selector does not fit the settings.
        RunError: an input is not a finished run of the right kind.
    """
    inputs = {"trajectories": run_input(trajectories, out, tuple(TRAJECTORY_FILES))}
    selector = make_selector(config, trajectories)
    _check_selector(selector, config)
    if isinstance(selector, HasInputs):
        inputs |= selector.inputs(out)
    kept: dict[str, Selection] = {}
    if config.retry_problems_of is not None:
        earlier = Path(config.retry_problems_of)
        inputs["retry_problems_of"] = run_input(earlier, out, ("select",))
        kept = read_kept_selections(earlier, config, trajectories)
    return PreparedSelection(config, trajectories, out, selector, inputs, kept)


def _check_selector(selector: Selector | Scorer, config: SelectConfig) -> None:
    name = config.selector.name
    if not isinstance(selector, Selector | Scorer):
        raise ConfigError(
            f"selector '{name}' has neither select(trajectory, budget) nor score(trajectory). "
            "Add one of them; docs/extending.md has an example."
        )
    if config.scope == "dataset" and not isinstance(selector, Scorer):
        raise ConfigError(
            f"selector '{name}' gives no scores, so scope=dataset cannot rank the steps of all "
            "trajectories. Use scope=trajectory, or a selector with scores, such as perplexity."
        )
    if config.retry_problems_of is not None and isinstance(selector, Scorer):
        reason = f"keeps selections, and selector '{name}' gives scores. Select all again."
        raise ConfigError(f"retry_problems_of=… {reason}")
