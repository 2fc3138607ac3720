"""The cost of asking a model: `usage x price -> USD`, also estimated before a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from atlas.errors import ConfigError
from atlas.models.endpoints.prices import Price, find_price
from atlas.records import Selection, Usage
from atlas.selection.config import SelectConfig, make_selector
from atlas.selection.judging.judge_config import JudgeConfig
from atlas.selection.retry_problems import read_kept_selections
from atlas.selection.selectors.base import HasEstimate
from atlas.store.readers import SELECTION_FILE, read_trajectories
from atlas.store.record_log import read_log


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


def price_of(config: JudgeConfig) -> Price | None:
    """The price of the judge's model, for batches if it uses them; None if it is unknown.

    Raises:
        ConfigError: the table of prices cannot be read, or a spending limit is set and no price is
            known.
    """
    price = _full_price(config)
    if price is None and config.max_cost_usd is not None:
        place = f" at {config.endpoint.base_url}" if config.endpoint.base_url else ""
        raise ConfigError(
            f"max_cost_usd is {config.max_cost_usd:g}, but no price is known for model "
            f"'{config.model}'{place}. Give prices=FILE with a line such as  "
            f"{config.model}: {{input: 2.5, output: 10}}  (USD per million tokens)."
        )
    return price and price.of_requests(in_batches=config.batch)


def _full_price(config: JudgeConfig) -> Price | None:
    table = None if config.prices is None else Path(config.prices)
    return find_price(config.model, config.endpoint.base_url, table)


def cost_usd(usage: Usage, price: Price | None) -> float | None:
    """The cost in USD, or None without a price."""
    if price is None:
        return None
    return (usage.input_tokens * price.input + usage.output_tokens * price.output) / 1_000_000


def estimate_cost(config: SelectConfig, trajectories: Path, out: Path) -> CostEstimate:
    """Estimate what the run `out` still has to ask.

    Questions that are repeated after an invalid answer are not included.

    Raises:
        ConfigError: the selector does not ask a model with a price per token.
    """
    selector = make_selector(config, trajectories)
    if not isinstance(selector, HasEstimate):
        raise ConfigError(
            f"selector '{config.selector.name}' does not ask a model by the token, so there is "
            "nothing to estimate. Leave --dry-run out."
        )
    done = {selection.trajectory_id for selection in read_log(out / SELECTION_FILE, Selection)}
    if config.retry_problems_of is not None:
        done |= read_kept_selections(Path(config.retry_problems_of), config, trajectories).keys()
    usage, count = Usage(), 0
    for trajectory in read_trajectories(trajectories):
        if trajectory.id not in done:
            count += 1
            usage += selector.estimate(trajectory, config.budget(len(trajectory.steps)))
    price = _full_price(selector.config)
    is_known = not selector.config.batch or price is None or price.batch is not None
    cost = cost_usd(usage, price_of(selector.config))
    return CostEstimate(count, usage, cost, is_known, price.source if price else "")
