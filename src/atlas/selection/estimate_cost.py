"""What a selection would ask and cost: `trajectories -> estimate`. Nothing is sent."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from atlas.errors import ConfigError
from atlas.records import Selection, Usage
from atlas.selection.config import SelectConfig
from atlas.selection.costs import cost_usd, full_price, price_of
from atlas.selection.select_steps import prepare_selection
from atlas.selection.selectors.base import HasEstimate
from atlas.store.readers import SELECTION_FILE, read_trajectories
from atlas.store.record_log import read_log
from atlas.store.run_folders import check_folder


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """An estimate of requests, tokens and cost of a run. Four characters count as one token.

    Attributes:
        cost_usd: None if no price is known.
        is_discount_known: if false, the full price is used for questions in batches.
        price_source: the source of the price; empty if no price is known.
    """

    trajectories: int
    usage: Usage
    cost_usd: float | None
    is_discount_known: bool = True
    price_source: str = ""


def estimate_cost(config: SelectConfig, trajectories: Path, out: Path) -> CostEstimate:
    """Estimate what the run `out` still has to ask.

    Questions that are repeated after an invalid answer are not included.

    Raises:
        ConfigError: the selector does not ask a model with a price per token.
        RunError: `out` belongs to another run.
    """
    selector, inputs, kept = prepare_selection(config, trajectories, out)
    if not isinstance(selector, HasEstimate):
        raise ConfigError(
            f"selector '{config.selector.name}' does not ask a model by the token, so there is "
            "nothing to estimate. Leave --dry-run out."
        )
    check_folder(out, "select", config, inputs)
    done = {selection.trajectory_id for selection in read_log(out / SELECTION_FILE, Selection)}
    done |= kept.keys()
    usage, count = Usage(), 0
    for trajectory in islice(read_trajectories(trajectories), config.limit):
        if trajectory.id not in done:
            count += 1
            usage += selector.estimate(trajectory, config.budget(len(trajectory.steps)))
    price = full_price(selector.config)
    is_known = not selector.config.batch or price is None or price.batch is not None
    cost = cost_usd(usage, price_of(selector.config))
    return CostEstimate(count, usage, cost, is_known, price.source if price else "")
