"""Who plays: many conversations at a time, each known by a name.

The class of a player in `PLAYERS` is made as `Class(settings, model, seed)`. Its static method
`describe_model(model, out)` gives the model as an input of the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from atlas.kinds import Kind
from atlas.records import Annotation, Message, Usage

PLAYERS: dict[str, str] = {
    "local": "atlas.models.local.local_player:LocalPlayer",
    "endpoint": "atlas.models.endpoints.endpoint_player:EndpointPlayer",
}
PLAYER = Kind("player", PLAYERS)

NO_USAGE = Usage()

Finish = Literal["stop", "length", "no_room", "refused", "broken"]


@dataclass(frozen=True, slots=True)
class PlayerAnswer:
    """One answer in a conversation, verbatim, and how it ended.

    Attributes:
        finish: "stop" (end of turn) or "length" (cut at the longest answer); without a usable
            message: "no_room" (the history is too long), "refused" (the endpoint declined it) or
            "broken" (no answer came).
        reason: why a usable message is missing.
        annotation: what an expert knows about this step.
    """

    message: Message
    finish: Finish = "stop"
    reason: str | None = None
    annotation: Annotation | None = None
    usage: Usage = NO_USAGE


class Player(Protocol):
    """Answers conversations; without `wake`, all that was submitted as one round."""

    def submit(
        self, name: str, new_messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Ask for the next answer in conversation `name`; an unknown name opens it.

        `new_messages` came after the player's last answer. `tools` are the schemas of the tools
        that may be called, the same at each turn.
        """
        ...

    def next_answers(self, timeout: float | None = None) -> Mapping[str, PlayerAnswer]:
        """Answers to what was submitted: the whole round, or those that are ready.

        After `timeout` seconds, a player that answers as ready returns without an answer.

        Raises:
            ModelError: the model cannot be used at all.
        """
        ...

    def close(self, name: str) -> None:
        """Forget a conversation; an unknown name is accepted."""
        ...

    def end(self) -> None:
        """Free what the player holds. Nothing is submitted after that."""
        ...


@runtime_checkable
class AnswersAsReady(Protocol):
    """A player whose `next_answers` returns as soon as one answer is ready."""

    def wake(self) -> None:
        """Let `next_answers` return now, or at its next call; called from any thread."""
        ...
