"""A real HTTP server on loopback that takes batches in the protocol of a provider, and misbehaves on demand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.models.endpoints.batch_dialects import OPENAI, Dialect, Request
from tests.models.endpoints.chat_server import Reply

Misbehaviour = Callable[[str, str, int], Reply | None]  # by method, path and number of the request
Answer = Callable[
    [dict[str, Any], int], Reply | None
]  # in OpenAI's protocol, to a question's body and number; None leaves it out


@dataclass(frozen=True, slots=True)
class TooLate(Reply):
    """Said in the place of the server's own words, though it did what it was asked for."""


@dataclass(slots=True)
class BatchServer:
    """What was asked. A batch is done after it was looked at `num_looks` times."""

    url: str
    answer: Answer
    misbehave: Misbehaviour
    num_looks: int = 1
    final_status: str = "completed"
    questions: list[dict[str, Any]] = field(default_factory=list)  # of all batches that were made
    bodies: list[dict[str, Any]] = field(default_factory=list)  # of these questions
    batches: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    results: dict[str, list[tuple[str, Reply]]] = field(
        default_factory=dict
    )  # of a batch: the keys of questions and their answers
    looks: dict[str, int] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    def make(self, questions: list[dict[str, Any]], key: str, body: str) -> str:
        """The id of a batch of questions, whose names for their key and their body these are."""
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
    misbehave: Misbehaviour = lambda method, path, number: None,
    dialect: Dialect = OPENAI,
) -> Iterator[BatchServer]:
    """`misbehave(method, path, number)` may answer in the place of the server, or cut its answer; `number` counts all requests from 0."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.removeprefix(dialect.prefix)
            with lock:
                number = len(server.paths)
                server.paths.append(f"{self.command} {path}")
                server.headers.append({name.lower(): value for name, value in self.headers.items()})
                reply = server.misbehave(self.command, path, number)
                if (
                    reply is None or reply.is_cut or isinstance(reply, TooLate)
                ):  # an answer that is cut has done its work
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
            except OSError:  # the client was killed, or did not wait
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
