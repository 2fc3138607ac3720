"""Small servers that speak AgentGym's protocol: one world of crafts, and one of recorded replies.

`python -m tests.environments.agentgym_servers` serves the crafts until its standard input ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Reply:
    """What a server sends: a status and a JSON value, or these very bytes."""

    value: Any = None
    status: int = 200
    raw: bytes | None = None

    @property
    def content(self) -> bytes:
        return json.dumps(self.value).encode() if self.raw is None else self.raw


class Hangup(Exception):
    """The server ends the connection without a reply."""


Answer = Callable[[str, str, Any], Reply]


@contextmanager
def serving(answer: Answer, port: int = 0) -> Iterator[str]:
    """The address of a server that answers `(method, path with query, JSON body)`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30
        # Without it, a small reply waits for the acknowledgment of its header.
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._reply("GET")

        def do_POST(self) -> None:
            self._reply("POST")

        def _reply(self, method: str) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                reply = answer(method, self.path, json.loads(content) if content else None)
            except Hangup:
                self.close_connection = True
                return
            body = reply.content
            head = f"HTTP/1.1 {reply.status} x\r\nContent-Length: {len(body)}\r\n"
            head += "Location: /elsewhere\r\n" if reply.status == 302 else ""
            try:
                self.wfile.write(head.encode() + b"\r\n" + body)
            except OSError:
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128
        allow_reuse_address = True

        def handle_error(self, *_: Any) -> None:
            pass

    server = Server(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class CraftServer:
    """TextCraft's protocol: task n is to craft item n, from a stick.

    `shift` moves the goals, as another order of files does.
    """

    num_tasks = 544

    def __init__(self, shift: int = 0) -> None:
        self.shift = shift
        self.worlds: dict[int, dict[str, Any]] = {}
        self.num_created = 0
        self.num_steps = self.num_resets = 0
        self._lock = threading.Lock()

    def restart(self) -> None:
        self.worlds, self.num_created = {}, 0

    def __call__(self, method: str, path: str, body: Any) -> Reply:
        if path == "/":
            return Reply("This is environment TextCraft.")
        if path == "/create":
            if body is None:
                return Reply({"detail": [{"msg": "Field required"}]}, 422)
            with self._lock:
                found = self.num_created
                self.num_created += 1
            self.worlds[found] = {"text": "", "item": 0, "has": False}
            return Reply({"id": found, "observation": "", "done": False, "reward": 0})
        given = int(path.rpartition("=")[2]) if method == "GET" else body["id"]
        world = self.worlds.get(given)
        if path == "/close":
            return Reply(self.worlds.pop(given, None) is not None)
        if world is None:
            return Reply({"error": f"The id {given} is not valid."})
        if path == "/reset":
            return Reply({"id": given, "observation": self.reset(world, body["data_idx"])})
        if path == "/step":
            self.num_steps += 1
            return Reply(self.step(world, body["action"]))
        return Reply(world["text"])

    def reset(self, world: dict[str, Any], number: int) -> str:
        self.num_resets += 1
        item = (number + self.shift) % self.num_tasks
        text = f"Crafting commands:\ncraft 1 item {item} using 1 stick\n\nGoal: craft item {item}."
        world |= {"text": text, "item": item, "has": False}
        return text

    def step(self, world: dict[str, Any], action: str) -> dict[str, Any]:
        is_solved = False
        if action == "inventory":
            text = (
                f"Inventory: {'[stick] (1)' if world['has'] else 'You are not carrying anything.'}"
            )
        elif action == "get 1 stick":
            world["has"], text = True, "Got 1 stick"
        elif action == f"craft 1 item {world['item']} using 1 stick":
            is_solved = world["has"]
            text = "Crafted 1 item" if is_solved else "Could not find enough items to craft item"
        else:
            text = f"Could not execute {action}"
        world["text"] = text
        return {"observation": text, "reward": int(is_solved), "done": is_solved}


@dataclass(frozen=True)
class Exchange:
    """A recorded request and its reply."""

    method: str
    path: str
    body: Any
    status: int
    reply: Any


class RecordedServer:
    """Answers each request with the next reply that was recorded for it."""

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        self._replies: dict[str, deque[Exchange]] = defaultdict(deque)
        self._last: dict[str, Exchange] = {}
        self.unknown: list[str] = []
        for exchange in exchanges:
            self._replies[self._key(exchange.method, exchange.path, exchange.body)].append(exchange)

    def __call__(self, method: str, path: str, body: Any) -> Reply:
        key = self._key(method, path, body)
        if self._replies[key]:
            self._last[key] = self._replies[key].popleft()
        if key not in self._last:
            self.unknown.append(key)
            return Reply({"detail": "Not Found"}, 404)
        return Reply(self._last[key].reply, self._last[key].status)

    @staticmethod
    def _key(method: str, path: str, body: Any) -> str:
        return f"{method} {path} {json.dumps(body, sort_keys=True)}"


def observed(path: str, key: str, world: int) -> str:
    """The path of a GET with its query."""
    return f"{path}?{urlencode({key: world})}"


@contextmanager
def craft_process() -> Iterator[dict[str, Any]]:
    """A process that serves the crafts, and the settings for it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.environments.agentgym_servers"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield {"server": "textcraft", "url": process.stdout.readline().strip(), "max_steps": 12}
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


if __name__ == "__main__":
    with serving(CraftServer()) as url:
        print(url, flush=True)
        sys.stdin.read()
