"""Limits of one episode that hold for any player and environment. Reaching one truncates it."""

from __future__ import annotations

from pydantic import Field

from atlas.config import Config
from atlas.environments.episode import Episode
from atlas.records import Usage


class EpisodeLimits(Config):
    """Limits of one episode. What was reached before counts; the outcome has the reason."""

    max_steps: int | None = Field(
        default=None,
        ge=1,
        description="turns, where the environment itself has no limit or a higher one",
    )
    max_answer_tokens: int | None = Field(
        default=None, ge=1, description="tokens of all answers of the episode together"
    )
    max_context_tokens: int | None = Field(
        default=None, ge=1, description="tokens of the history, the last answer included"
    )
    max_seconds: float | None = Field(
        default=None,
        gt=0,
        description="time, that of the player included; results then depend on the machine",
    )

    def reached(self, episode: Episode, last: Usage, seconds: float) -> str | None:
        """Which limit an episode has reached, as the reason of its end; None: it may go on.

        Args:
            last: the usage of its last answer.
            seconds: since its first observation was asked for.
        """
        context = last.input_tokens + last.output_tokens
        figures: dict[str, float] = {
            "max_steps": len(episode.steps),
            "max_answer_tokens": episode.usage.output_tokens,
            "max_context_tokens": context,
            "max_seconds": seconds,
        }
        for name, figure in figures.items():
            limit = getattr(self, name)
            if limit is not None and figure >= limit:
                return f"limit of the episode: {name}={limit:g}"
        return None
