"""Asks one player for single answers, for many callers at a time: `history -> answer`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from atlas.errors import ModelError
from atlas.models.players import AnswersAsReady, Player, PlayerAnswer
from atlas.records import Message

# How often a player that answers by itself, such as an endpoint, is looked at.
POLL_SECONDS = 0.01


class Sampler:
    """A player whose answers are awaited. All its calls come from one thread.

    What is asked at the same time is answered together, so that a local model computes the starts
    of histories once.

    Args:
        most: maximum number of unanswered questions; None: no limit.
    """

    def __init__(self, player: Player, most: int | None = None) -> None:
        self._player = player
        # A place must be held while a question is asked.
        self.place: AbstractAsyncContextManager[Any] = (
            nullcontext() if most is None else asyncio.Semaphore(most)
        )
        self._waiting: dict[str, asyncio.Future[PlayerAnswer]] = {}
        self._driving: asyncio.Task[None] | None = None

    async def ask(
        self, name: str, history: Sequence[Message], tools: Sequence[Mapping[str, Any]]
    ) -> PlayerAnswer:
        """The answer to a history, in a conversation that is closed again.

        Raises:
            ModelError: the model cannot be used.
        """
        answer: asyncio.Future[PlayerAnswer] = asyncio.get_running_loop().create_future()
        self._waiting[name] = answer
        try:
            self._player.submit(name, history, tools)
            if self._driving is None or self._driving.done():
                self._driving = asyncio.create_task(self._drive())
            return await answer
        finally:
            self._waiting.pop(name, None)
            self._player.close(name)

    async def close(self) -> None:
        """Stop asking, and free the player."""
        if self._driving is not None:
            self._driving.cancel()
            await asyncio.gather(self._driving, return_exceptions=True)
        self._player.end()

    async def _drive(self) -> None:
        """Fetch answers as long as some are awaited."""
        is_polled = isinstance(self._player, AnswersAsReady)
        try:
            while self._waiting:
                # A local model computes here until an answer ends.
                found = self._player.next_answers(0.0 if is_polled else None)
                if not found and not is_polled:
                    raise ModelError(
                        f"player {type(self._player).__name__}: next_answers returned nothing, "
                        f"expected answers to {len(self._waiting)} conversations."
                    )
                for name, answer in found.items():
                    if (future := self._waiting.get(name)) is not None and not future.done():
                        future.set_result(answer)
                await asyncio.sleep(POLL_SECONDS if is_polled and not found else 0)
        except Exception as error:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(error)
