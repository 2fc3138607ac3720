"""What asking a model costs: `usage x price -> USD`, estimated before a run.

What a run pays is counted in cost_meter.py. Prices change and providers differ, so they come from
the user's table only:

    # prices.yaml: USD per million tokens
    openai/gpt-4o: {input: 2.5, output: 10}
    # batch: the part of the price that is charged in batches
    my-model: {input: 0.1, output: 0.4, batch: 0.5}
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from atlas.config import Config, check_config, read_recipe
from atlas.errors import ConfigError
from atlas.records import Selection, Usage
from atlas.selection.config import SelectConfig, make_selector
from atlas.selection.judging.judge_config import JudgeConfig
from atlas.selection.retry_problems import read_kept_selections
from atlas.selection.selectors.base import HasEstimate
from atlas.store.readers import SELECTION_FILE, read_trajectories
from atlas.store.record_files import read_log


class Price(Config):
    """USD per million tokens.

    The discount on cached prompts is not in it: the true bill may be lower.
    """

    input: float = Field(ge=0, description="for tokens sent")
    output: float = Field(ge=0, description="for tokens received, hidden thoughts among them")
    batch: float | None = Field(
        None, gt=0, le=1, description="what part of that is asked for in batches, such as 0.5"
    )

    def of_requests(self, in_batches: bool) -> Price:
        """The price one by one, or in batches; the full one where the table does not say."""
        part = (self.batch or 1.0) if in_batches else 1.0
        return Price(input=self.input * part, output=self.output * part)


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """What a run would ask, before anything is sent. Four characters count as one token.

    Attributes:
        cost_usd: None if no price is known.
        is_discount_known: else the full price is taken for questions in batches.
    """

    trajectories: int
    usage: Usage
    cost_usd: float | None
    is_discount_known: bool = True


def find_price(config: JudgeConfig) -> Price | None:
    """The price of the model that is asked (in batches, if so), by its name as given.

    None if the table has none, or there is no table.

    Raises:
        ConfigError: the table of prices cannot be read, or a spending limit is set and no price is
            known.
    """
    price = _listed_price(config)
    if price is None and config.max_cost_usd is not None:
        base_url = config.endpoint.base_url
        raise ConfigError(
            f"max_cost_usd is {config.max_cost_usd:g}, but no price is known for model "
            f"'{config.model}'{f' at {base_url}' if base_url else ''}. Give prices=FILE with a "
            f"line such as  {config.model}: {{input: 2.5, output: 10}}  (USD per million tokens)."
        )
    return price and price.of_requests(in_batches=config.batch)


def _listed_price(config: JudgeConfig) -> Price | None:
    return read_prices(Path(config.prices)).get(config.model) if config.prices is not None else None


def read_prices(path: Path) -> dict[str, Price]:
    """A table of prices from a YAML or JSON file."""
    prices = {}
    for name, given in read_recipe(path).items():
        if not isinstance(given, dict):
            raise ConfigError(
                f"{path}: '{name}' is {given!r:.60}, expected {{input: …, output: …}} in USD "
                "per million tokens."
            )
        prices[str(name)] = check_config(Price, given, f"{path}: {name}")
    return prices


def cost_usd(usage: Usage, price: Price | None) -> float | None:
    """USD, or None without a price."""
    if price is None:
        return None
    return (usage.input_tokens * price.input + usage.output_tokens * price.output) / 1_000_000


def estimate_cost(config: SelectConfig, trajectories: Path, out: Path) -> CostEstimate:
    """Requests, tokens and price of what the run `out` still has to ask.

    Questions that are asked again after a wrong answer come on top.

    Raises:
        ConfigError: the selector does not ask a model that is paid for by the token.
        RunError, DataError: the trajectories, or the run whose problems are asked about again,
            cannot be read.
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
    asking = selector.config
    listed = _listed_price(asking)
    is_known = not asking.batch or listed is None or listed.batch is not None
    return CostEstimate(count, usage, cost_usd(usage, find_price(asking)), is_known)
