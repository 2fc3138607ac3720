"""What the worlds from outside need to run in tests: contexts that give their settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def lamp() -> Iterator[dict[str, Any]]:
    """A small world of Gymnasium."""
    yield {
        "target": "tests.environments.gym_worlds:LampWorld",
        "world": "lamp",
        "actions": ["up", "down"],
        "observation_key": "view.text",
        "max_steps": 8,
    }


@contextmanager
def served_lamp() -> Iterator[dict[str, Any]]:
    """A small world on a server of its own."""
    from tests.environments.openenv_server import running_server

    try:
        import websockets  # noqa: F401
    except ImportError:
        # The world says which extra is missing.
        yield {}
        return
    with running_server() as address:
        yield {
            "base_url": address,
            "actions": "number",
            "world": "lamp",
            "max_steps": 8,
        }


@contextmanager
def verifiers_lamp() -> Iterator[dict[str, Any]]:
    """A small world of verifiers."""
    yield {
        "target": "tests.environments.verifiers_worlds:make_lamp",
        "world": "lamp",
        "invalid_pattern": "^Say up or down",
        "kwargs": {"max_turns": 20},
        "max_steps": 8,
    }
