"""A server that speaks OpenEnv's protocol, and one that fails in every way, for tests.

    python -m tests.environments.openenv_server    # prints its port

The first part of the path says how it behaves: `ws://127.0.0.1:PORT/hang/ws`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HUGE = 3 << 20
TOOL = {
    "name": "turn",
    "description": "Turn the number.",
    "input_schema": {"type": "object", "properties": {"way": {"type": "string"}}},
}


class Lamp:
    """A number that goes up or down until it is another one."""

    def __init__(self) -> None:
        self.number = self.goal = 0

    def reset(self, seed: int) -> dict[str, Any]:
        rng = random.Random(f"lamp {seed}")
        self.goal = rng.randrange(1000, 99_000)
        self.number = self.goal + rng.randint(1, 3)
        return self.see()

    def turn(self, way: str) -> dict[str, Any]:
        self.number += {"up": 1, "down": -1}.get(str(way), 0)
        return self.see()

    def see(self) -> dict[str, Any]:
        is_there = self.number == self.goal
        return {
            "observation": {"text": f"{self.number}, wanted is {self.goal}.", "left": 3},
            "reward": float(is_there),
            "done": is_there,
            "metadata": {"secret": "the answer is down", "is_solved": is_there},
        }


def fault(code: str, message: str, **more: Any) -> dict[str, Any]:
    return {"type": "error", "data": {"code": code, "message": message, **more}}


def invalid(kind: str) -> dict[str, Any]:
    errors = [{"type": kind, "loc": ["text"], "msg": f"it is {kind}"}]
    return fault("VALIDATION_ERROR", "Invalid message", errors=errors)


def misbehave(mode: str, socket: Any, data: dict[str, Any]) -> Any:
    """The answer to a step in a mode that fails; None: there is none."""
    seen = {"observation": {"text": "x"}, "reward": 0.0, "done": False}
    match mode:
        case "hang":
            time.sleep(60)
        case "die":
            socket.close()
            return None
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
    answers: dict[str, Any] = {
        "garbage": "<html>502 Bad Gateway</html>",
        "bytes": b"\xff\xfe",
        "list": [1, 2],
        "deep": "[" * 100_000,
        "state": {"type": "state", "data": {}},
        "nodata": {"type": "observation"},
        "text": {"type": "observation", "data": {"observation": "a text"}},
        "nan": {"type": "observation", "data": {**seen, "reward": float("nan")}},
        "flag": {"type": "observation", "data": {**seen, "done": "no"}},
        "huge": {"type": "observation", "data": {**seen, "observation": {"text": "x" * HUGE}}},
        "fault": fault("EXECUTION_ERROR", "the lamp is broken"),
        "missing": invalid("missing"),
        "literal": invalid("literal_error"),
        "nothing": {"type": "error", "data": None},
    }
    return answers[mode]


def observed(data: dict[str, Any]) -> dict[str, Any]:
    return {"type": "observation", "data": data}


def call_tool(lamp: Lamp, name: str, way: str) -> dict[str, Any]:
    seen = lamp.turn(way)
    text = {"type": "text", "text": seen["observation"]["text"]}
    seen["observation"] = {"tool_name": name, "result": {"content": [text]}}
    if way not in ("up", "down"):
        seen["observation"] = {"error": {"error_type": "invalid_args", "message": "no"}}
    return observed(seen)


def answer_to(asked: dict[str, Any], mode: str, lamp: Lamp, socket: Any) -> Any:
    """The answer to one request; None ends the session."""
    data = asked.get("data", {})
    match asked["type"]:
        case "reset" if mode == "unready":
            return fault("EXECUTION_ERROR", "no such seed")
        case "reset":
            return observed(lamp.reset(data["seed"]))
        case "step" if data.get("type") == "list_tools":
            return observed({"observation": {"tools": [TOOL]}})
        case "step" if data.get("type") == "call_tool":
            return call_tool(lamp, data["tool_name"], data["arguments"].get("way", ""))
        case "step" if mode in ("", "restart"):
            return observed(lamp.turn(data["text"]))
        case "step":
            return misbehave(mode, socket, data)
    return None


def serve(socket: Any) -> None:
    mode = socket.request.path.strip("/").removesuffix("ws").strip("/")
    lamp = Lamp()
    if mode == "full":
        # Whatever the client sends first.
        full = fault("CAPACITY_REACHED", "full", active_sessions=2, max_sessions=2)
        socket.send(json.dumps(full))
        return
    for message in socket:
        answer = answer_to(json.loads(message), mode, lamp, socket)
        if answer is None:
            return
        socket.send(answer if isinstance(answer, str | bytes) else json.dumps(answer))
        if mode == "restart" and answer["data"].get("done"):
            return


def main() -> None:
    from websockets.sync.server import serve as listen

    with listen(serve, "127.0.0.1", 0) as server:
        print(server.socket.getsockname()[1], flush=True)
        server.serve_forever()


@contextmanager
def running_server(
    module: str = "tests.environments.openenv_server", *arguments: str
) -> Iterator[str]:
    """The address of a server in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


if __name__ == "__main__":
    main()
