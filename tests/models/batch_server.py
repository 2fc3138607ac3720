"""A real HTTP server on loopback that speaks OpenAI's files and batches: upload, create, look, download."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.models.chat_server import Reply, failure

Answer = Callable[[dict[str, Any], int], Reply | None]  # to one question, by its body and number; None leaves it out


@dataclass(slots=True)
class BatchServer:
    """What was asked. A batch is done after it was looked at `num_looks` times."""

    url: str
    num_looks: int = 1
    questions: list[dict[str, Any]] = field(default_factory=list)  # the lines of all files of which a batch was made
    batches: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    looks: dict[str, int] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [question["body"] for question in self.questions]


@contextmanager
def serve_batches(
    answer: Answer,
    *,
    num_looks: int = 1,
    final_status: str = "completed",
    misbehave: Callable[[str, str, int], Reply | None] = lambda method, path, number: None,
) -> Iterator[BatchServer]:
    """`misbehave(method, path, number)` may answer in the place of the server, or cut its answer; `number` counts all requests from 0."""
    lock = threading.Lock()

    inputs: dict[str, str] = {}

    def state(id_: str) -> dict[str, Any]:
        is_done = server.looks[id_] > server.num_looks
        row = {"id": id_, "object": "batch", "endpoint": "/v1/chat/completions", "input_file_id": inputs[id_], "completion_window": "24h"}
        row |= {"created_at": 0, "status": final_status if is_done else "in_progress"}
        if is_done and final_status == "failed":
            return row | {
                "errors": {"object": "list", "data": [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}]}
            }
        lines = server.files.get(f"{id_}-out", b"").splitlines()
        row |= {"request_counts": {"total": len(server.batches[id_]), "completed": len(lines), "failed": 0}} if is_done else {}
        return row | ({"output_file_id": f"{id_}-out", "error_file_id": f"{id_}-err"} if is_done else {})

    def make(file: str) -> Reply:
        id_ = f"batch_{len(server.batches)}"
        inputs[id_] = file
        lines = [json.loads(line) for line in server.files[file].splitlines()]
        outputs: dict[str, list[bytes]] = {"out": [], "err": []}
        for line in lines:
            reply = answer(line["body"], len(server.questions))
            server.questions.append(line)
            if reply is not None:
                try:
                    body = json.loads(reply.body)
                except ValueError:
                    body = reply.body
                row = {"id": "r", "custom_id": line["custom_id"], "response": {"status_code": reply.status, "body": body}, "error": None}
                outputs["out" if reply.status == 200 else "err"].append(json.dumps(row).encode())
        server.batches[id_], server.looks[id_] = lines, 0
        for name, rows in outputs.items():
            server.files[f"{id_}-{name}"] = b"\n".join(rows) + b"\n"
        return Reply(json.dumps(state(id_)))

    def respond(method: str, path: str, body: bytes, content_type: str) -> Reply:
        if method == "POST" and path == "/v1/files":
            message = BytesParser().parsebytes(b"Content-Type: " + content_type.encode() + b"\n\n" + body)
            parts = {part.get_param("name", header="content-disposition"): part.get_payload(decode=True) for part in message.get_payload()}
            assert parts["purpose"] == b"batch"
            name = f"file_{len(server.files)}"
            server.files[name] = parts["file"]
            return Reply(json.dumps({"id": name, "object": "file", "bytes": 1, "created_at": 0, "filename": "f", "purpose": "batch"}))
        if method == "POST" and path == "/v1/batches":
            return make(json.loads(body)["input_file_id"])
        if method == "GET" and path.split("?")[0] == "/v1/batches":
            return Reply(json.dumps({"object": "list", "data": [state(id_) for id_ in server.batches], "has_more": False}))
        last = path.rsplit("/", 1)[-1]
        if method == "GET" and last in server.batches:
            server.looks[last] += 1
            return Reply(json.dumps(state(last)))
        if method == "GET" and path.endswith("/content") and (name := path.split("/")[3]) in server.files:
            return Reply(server.files[name].decode())
        return failure(404, f"no such path {path}")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with lock:
                number = len(server.paths)
                server.paths.append(f"{self.command} {self.path}")
                reply = misbehave(self.command, self.path, number)
                if reply is None or reply.is_cut:  # an answer that is cut has done its work
                    done = respond(self.command, self.path, body, self.headers.get("Content-Type", ""))
                    reply = done if reply is None else replace(done, is_cut=True)
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
    server = BatchServer(f"http://127.0.0.1:{http.server_address[1]}/v1", num_looks)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
