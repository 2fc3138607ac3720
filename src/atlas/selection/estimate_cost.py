"""What a selection would ask and cost: `trajectories -> estimate`. Nothing is sent."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from atlas.errors import ConfigError
from atlas.records import Selection, Usage
from atlas.selection.config import SelectConfig
from atlas.selection.costs import cost_usd, full_price, price_of
from atlas.selection.layers import settle
from atlas.selection.prepare_selection import PreparedSelection, prepare_selection
from atlas.selection.scores import SCORES_FILE, StepScores
from atlas.selection.selectors.base import HasEstimate, HasReading
from atlas.store.readers import SELECTION_FILE, read_trajectories
from atlas.store.record_log import read_log
from atlas.store.run_folders import check_folder


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """An estimate of requests, tokens and cost of a run. Four characters count as one token.

    Attributes:
        num_problems: trajectories that a model that only reads cannot be given.
        has_price: whether the model has a price per token; if not, it only reads, and a request is
            a forward pass.
        cost_usd: None if no price is known.
        is_discount_known: if false, the full price is used for questions in batches.
        price_source: the source of the price; empty if no price is known.
        below: for a selector that asks a cheaper model first, the estimate of that model; then
            this one is of the strong model if the layers below settle nothing more.
        checker: who checks the cheaper model.
    """

    trajectories: int
    usage: Usage
    cost_usd: float | None
    is_discount_known: bool = True
    price_source: str = ""
    has_price: bool = True
    num_problems: int = 0
    below: CostEstimate | None = None
    checker: str = ""


def estimate_cost(config: SelectConfig, trajectories: Path, out: Path) -> CostEstimate:
    """Estimate what the run `out` still has to ask.

    Questions that are repeated after an invalid answer are not included.

    Raises:
        ConfigError: the selector neither asks a model with a price per token nor reads with one.
        RunError: `out` belongs to another run.
    """
    return _estimate(prepare_selection(config, trajectories, out))


def _estimate(prepared: PreparedSelection) -> CostEstimate:
    config, trajectories, out = prepared.config, prepared.trajectories, prepared.out
    selector = prepared.selector
    if not isinstance(selector, HasEstimate | HasReading):
        raise ConfigError(
            f"selector '{config.selector.name}' does not ask a model by the token or read with "
            "one, so there is nothing to estimate. Leave --dry-run out."
        )
    check_folder(out, "select", config, prepared.inputs)
    if isinstance(selector, HasEstimate):
        done = {one.trajectory_id for one in read_log(out / SELECTION_FILE, Selection)}
    else:
        done = {one.trajectory_id for one in read_log(out / SCORES_FILE, StepScores)}
    done |= prepared.kept.keys()
    below, checker = None, ""
    if (layers := prepared.layers) is not None:
        below = _estimate(prepared.of_cheaper_model(layers))
        checker = layers.selector.checker
        done |= settle(layers, trajectories, done).selections.keys()
    usage, count, num_problems = Usage(), 0, 0
    for trajectory in islice(read_trajectories(trajectories), config.limit):
        if trajectory.id not in done:
            count += 1
            if isinstance(selector, HasEstimate):
                usage += selector.estimate(trajectory, config.budget(len(trajectory.steps)))
            else:
                reading = selector.reading(trajectory)
                num_problems += bool(trajectory.steps) and not reading.requests
                usage += reading
    if not isinstance(selector, HasEstimate):
        return CostEstimate(count, usage, None, has_price=False, num_problems=num_problems)
    price = full_price(selector.config)
    is_known = not selector.config.batch or price is None or price.batch is not None
    cost = cost_usd(usage, price_of(selector.config))
    source = price.source if price else ""
    return CostEstimate(count, usage, cost, is_known, source, below=below, checker=checker)
