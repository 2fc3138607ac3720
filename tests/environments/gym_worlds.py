"""Small worlds of Gymnasium: a lamp with a number that has to be brought to another one."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class LampWorld(gymnasium.Env[Any, Any]):
    """The number goes up or down; `info` holds what an agent must not see."""

    def __init__(self, step: int = 1, limit: int = 100, broken: bool = False) -> None:
        self.action_space = spaces.Discrete(2)
        self.observation_space = spaces.Dict(
            {
                "view": spaces.Dict({"text": spaces.Text(200)}),
                "numbers": spaces.Box(0, 1e5, (2,)),
            }
        )
        self.size, self.limit, self.broken = step, limit, broken
        self.number = self.goal = self.num_steps = 0
        self.is_closed = False

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.goal = int(self.np_random.integers(1000, 99_000))
        self.number = self.goal + int(self.np_random.integers(1, 4)) * self.size
        self.num_steps = 0
        return self._see(), self._info()

    def step(self, action: Any) -> tuple[Any, Any, Any, bool, dict[str, Any]]:
        if self.broken:
            raise RuntimeError("the lamp is broken")
        self.number += (1 if action == 0 else -1) * self.size
        self.num_steps += 1
        is_there = self.number == self.goal
        # As many worlds do, with the types of numpy.
        reward = np.float32(is_there)
        return self._see(), reward, np.bool_(is_there), self.num_steps >= self.limit, self._info()

    def close(self) -> None:
        self.is_closed = True

    def _see(self) -> dict[str, Any]:
        text = f"The lamp shows {self.number}, bring it to {self.goal}."
        return {
            "view": {"text": text},
            "numbers": np.array([self.number, self.goal], dtype=np.float32),
        }

    def _info(self) -> dict[str, Any]:
        is_there = self.number == self.goal
        return {
            "secret": "the answer is down",
            "is_solved": is_there,
            "closeness": 1 / (1 + abs(self.number - self.goal)),
            "was_wrong": self.number > self.goal + 3 * self.size,
        }


class EchoWorld(gymnasium.Env[str, str]):
    """Any text is an action; the text `done` ends the episode."""

    def __init__(self) -> None:
        self.action_space = spaces.Text(20, charset="abcdefghijklmnopqrstuvwxyz ")
        self.observation_space = spaces.Text(200)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        return f"Hello {seed}.", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        return f"You said {action}.", 0.0, action == "done", False, {}


class RepeatingWorld(gymnasium.Env[str, Any]):
    """Shows the action that it got, and spoils it, as some worlds do."""

    def __init__(self, space: spaces.Space[Any], info: dict[str, Any] | None) -> None:
        self.action_space, self.info = space, info
        self.observation_space = spaces.Text(200)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return f"Task {seed}.", self.info

    def step(self, action: Any) -> Any:
        shown = repr(action)
        if isinstance(action, np.ndarray):
            action += 1
        return shown, 0.0, False, False, self.info


def make_repeating(space: str, info: dict[str, Any] | None = None) -> RepeatingWorld:
    force = spaces.Box(-1, 1, (1,), np.float32)
    known: dict[str, spaces.Space[Any]] = {
        "two": spaces.Discrete(2),
        "three": spaces.Discrete(3),
        "multi_discrete": spaces.MultiDiscrete([2, 3]),
        "multi_binary": spaces.MultiBinary(2),
        "tuple": spaces.Tuple((spaces.Discrete(2), force)),
        "dict": spaces.Dict({"way": spaces.Discrete(2), "force": force}),
    }
    return RepeatingWorld(known[space], info)


class OldWorld(gymnasium.Env[Any, Any]):
    """Returns what worlds of other versions of Gym return."""

    def __init__(self, first: Any = ("x", {}), later: Any = None) -> None:
        self.action_space, self.observation_space = spaces.Discrete(2), spaces.Text(9)
        self.first, self.later = first, later

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return self.first

    def step(self, action: Any) -> Any:
        return self.later
