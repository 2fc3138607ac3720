"""A loopback HTTP server that takes batches in a provider's protocol and misbehaves on demand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.models.endpoints.batch_dialects import OPENAI, Dialect, Request
from tests.models.endpoints.chat_server import Reply

# By method, path and number of the request.
Misbehavior = Callable[[str, str, int], Reply | None]
# To a question's body and number, in OpenAI's protocol; None leaves the answer out.
Answer = Callable[[dict[str, Any], int], Reply | None]


@dataclass(frozen=True, slots=True)
class TooLate(Reply):
    """Replaces the answer of a server that did what it was asked for."""


@dataclass(slots=True)
class BatchServer:
    """The requests so far. A batch ends after `num_looks` looks at it.

    `questions` and `bodies` are those of all batches; `results` are keys and answers by batch.
    """

    url: str
    answer: Answer
    misbehave: Misbehavior
    num_looks: int = 1
    final_status: str = "completed"
    questions: list[dict[str, Any]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    batches: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    results: dict[str, list[tuple[str, Reply]]] = field(default_factory=dict)
    looks: dict[str, int] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    def make(self, questions: list[dict[str, Any]], key: str, body: str) -> str:
        """The id of a new batch; `key` and `body` are the names of a question's fields."""
        id_ = f"batch_{len(self.batches)}"
        self.results[id_] = []
        for question in questions:
            reply = self.answer(question[body], len(self.questions))
            self.questions.append(question)
            self.bodies.append(question[body])
            if reply is not None:
                self.results[id_].append((question[key], reply))
        self.batches[id_], self.looks[id_] = questions, 0
        return id_

    def is_done(self, id_: str) -> bool:
        return self.looks[id_] > self.num_looks


@contextmanager
def serve_batches(
    answer: Answer,
    *,
    num_looks: int = 1,
    final_status: str = "completed",
    misbehave: Misbehavior = lambda method, path, number: None,
    dialect: Dialect = OPENAI,
) -> Iterator[BatchServer]:
    """Serve batches.

    `misbehave(method, path, number)` may replace or cut an answer; `number` counts the requests.
    """
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Without it, a small reply waits for the acknowledgment of its header.
        disable_nagle_algorithm = True

        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.removeprefix(dialect.prefix)
            with lock:
                number = len(server.paths)
                server.paths.append(f"{self.command} {path}")
                server.headers.append({name.lower(): value for name, value in self.headers.items()})
                reply = server.misbehave(self.command, path, number)
                # A request whose answer is cut did its work.
                if reply is None or reply.is_cut or isinstance(reply, TooLate):
                    done = dialect.respond(
                        server, Request(self.command, path, server.headers[-1], body)
                    )
                    reply = (
                        done
                        if reply is None
                        else replace(done, is_cut=True)
                        if reply.is_cut
                        else reply
                    )
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

        do_GET = do_POST = _do

        def log_message(self, format: str, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server = BatchServer(
        f"http://127.0.0.1:{http.server_address[1]}{dialect.url_path}",
        answer,
        misbehave,
        num_looks,
        final_status,
    )
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
