"""When an episode of a world from outside counts as a success, and its score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from atlas.config import Config
from atlas.errors import EpisodeError


class SuccessRule(Config):
    """When an episode is a success, and what its score is."""

    by: Literal["reward", "key", "terminated"] = Field(
        default="reward",
        description="success is a total reward of at least `reward`; or the value of "
        "`success_key` is true; or the task ended before a limit",
    )
    reward: float = Field(
        default=1.0, description="the least total reward of an episode that is a success"
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
        self, total_reward: float, is_terminated: bool, details: Mapping[str, Any]
    ) -> tuple[bool, float]:
        """(success, score) of an episode so far.

        Raises:
            EpisodeError: the score is not a number.
        """
        match self.by:
            case "reward":
                success = total_reward >= self.reward
            case "key":
                success = bool(details.get(self.success_key or "", False))
            case "terminated":
                success = is_terminated
        score = details.get(self.score_key) if self.score_key is not None else None
        if score is None:
            return success, float(success)
        try:
            return success, float(score)
        except (TypeError, ValueError):
            raise EpisodeError(f"'{self.score_key}' is {score!r:.60}, expected a number") from None
