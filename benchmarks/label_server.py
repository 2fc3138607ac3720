"""An oracle at a loopback address that answers from labels, by the content of the question.

It shows the real path of a selection that asks a model: prompts, answers, payments, layers. A
question that shows no labeled trajectory, or only a part of one, gets an answer that cannot be
used, so a run that asked something else does not pass in silence.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from atlas.records import Trajectory
from atlas.selection.judging.oracle_prompt import ORACLE_PROMPT
from atlas.selection.judging.transcript import BEGIN

# An answer of the labels: plan and critical_steps.
Answer = dict[str, Any]
CHARS_PER_TOKEN = 4
MAX_PROMPT_CHARS = 200_000


def shown(trajectory: Trajectory) -> str:
    """What a question shows of a trajectory."""
    [question] = ORACLE_PROMPT.questions(trajectory, 1, MAX_PROMPT_CHARS)
    return transcript_of(question.messages[1].content)


def transcript_of(text: str) -> str:
    return hashlib.sha256(text[text.find(BEGIN) :].encode()).hexdigest()


def within(answer: Answer, budget: int) -> Answer:
    """The answer with the `budget` most confident of its steps."""
    steps = sorted(answer["critical_steps"], key=lambda one: (-one["confidence"], one["index"]))
    return answer | {"critical_steps": sorted(steps[:budget], key=lambda one: one["index"])}


def disturbed(answer: Answer, trajectory: Trajectory, share: float) -> Answer:
    """The answer with about this share of its steps replaced by others, drawn by a hash."""
    named = {step["index"] for step in answer["critical_steps"]}
    others = [index for index in range(len(trajectory.steps)) if index not in named]
    steps = []
    for step in answer["critical_steps"]:
        digest = hashlib.sha256(f"{trajectory.id} {step['index']}".encode()).digest()
        if others and digest[0] < 256 * share:
            step = step | {"index": others.pop(digest[1] % len(others))}
        steps.append(step)
    return answer | {"critical_steps": steps}


@contextmanager
def serve_labels(models: Mapping[str, Mapping[str, Answer]]) -> Iterator[str]:
    """Serve models, each with an answer by `shown`; gives the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Without it, a small reply waits for the acknowledgment of its header.
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = json.loads(self.rfile.read(length))
            content = body["messages"][1]["content"]
            known = models.get(body["model"], {}).get(transcript_of(content))
            budget = re.search(r"Name at most (\d+) of them", content)
            text = "This trajectory is not among the labels."
            if known is not None and budget is not None:
                text = json.dumps(within(known, int(budget[1])))
            sent = sum(len(message["content"]) for message in body["messages"])
            message = {"role": "assistant", "content": text, "refusal": None}
            usage = {
                "prompt_tokens": sent // CHARS_PER_TOKEN,
                "completion_tokens": len(text) // CHARS_PER_TOKEN,
            }
            reply = {
                "id": "chatcmpl-0",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [
                    {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
                ],
                "usage": usage | {"total_tokens": sum(usage.values())},
            }
            payload = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *arguments: Any) -> None:
            """Nothing: the questions are counted by the runs."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
