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
        self.number += {"up": 1, "down": -1}.get(way, 0)
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


def serve(socket: Any) -> None:
    mode = socket.request.path.strip("/").removesuffix("ws").strip("/")
    lamp = Lamp()
    if mode == "full":
        # Whatever the client sends first.
        socket.send(json.dumps(fault("CAPACITY_REACHED", "full", active_sessions=2, max_sessions=2)))
        return
    for message in socket:
        asked = json.loads(message)
        data = asked.get("data", {})
        answer: Any
        match asked["type"]:
            case "close":
                return
            case "reset" if mode == "unready":
                answer = fault("EXECUTION_ERROR", "no such seed")
            case "reset":
                answer = {"type": "observation", "data": lamp.reset(data["seed"])}
            case "step" if data.get("type") == "list_tools":
                answer = {"type": "observation", "data": {"observation": {"tools": [TOOL]}}}
            case "step" if data.get("type") == "call_tool":
                seen = lamp.turn(data["arguments"].get("way", ""))
                result = {"content": [{"type": "text", "text": seen["observation"]["text"]}]}
                seen["observation"] = {"tool_name": data["tool_name"], "result": result}
                if data["arguments"].get("way") not in ("up", "down"):
                    seen["observation"] = {"error": {"error_type": "invalid_args", "message": "no"}}
                answer = {"type": "observation", "data": seen}
            case "step" if mode in ("", "restart"):
                answer = {"type": "observation", "data": lamp.turn(data["text"])}
            case _:
                answer = misbehave(mode, socket, data)
        if answer is None:
            return
        if isinstance(answer, str | bytes):
            socket.send(answer)
        else:
            socket.send(json.dumps(answer))
        if mode == "restart" and isinstance(answer, dict) and answer["data"].get("done"):
            return


def main() -> None:
    from websockets.sync.server import serve as listen

    with listen(serve, "127.0.0.1", 0) as server:
        print(server.socket.getsockname()[1], flush=True)
        server.serve_forever()


@contextmanager
def running_server() -> Iterator[str]:
    """The address of a server in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.environments.openenv_server"],
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
