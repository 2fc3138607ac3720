"""A loopback HTTP server with the chat completions protocol that misbehaves on demand."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server sends after `delay` seconds; if `is_cut`, it sends half and hangs up."""

    body: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    delay: float = 0.0
    is_cut: bool = False


@dataclass(slots=True)
class ChatServer:
    """`answer(body, number)` is asked for each request; `number` counts them from 0."""

    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)


def completion(
    text: str | None,
    refusal: str | None = None,
    finish_reason: str = "stop",
    delay: float = 0.0,
    tokens: tuple[int, int] = (100, 7),
    tool_calls: list[dict[str, Any]] | None = None,
) -> Reply:
    """An answer that took so many `tokens`: sent, received."""
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": refusal}
    if tool_calls is not None:
        message["tool_calls"], finish_reason = tool_calls, "tool_calls"
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": "test",
        "choices": [
            {"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}
        ],
        "usage": {
            "prompt_tokens": tokens[0],
            "completion_tokens": tokens[1],
            "total_tokens": sum(tokens),
        },
    }
    return Reply(json.dumps(body), delay=delay)


def failure(status: int, message: str = "no", **headers: str) -> Reply:
    body = json.dumps({"error": {"message": message, "type": "test", "param": None, "code": None}})
    return Reply(
        body,
        status,
        {
            "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        },
    )


HTML_PAGE = Reply(
    "<html><body>Welcome to nginx</body></html>", headers={"Content-Type": "text/html"}
)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1_000


@contextmanager
def serve(
    answer: Callable[[dict[str, Any], int], Reply],
    path: str = "/v1/chat/completions",
    models: tuple[str, ...] = (),
) -> Iterator[ChatServer]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Without it, a small reply waits for the acknowledgment of its header.
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(server.requests)
                server.requests.append(body)
                keys = (
                    self.headers.get(name)
                    for name in ("Authorization", "x-api-key", "x-goog-api-key")
                )
                server.authorizations.append(next(filter(None, keys), ""))
                server.times.append(time.monotonic())
            reply = (
                answer(body, number)
                if self.path == path
                else failure(404, f"no such path {self.path}")
            )
            time.sleep(reply.delay)
            data = reply.body.encode()
            try:
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2] if reply.is_cut else data)
                self.close_connection = reply.is_cut
            except OSError:
                # The client was killed, or did not wait.
                self.close_connection = True

        def do_GET(self) -> None:
            data = json.dumps(
                {"object": "list", "data": [{"id": name} for name in models]}
            ).encode()
            self.send_response(200 if self.path == "/v1/models" and models else 404)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    http = _Server(("127.0.0.1", 0), Handler)
    server = ChatServer(f"http://127.0.0.1:{http.server_address[1]}/v1")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
