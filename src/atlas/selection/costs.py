"""What asking a model costs: `usage x price -> USD`, estimated before a run; what a run pays is counted in cost_meter.py.

Prices change and providers differ, so they come from a table of yours alone:

    # prices.yaml: USD per million tokens
    openai/gpt-4o: {input: 2.5, output: 10}
    my-model: {input: 0.1, output: 0.4, batch: 0.5}      # the part of the price that is asked for in batches, if there are any
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from atlas.config import Config, check_config, read_recipe
from atlas.errors import ConfigError
from atlas.records import Selection, Usage
from atlas.selection.budget import step_budget
from atlas.selection.config import SelectConfig
from atlas.selection.retry_problems import read_kept_selections
from atlas.selection.selectors.base import HasEstimate, make_selector
from atlas.store.readers import SELECTION_FILE, read_trajectories
from atlas.store.record_log import read_log


class Price(Config):
    """USD per million tokens. The discount on cached prompts is not in it: the true bill may be lower."""

    input: float = Field(ge=0, description="for tokens sent")
    output: float = Field(ge=0, description="for tokens received, hidden thoughts among them")
    batch: float | None = Field(
        None, gt=0, le=1, description="what part of that is asked for in batches, such as 0.5"
    )

    def of_requests(self, in_batches: bool) -> Price:
        """What is asked for one by one, or in batches; the full price where the table does not say."""
        part = (self.batch or 1.0) if in_batches else 1.0
        return Price(input=self.input * part, output=self.output * part)


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """What a run would ask, before anything is sent. Four characters count as one token."""

    trajectories: int
    usage: Usage
    cost_usd: float | None  # None: no price is known
    is_discount_known: bool = True  # else the full price is taken for questions in batches


def find_price(config: SelectConfig) -> Price | None:
    """The price of the model that is asked (in batches, if so), by its name as given; None if the table has none, or there is no table.

    Raises:
        ConfigError: the table of prices cannot be read, or a spending limit is set and no price is known.
    """
    price = _listed_price(config)
    if price is None and config.max_cost_usd is not None:
        raise ConfigError(
            f"max_cost_usd is {config.max_cost_usd:g}, but no price is known for model '{config.model}'"
            f"{f' at {config.base_url}' if config.base_url else ''}. Give prices=FILE with a line such as  "
            f"{config.model}: {{input: 2.5, output: 10}}  (USD per million tokens)."
        )
    return price and price.of_requests(in_batches=config.batch)


def _listed_price(config: SelectConfig) -> Price | None:
    return read_prices(Path(config.prices)).get(config.model) if config.prices is not None else None


def read_prices(path: Path) -> dict[str, Price]:
    """A table of prices from a YAML or JSON file."""
    prices = {}
    for name, given in read_recipe(path).items():
        if not isinstance(given, dict):
            raise ConfigError(
                f"{path}: '{name}' is {given!r:.60}, expected {{input: …, output: …}} in USD per million tokens."
            )
        prices[str(name)] = check_config(Price, given, f"{path}: {name}")
    return prices


def cost_usd(usage: Usage, price: Price | None) -> float | None:
    """USD, or None without a price."""
    if price is None:
        return None
    return (usage.input_tokens * price.input + usage.output_tokens * price.output) / 1_000_000


def summarise_cost(usage: Usage, config: SelectConfig) -> dict[str, float]:
    """What a run's usage cost, where anything was asked and a price is known."""
    cost = cost_usd(usage, find_price(config)) if usage.requests else None
    return {} if cost is None else {"cost_usd": round(cost, 6)}


def estimate_cost(config: SelectConfig, trajectories: Path, out: Path) -> CostEstimate:
    """Requests, tokens and price of what the run `out` still has to ask; asking again after a wrong answer comes on top.

    Raises:
        ConfigError: the selector asks no model that is paid for by the token.
        RunError, DataError: the trajectories, or the run whose problems are tried again, cannot be read.
    """
    selector = make_selector(config)
    if not isinstance(selector, HasEstimate):
        raise ConfigError(
            f"selector '{config.selector}' asks no model by the token, so there is nothing to estimate. Leave --dry-run out."
        )
    done = {selection.trajectory_id for selection in read_log(out / SELECTION_FILE, Selection)}
    if config.retry_problems_of is not None:
        done |= read_kept_selections(Path(config.retry_problems_of), config, trajectories).keys()
    usage, count = Usage(), 0
    for trajectory in read_trajectories(trajectories):
        if trajectory.id not in done:
            count += 1
            budget = step_budget(
                len(trajectory.steps), config.ratio, config.rounding, config.min_steps
            )
            usage += selector.estimate(trajectory, budget)
    listed = _listed_price(config)
    is_known = not config.batch or listed is None or listed.batch is not None
    return CostEstimate(count, usage, cost_usd(usage, find_price(config)), is_known)
