"""A server with the chat completions protocol as a program, for `player.command`.

    python small_server.py --port 8000 --name tuned --notes FOLDER [--dies-after 5] [--silent]
        [--loads SECONDS] [--daemon] [--drips]

It answers with the number of messages and the last one. In FOLDER, it leaves a file for each of its
processes, and its arguments. Like real servers, it starts a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
parser.add_argument("--name")
parser.add_argument("--notes", type=Path)
parser.add_argument("--answer")
parser.add_argument("--dies-after", type=int)
parser.add_argument("--silent", action="store_true")
parser.add_argument("--loads", type=float, default=0.0)
parser.add_argument("--daemon", action="store_true")
parser.add_argument("--drips", action="store_true")
parser.add_argument("--chat-template", type=Path)
given, _ = parser.parse_known_args()
answered = 0
started = time.monotonic()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.reply({"data": [{"id": given.name}]})

    def do_POST(self) -> None:
        global answered
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if time.monotonic() - started < given.loads:
            self.send_error(503)
            return
        with (given.notes / "keys").open("a") as keys:
            keys.write(f"{self.headers.get('Authorization')}\n")
        answered += 1
        if given.dies_after is not None and answered > given.dies_after:
            print("out of memory \x1b[31m", flush=True)
            os._exit(3)
        last = body["messages"][-1]["content"]
        text = given.answer or f"{len(body['messages'])} {last}"
        text = text[: body["max_tokens"]] if body["max_tokens"] == 1 else text
        choice = {"index": 0, "finish_reason": "stop"}
        choice["message"] = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": 9, "completion_tokens": body["max_tokens"], "total_tokens": 9}
        self.reply({"id": "1", "model": body["model"], "choices": [choice], "usage": usage})

    def reply(self, value: Any) -> None:
        sent = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        while given.drips:
            self.wfile.write(b" ")
            time.sleep(0.1)
        self.wfile.write(sent)

    def log_message(self, *_: Any) -> None:
        pass


if given.daemon and os.fork():
    os._exit(0)
helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
(given.notes / f"{os.getpid()}.json").write_text(json.dumps(sys.argv[1:]))
(given.notes / f"{helper.pid}.helper").touch()
if given.chat_template is not None:
    (given.notes / "template").write_text(given.chat_template.read_text())
print("loading the weights", flush=True)
if given.silent:
    time.sleep(600)
ThreadingHTTPServer(("127.0.0.1", given.port), Handler).serve_forever()
