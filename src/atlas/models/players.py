"""The interface of players: many conversations at a time, each with a name.

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
    "served": "atlas.models.served.served_player:ServedPlayer",
}
PLAYER = Kind(
    "player",
    PLAYERS,
    methods=("describe_model", "submit", "next_answers", "close", "end"),
)

NO_USAGE = Usage()

Finish = Literal["stop", "length", "no_room", "refused", "broken"]


@dataclass(frozen=True, slots=True)
class PlayerAnswer:
    """One answer in a conversation, verbatim, and how it ended.

    Attributes:
        finish: "stop" (end of turn) or "length" (cut off at the maximum length). If there is no
            usable message: "no_room" (the history is too long), "refused" (the endpoint declined
            the request) or "broken" (no answer came).
        reason: why a usable message is missing.
        annotation: an expert's annotation of this step.
        usage: what it took; of a remote model a Payment, which the run records.
    """

    message: Message
    finish: Finish = "stop"
    reason: str | None = None
    annotation: Annotation | None = None
    usage: Usage = NO_USAGE


class Player(Protocol):
    """Answers conversations; without a method `wake`, it is asked until all are answered."""

    def submit(
        self, name: str, new_messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Ask for the next answer in conversation `name`; an unknown name opens it.

        `new_messages` are the messages since the player's last answer. `tools` are the schemas of
        available tools, the same at each turn.
        """
        ...

    def next_answers(self, timeout: float | None = None) -> Mapping[str, PlayerAnswer]:
        """Answers to submitted requests: all of them, or those that are ready, at least one.

        Only an `AnswersAsReady` player may return nothing, after `timeout` seconds.

        Raises:
            ModelError: the model cannot be used at all.
        """
        ...

    def close(self, name: str) -> None:
        """Forget a conversation; an unknown name is accepted."""
        ...

    def end(self) -> None:
        """Free all resources. Nothing may be submitted afterwards; a second call does nothing."""
        ...


@runtime_checkable
class Reopens(Protocol):
    """A player whose model is expensive to load, so that other players use it, too."""

    def reopened(self, settings: Any) -> Player:
        """A player of the same model with other settings, in place of this one, which it ends."""
        ...


@runtime_checkable
class AnswersAsReady(Protocol):
    """A player whose `next_answers` returns as soon as one answer is ready."""

    def wake(self) -> None:
        """Let `next_answers` return now, or at its next call; called from any thread."""
        ...
