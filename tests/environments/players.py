"""Scripted players: one answers in rounds, one answers each conversation when it is ready."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from atlas.models.players import PlayerAnswer
from atlas.records import Message
from tests.environments.push import assistant

NOTHING = assistant("")


class RoundPlayer:
    """Says what `says` holds for a name, "push" where it holds nothing."""

    def __init__(self, says: Mapping[str, PlayerAnswer | str] | None = None) -> None:
        self.says = says or {}
        self.heard: dict[str, list[Sequence[Message]]] = {}
        self.tools: dict[str, Sequence[Mapping[str, Any]]] = {}
        self.rounds: list[list[str]] = []
        self.closed: list[str] = []
        self._asked: list[str] = []

    def submit(
        self, name: str, new_messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        self.heard.setdefault(name, []).append(tuple(new_messages))
        self.tools[name] = tools
        self._asked.append(name)

    def next_answers(self, timeout: float | None = None) -> dict[str, PlayerAnswer]:
        asked, self._asked = self._asked, []
        self.rounds.append(asked)
        return {name: self.answer(name) for name in asked}

    def answer(self, name: str) -> PlayerAnswer:
        said = self.says.get(name, "push")
        return said if isinstance(said, PlayerAnswer) else PlayerAnswer(assistant(said))

    def close(self, name: str) -> None:
        self.closed.append(name)

    def end(self) -> None:
        pass


class ReadyPlayer(RoundPlayer):
    """Answers each conversation `delays[name]` seconds after it was asked."""

    def __init__(
        self,
        delays: Mapping[str, float] | None = None,
        says: Mapping[str, PlayerAnswer | str] | None = None,
    ) -> None:
        super().__init__(says)
        self.delays = delays or {}
        self._ready: SimpleQueue[str | None] = SimpleQueue()

    def submit(
        self, name: str, new_messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        super().submit(name, new_messages, tools)
        timer = threading.Timer(self.delays.get(name, 0.0), self._ready.put, [name])
        timer.daemon = True
        timer.start()

    def next_answers(self, timeout: float | None = None) -> dict[str, PlayerAnswer]:
        try:
            name = self._ready.get(timeout=timeout)
        except Empty:
            return {}
        if name is None:
            return {}
        self.rounds.append([name])
        return {name: self.answer(name)}

    def wake(self) -> None:
        self._ready.put(None)
