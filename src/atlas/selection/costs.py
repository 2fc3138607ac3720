"""The cost of asking a model: `usage x price -> USD`, also estimated before a run."""

from __future__ import annotations

from pathlib import Path

from atlas.errors import ConfigError
from atlas.models.endpoints.prices import Price, find_price
from atlas.models.payments import Payment
from atlas.records import Usage
from atlas.selection.judging.judge_config import JudgeConfig, PaidTogether

# Approximately right for English with current tokenizers. Used for estimates only.
CHARS_PER_TOKEN = 4


def price_of(config: JudgeConfig) -> Price | None:
    """The price of the judge's model, for batches if it uses them.

    None if it is unknown, or if several models with different prices are paid.

    Raises:
        ConfigError: the table of prices cannot be read, or a spending limit is set and no price is
            known.
    """
    if isinstance(config, PaidTogether):
        for payee in config.payees:
            price_of(payee)
        # Their payments have their own cost.
        return None
    price = full_price(config)
    if price is None and config.max_cost_usd is not None:
        place = f" at {config.endpoint.base_url}" if config.endpoint.base_url else ""
        raise ConfigError(
            f"max_cost_usd is {config.max_cost_usd:g}, but no price is known for model "
            f"'{config.model}'{place}. Give prices=FILE with a line such as  "
            f"{config.model}: {{input: 2.5, output: 10}}  (USD per million tokens)."
        )
    return price and price.of_requests(in_batches=config.batch)


def full_price(config: JudgeConfig) -> Price | None:
    """The price of single requests, and the discount of batches."""
    table = None if config.prices is None else Path(config.prices)
    return find_price(config.model, config.endpoint.base_url, table)


def cost_usd(usage: Usage, price: Price | None) -> float | None:
    """The cost in USD, or None without a price."""
    if isinstance(usage, Payment) and usage.cost_usd is not None:
        return usage.cost_usd
    return None if price is None else price.of_usage(usage)


def with_cost(usage: Usage, price: Price | None) -> Payment:
    """The usage of one of several models that are paid together, with its cost if it is known."""
    return (Payment() + usage).model_copy(update={"cost_usd": cost_usd(usage, price)})
