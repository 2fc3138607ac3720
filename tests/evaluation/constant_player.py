"""A player that always pushes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from atlas.config import Config
from atlas.models.players import PlayerAnswer
from atlas.records import Message
from atlas.store.run_folders import Input


class PushPlayerConfig(Config):
    pass


class PushPlayer:
    """Pushes at every turn."""

    Config = PushPlayerConfig

    def __init__(self, config: PushPlayerConfig, model: str, seed: int) -> None:
        self.waiting: list[str] = []

    @staticmethod
    def describe_model(model: str, out: Path) -> Input:
        return Input(path=model)

    def submit(self, name: str, new_messages: Any, tools: Any = ()) -> None:
        self.waiting.append(name)

    def next_answers(self, timeout: float | None = None) -> dict[str, PlayerAnswer]:
        answer = PlayerAnswer(Message(role="assistant", content="push"))
        answers = dict.fromkeys(self.waiting, answer)
        self.waiting = []
        return answers

    def close(self, name: str) -> None: ...

    def end(self) -> None: ...
