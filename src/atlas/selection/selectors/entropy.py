"""Selects the steps where a model is least certain (arXiv 2512.04949, 2506.01939).

The score is the mean entropy of the model's next-token distribution over the tokens of a step. It
depends on what the model might have said, while perplexity depends on what was said.

The literature disagrees on whether high entropy marks a decision or noise: 2506.01939 trains on the
tokens of highest entropy, EKSFT (2605.29303) masks them. So `band` can leave out either end, or
both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from atlas.errors import DataError
from atlas.selection.likelihood import LikelihoodConfig, LikelihoodSelector
from atlas.selection.selectors.base import Scores

if TYPE_CHECKING:
    from atlas.models.local.step_tokens import StepTokens

Range = tuple[float, float]


class EntropyConfig(LikelihoodConfig):
    """Settings of `entropy`: the model whose uncertainty is measured, and what counts of it."""

    band: Range | None = Field(
        default=None,
        description="[low, high]: only what has an entropy of at least low and below high counts; "
        "none: everything. Of what counts, the highest entropies are taken first",
    )
    band_unit: Literal["quantile", "nats"] = Field(
        default="quantile",
        description="the unit of band: quantile (of the trajectory's own entropies, from 0 to 1) "
        "or nats",
    )
    band_of: Literal["steps", "tokens"] = Field(
        default="steps",
        description="steps: a step whose mean entropy is outside the band is never taken; tokens: "
        "the mean is over the tokens inside the band, and a step without such a token is never "
        "taken",
    )
    num_likeliest: int = Field(
        default=20,
        ge=1,
        description="how many of the most likely tokens a server reports per position; all "
        "other tokens are counted as one, and servers limit this number",
    )

    @model_validator(mode="after")
    def _band_is_a_range(self) -> EntropyConfig:
        if self.band is None:
            changed = {"band_unit", "band_of"} & self.model_fields_set
            if changed:
                raise ValueError(f"{min(changed)} is only used with band=[low,high]")
            return self
        low, high = self.band
        if not 0 <= low < high:
            raise ValueError(f"band=[{low:g},{high:g}] is not a range: expected 0 <= low < high")
        if self.band_unit == "quantile" and high > 1:
            raise ValueError(
                f"band=[{low:g},{high:g}] exceeds 1, the highest quantile; use numbers from 0 to "
                "1, or band_unit=nats"
            )
        return self


class EntropySelector(LikelihoodSelector[EntropyConfig]):
    """The steps where a model is least certain: those with the highest mean token entropy.

    An endpoint reports only the most likely tokens, which gives a lower bound of the entropy.
    """

    Config = EntropyConfig

    def num_likeliest(self) -> int:
        return self.config.num_likeliest

    @property
    def sentence(self) -> str:
        least = f"the steps where {self.config.model} is least certain what to say"
        if self.config.band is None:
            return least
        low, high = self.config.band
        unit = "nats" if self.config.band_unit == "nats" else "as quantiles"
        return f"{least}, among {self.config.band_of} with entropies in [{low:g}, {high:g}) {unit}"

    def rate(self, *read: list[StepTokens]) -> Scores:
        [own] = read
        means = [tokens.mean_entropy for tokens in own]
        config = self.config
        if config.band is None:
            return means
        for index, mean in enumerate(means):
            # It would be outside of every band, which looks like a choice.
            if mean is not None and not math.isfinite(mean):
                raise DataError(f"step {index} has the entropy {mean}, expected a finite number")
        if config.band_of == "tokens":
            return means_in_band(
                [tokens.entropies for tokens in own], config.band, config.band_unit
            )
        known = [mean for mean in means if mean is not None]
        inside = iter(in_band(np.array(known), config.band, config.band_unit))
        return [None if mean is None or not next(inside) else mean for mean in means]


def means_in_band(
    entropies: Sequence[NDArray[np.float64]], band: Range, unit: Literal["quantile", "nats"]
) -> list[float | None]:
    """The mean of each step's entropies that lie in the band; None if none does.

    >>> means_in_band([np.array([0.1, 2.0]), np.array([1.0, 3.0])], (0.5, 2.5), "nats")
    [2.0, 1.0]
    """
    inside = in_band(np.concatenate([np.zeros(0), *entropies]), band, unit)
    ends = np.cumsum([len(one) for one in entropies])
    kept = (
        [one[part] for one, part in zip(entropies, np.split(inside, ends[:-1]), strict=True)]
        if len(entropies)
        else []
    )
    return [float(one.mean()) if len(one) else None for one in kept]


def in_band(
    values: NDArray[np.float64], band: Range, unit: Literal["quantile", "nats"]
) -> NDArray[np.bool_]:
    """Whether each value is at least the lower and below the upper end of the band.

    The quantile of a value is (r + 1/2) / n, where r is its rank from 0; equal values share their
    mean rank. So bands that touch divide the values among them, and none is in two.

    >>> in_band(np.array([4.0, 1.0, 2.0, 3.0]), (0.25, 0.75), "quantile").tolist()
    [False, False, True, True]
    """
    low, high = band
    measured = values if unit == "nats" else _quantiles(values)
    inside: NDArray[np.bool_] = (measured >= low) & (measured < high)
    return inside


def _quantiles(values: NDArray[np.float64]) -> NDArray[np.float64]:
    ordered = np.sort(values)
    below = np.searchsorted(ordered, values, side="left")
    upto = np.searchsorted(ordered, values, side="right")
    quantiles: NDArray[np.float64] = (below + upto) / (2 * max(1, len(values)))
    return quantiles
