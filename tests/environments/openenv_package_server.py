"""The lamp on a server of the package openenv: `python -m … text` or `… tools`; prints its port."""

from __future__ import annotations

import socket
import sys
import threading
import time
from typing import Any

import uvicorn
from fastmcp import FastMCP
from openenv.core.env_server import (
    Action,
    CallToolAction,
    Environment,
    MCPEnvironment,
    Observation,
    State,
    create_fastapi_app,
)

from tests.environments.openenv_server import Lamp


class Turn(Action):
    text: str


class Shown(Observation):
    text: str = ""


def shown(seen: dict[str, Any]) -> Shown:
    return Shown(
        text=seen["observation"]["text"],
        reward=seen["reward"],
        done=seen["done"],
        metadata=seen["metadata"],
    )


class TextLamp(Environment[Turn, Shown, State]):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self.lamp = Lamp()

    def reset(self, seed: int | None = None, episode_id: str | None = None, **more: Any) -> Shown:
        return shown(self.lamp.reset(seed or 0))

    def step(self, action: Turn, timeout_s: float | None = None, **more: Any) -> Shown:
        if action.text == "crash":
            raise RuntimeError("the lamp is broken")
        return shown(self.lamp.turn(action.text))

    @property
    def state(self) -> State:
        return State()


class ToolLamp(MCPEnvironment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        self.lamp = Lamp()
        server = FastMCP("lamp")

        @server.tool
        def turn(way: str) -> str:
            """Turn the number up or down."""
            if way not in ("up", "down"):
                raise ValueError("the way is up or down")
            return str(self.lamp.turn(way)["observation"]["text"])

        super().__init__(server)

    def reset(self, seed: int | None = None, episode_id: str | None = None, **more: Any) -> Shown:
        return shown(self.lamp.reset(seed or 0))

    async def step_async(self, action: Action, **more: Any) -> Observation:
        seen: Observation = await super().step_async(action, **more)
        if isinstance(action, CallToolAction):
            now = self.lamp.see()
            seen.reward, seen.done = now["reward"], now["done"]
        return seen

    def _step_impl(self, action: Action, **more: Any) -> Observation:
        return Shown(text="call a tool")

    @property
    def state(self) -> State:
        return State()


def main() -> None:
    kinds: dict[str, Any] = {"text": (TextLamp, Turn, Shown), "tools": (ToolLamp, Action, Shown)}
    app = create_fastapi_app(*kinds[sys.argv[1]], max_concurrent_envs=8)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
    while not server.started:
        time.sleep(0.05)
    print(listener.getsockname()[1], flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
