"""Puts what is known of the outcome into the context: `trajectory -> trajectory with its outcome`.

The text is added to the last user message before the first response, which is the task in most
data. So the roles and their order stay as they are, which every chat template accepts, and every
step is read with the outcome in one pass. Up to this text both passes have the same tokens. A final
observation may hold special tokens of a chat template, which would end the turn: they get a blank.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from pydantic import Field, field_validator

from atlas.config import Config
from atlas.errors import DataError
from atlas.records import Message, OutcomeStatus, Trajectory
from atlas.selection.judging.transcript import disarm_tokens

Fact = Literal["status", "score", "final_observation"]

PLACE = "{outcome}"
SENTENCES: dict[OutcomeStatus, str] = {
    "success": "The task was solved.",
    "failure": "The task was not solved.",
    "truncated": "The task was not solved before the limit of steps.",
    "error": "The episode broke off with an error.",
}


class OutcomeTextConfig(Config):
    """How a model is given the outcome of a trajectory."""

    wording: str = Field(
        default=f"How this episode will end is known: {PLACE}",
        description=f"the text that is added to the task; {PLACE} stands for what is known",
    )
    facts: tuple[Fact, ...] = Field(
        default=("status", "score", "final_observation"),
        min_length=1,
        description="what is given of the outcome, as far as it is known: status (success, "
        "failure, …), score, final_observation",
    )
    assume: Literal["success", "failure"] | None = Field(
        default=None,
        description="the status of trajectories whose outcome is unknown; none: such a trajectory "
        "is a problem, unless another fact is known",
    )
    max_outcome_chars: int = Field(
        default=2_000,
        ge=100,
        description="a longer final observation is cut in its middle to this many characters",
    )

    @field_validator("wording")
    @classmethod
    def _has_a_place(cls, wording: str) -> str:
        if PLACE not in wording:
            raise ValueError(f"{wording!r} does not say where the outcome stands: add {PLACE}")
        return wording


def outcome_text(trajectory: Trajectory, config: OutcomeTextConfig) -> str:
    """What the model is given, in the words of the config.

    Raises:
        DataError: none of the facts is known.
    """
    known = list(_known_facts(trajectory, config))
    if not known:
        raise DataError(
            f"its outcome is unknown (none of {', '.join(config.facts)}), so there is nothing to "
            "give to the model. If all such trajectories succeeded, set assume=success; else "
            "import them with their outcomes"
        )
    return config.wording.replace(PLACE, " ".join(known))


def with_outcome(trajectory: Trajectory, text: str) -> Trajectory:
    """The trajectory with `text` in its last user message before the first response.

    Without a user message it is added to the last system message; without either, as a message
    before the first response. An empty text adds nothing.
    """
    if not text or not trajectory.steps:
        return trajectory
    first = trajectory.steps[0]
    opening = [*trajectory.prompt, *first.observation]
    for role in ("user", "system"):
        places = [index for index, message in enumerate(opening) if message.role == role]
        if places:
            content = opening[places[-1]].content
            joined = f"{content}\n\n{text}" if content else text
            opening[places[-1]] = opening[places[-1]].model_copy(update={"content": joined})
            break
    else:
        opening.append(Message(role="user", content=text))
    size = len(trajectory.prompt)
    told = first.model_copy(update={"observation": tuple(opening[size:])})
    return trajectory.model_copy(
        update={"prompt": tuple(opening[:size]), "steps": (told, *trajectory.steps[1:])}
    )


def _known_facts(trajectory: Trajectory, config: OutcomeTextConfig) -> Iterator[str]:
    outcome = trajectory.outcome
    for fact in dict.fromkeys(config.facts):
        if fact == "status":
            status = outcome.status
            if status == "unknown" and config.assume is not None:
                status = config.assume
            if status in SENTENCES:
                yield SENTENCES[status]
        elif fact == "score":
            if outcome.score is not None and math.isfinite(outcome.score):
                yield f"The score is {outcome.score:g}."
        else:
            seen = "\n".join(message.content for message in trajectory.final_observation).strip()
            if seen:
                shown = disarm_tokens(_cut(seen, config.max_outcome_chars))
                yield f"The last observation is:\n{shown}"


def _cut(text: str, size: int) -> str:
    if len(text) <= size:
        return text
    half = (size - 3) // 2
    return f"{text[: size - 3 - half]} … {text[-half:]}"
