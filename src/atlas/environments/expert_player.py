"""A player made of experts: the expert of each environment answers its conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atlas.environments.base import Environment, Expert, ExpertTurn, HasExpert
from atlas.environments.worlds import Worlds
from atlas.errors import AtlasError, EpisodeError
from atlas.models.players import PlayerAnswer
from atlas.records import Annotation, Message


class ExpertPlayer:
    """Answers each conversation with the expert that was assigned to it.

    An expert runs in the thread of its world, with the time limit of a step.
    """

    def __init__(self, worlds: Worlds) -> None:
        self._worlds = worlds
        self._experts: dict[str, Expert] = {}
        self._asked: list[str] = []

    def seat(self, name: str, environment: Environment, seed: int) -> None:
        """Assign the expert of `environment`, which was just reset, to the conversation `name`."""
        assert isinstance(environment, HasExpert)
        self._experts[name] = environment.expert(seed)

    def submit(
        self, name: str, new_messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Request a turn; the expert reads the state of the environment, not the messages."""
        self._asked.append(name)

    def next_answers(self, timeout: float | None = None) -> dict[str, PlayerAnswer]:
        """One turn of each expert with a request."""
        asked, self._asked = self._asked, []
        return {name: self._answer(name) for name in asked}

    def close(self, name: str) -> None:
        """Forget the expert of a conversation."""
        self._experts.pop(name, None)

    def end(self) -> None:
        """There is nothing to free."""

    def _answer(self, name: str) -> PlayerAnswer:
        expert = self._experts[name]
        try:
            turn = self._worlds.ask(name, lambda environment: expert.respond())
            if not isinstance(turn, ExpertTurn) or not isinstance(turn.annotation, Annotation):
                raise EpisodeError(f"the expert returned {turn!r:.80}, expected an ExpertTurn")
        except EpisodeError as error:
            return PlayerAnswer(Message(role="assistant"), "broken", str(error))
        except AtlasError:
            raise
        except Exception as error:
            reason = f"the expert raised {type(error).__name__}: {error}"
            return PlayerAnswer(Message(role="assistant"), "broken", reason)
        return PlayerAnswer(turn.response, annotation=turn.annotation)
