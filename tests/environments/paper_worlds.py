"""What the tests of the paper's worlds share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from atlas.environments.base import Environment, StepResult
from atlas.records import Message, Task

AGENTTRAJ = Path(__file__).resolve().parents[3] / "shared" / "data" / "agenttraj"


def react(action: str) -> Message:
    return Message(role="assistant", content=f"Thought:\nI try.\n\nAction:\n{action}")


def play(environment: Environment, task: Task, actions: Sequence[str]) -> tuple[str, list[str]]:
    """The first observation, and the one after each action."""
    first = environment.reset(task)
    return first[0].content, [done.observation[0].content for done in steps(environment, actions)]


def steps(environment: Environment, actions: Sequence[str]) -> list[StepResult]:
    return [environment.step(react(action)) for action in actions]


def agenttraj(name: str) -> Path:
    """A file of AgentTraj; the test is skipped without it."""
    path = AGENTTRAJ / f"{name}_train.json"
    if not path.exists():
        pytest.skip(f"AgentTraj's file {path} is not there")
    return path


def write_items(path: Path, ids: Sequence[str], texts: Sequence[str] = ()) -> str:
    """A file in the form of AgentTraj or AgentEval."""
    rows: list[dict[str, Any]] = [{"item_id": item_id} for item_id in ids]
    for row, text in zip(rows, texts, strict=False):
        row["conversations"] = [
            {"from": "human", "loss": None, "value": "Play."},
            {"from": "gpt", "loss": False, "value": "OK."},
            {"from": "human", "loss": None, "value": text},
            {"from": "gpt", "loss": True, "value": "Thought:\nx\n\nAction:\ninventory"},
        ]
    path.write_text(json.dumps(rows))
    return str(path)
