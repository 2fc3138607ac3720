"""Token prices of models: from the user's table, otherwise from known prices of providers.

    # prices.yaml: USD per million tokens; batch: the part of the price that batches cost
    openai/gpt-4o: {input: 2.5, output: 10}
    my-model: {input: 0.1, output: 0.4, batch: 0.5}

Known prices come with the package genai-prices; nothing is downloaded. For a server at a base_url,
only the table can give a price.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from atlas.config import Config, check_config
from atlas.errors import ConfigError
from atlas.recipe_file import read_recipe
from atlas.records import Usage

# A "/" in the model's name means a service of another company, which has its own prices.
OWN_MODELS = ("openai", "anthropic", "google", "mistral")

# Maximum USD per million tokens in a table.
MOST_USD = 1_000_000.0


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens sent (`input`) and received (`output`, with hidden thoughts).

    Discounts for cached prompts are ignored, so the real cost may be lower. `batch` is the price of
    batches as a share of the full price; None: unknown.
    """

    input: float
    output: float
    batch: float | None = None
    source: str = field(default="", compare=False)

    def of_usage(self, usage: Usage) -> float:
        """The cost in USD of these tokens."""
        return (usage.input_tokens * self.input + usage.output_tokens * self.output) / 1_000_000

    def of_requests(self, in_batches: bool) -> Price:
        """The price of single requests or of batches; the full price if theirs is unknown."""
        part = (self.batch or 1.0) if in_batches else 1.0
        return replace(self, input=self.input * part, output=self.output * part, batch=None)


class PriceRow(Config):
    """One model's row in a table of prices."""

    input: float = Field(ge=0, le=MOST_USD, description="USD per million tokens sent")
    output: float = Field(ge=0, le=MOST_USD, description="USD per million tokens received")
    batch: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="price of a batch as a share of the full price, such as 0.5",
    )


def read_prices(path: Path) -> dict[str, Price]:
    """The table of prices in a YAML or JSON file.

    Raises:
        ConfigError: the file cannot be read, or a row is not a price.
    """
    prices = {}
    for name, given in read_recipe(path).items():
        if not isinstance(given, dict):
            expected = "expected {input: …, output: …} in USD per million tokens"
            raise ConfigError(f"{path}: '{name}' is {given!r:.60}, {expected}.")
        row = check_config(PriceRow, given, f"{path}: {name}")
        prices[str(name)] = Price(row.input, row.output, row.batch, source=str(path))
    return prices


def find_price(model: str, base_url: str | None, table: Path | None) -> Price | None:
    """The price of a model from `table` or the known prices; None: unknown.

    Raises:
        ConfigError: the table cannot be used.
    """
    listed = None if table is None else read_prices(table).get(model)
    return listed or (_known_price(model) if base_url is None else None)


def _known_price(model: str) -> Price | None:
    try:
        from genai_prices import __version__
        from genai_prices.data_snapshot import get_snapshot
    except ImportError:
        return None
    provider, _, name = model.partition("/")
    if not name or (provider in OWN_MODELS and "/" in name):
        return None
    now = datetime.now(UTC)
    try:
        maker, known = get_snapshot().find_provider_model(name, None, provider, None)
    except LookupError:
        return None
    price = _usd(known.get_prices(now))
    if price is None:
        return None
    in_batches = _usd(known.get_prices(now, {"processing": "batch"})) or price
    parts = [batch / full for batch, full in zip(in_batches, price, strict=True) if full]
    # A batch variant at the full price is not a discount.
    batch = max(parts, default=1.0)
    source = f"genai-prices {__version__}: {maker.id}/{known.id}"
    return Price(*price, batch if batch < 1 else None, source)


def _usd(prices: Any) -> tuple[float, float] | None:
    """USD per million tokens sent and received. If a price has tiers, the tier of short prompts."""
    both = (prices.input_mtok, prices.output_mtok)
    if None in both:
        return None
    sent, received = (float(getattr(price, "base", price)) for price in both)
    return sent, received
