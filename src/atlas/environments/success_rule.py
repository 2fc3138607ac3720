"""When an episode of a world from outside counts as a success, and its score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from atlas.config import Config
from atlas.errors import EpisodeError


class SuccessRule(Config):
    """When an episode is a success, and what its score is."""

    by: Literal["reward", "key", "terminated"] = Field(
        default="reward",
        description="success is a total reward of at least `reward`; or the value of "
        "`success_key` is true, or 1; or the task ended before a limit",
    )
    reward: float = Field(
        default=1.0,
        description="the least total reward of an episode that is a success; if 0 or less, it "
        "counts only once the world ended the episode",
    )
    success_key: str | None = Field(
        default=None, description="key of the world's details that is true after a success"
    )
    score_key: str | None = Field(
        default=None,
        description="key of the world's details that holds the score, from 0 to 1; if none, the "
        "score is 1 for a success and 0 otherwise",
    )

    @model_validator(mode="after")
    def _has_its_key(self) -> SuccessRule:
        if self.by == "key" and self.success_key is None:
            raise ValueError("by=key needs success_key, the key that is true after a success")
        return self

    def judge(
        self,
        total_reward: float,
        details: Mapping[str, Any],
        *,
        is_terminated: bool,
        is_over: bool,
    ) -> tuple[bool, float]:
        """(success, score) of an episode so far.

        Args:
            is_terminated: the task ended before a limit.
            is_over: the world ended the episode, maybe at the world's own limit.

        Raises:
            EpisodeError: the score is not a number, or the value of a key neither true nor false.
        """
        match self.by:
            case "reward":
                # Costs add up to less at each step: before the end, nothing is reached yet.
                success = total_reward >= self.reward and (self.reward > 0 or is_over)
            case "key":
                success = is_true(details, self.success_key)
            case "terminated":
                success = is_terminated
        score = details.get(self.score_key) if self.score_key is not None else None
        if score is None:
            return success, float(success)
        try:
            return success, float(score)
        except (TypeError, ValueError):
            raise EpisodeError(f"'{self.score_key}' is {score!r:.60}, expected a number") from None


def is_true(details: Mapping[str, Any], key: str | None) -> bool:
    """Whether the value of a key is true, or a number from 1 on; False without key or value.

    Raises:
        EpisodeError: it is neither, such as the text "False".
    """
    value = details.get(key) if key is not None else None
    if isinstance(value, np.generic | np.ndarray) and value.size == 1:
        value = value.item()
    if value is None:
        return False
    # NaN is the only number that differs from itself.
    if not isinstance(value, bool | int | float) or value != value:
        raise EpisodeError(f"'{key}' is {value!r:.60}, expected true or false")
    return value >= 1
