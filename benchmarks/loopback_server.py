"""A loopback chat-completions server for benchmarks: one fixed answer after a fixed delay.

    python benchmarks/loopback_server.py --delay 0.05        prints its address, then serves

It knows just enough HTTP/1.1 for clients that keep connections and send a Content-Length. The
answer fits any question of the oracle: step 0 is critical, which fits every budget of at least 1.
`GET /count` gives the number of questions so far.
"""

from __future__ import annotations

import argparse
import asyncio
import json

HEAD_END = b"\r\n\r\n"


def answer_body() -> bytes:
    answer = {
        "plan": "Go to the door, open it.",
        "critical_steps": [
            {
                "index": 0,
                "kind": "plan_creation",
                "reason": "It sets the course.",
                "confidence": 0.9,
            }
        ],
    }
    message = {"role": "assistant", "content": json.dumps(answer), "refusal": None}
    body = {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 0,
        "model": "loopback",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 1500, "completion_tokens": 60, "total_tokens": 1560},
    }
    return json.dumps(body).encode()


def reply(body: bytes) -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        % len(body)
        + body
    )


class Connection(asyncio.Protocol):
    """Questions of one kept connection, in order."""

    num_questions = 0

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._reply = reply(answer_body())
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(HEAD_END)) >= 0:
            head = bytes(self._buffer[:end]).lower()
            start = head.find(b"content-length:")
            length = int(head[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
            if len(self._buffer) < end + len(HEAD_END) + length:
                return
            del self._buffer[: end + len(HEAD_END) + length]
            if head.startswith(b"get"):
                self._transport.write(reply(b"%d" % Connection.num_questions))
            else:
                Connection.num_questions += 1
                asyncio.get_running_loop().call_later(self._delay, self._answer)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(self._reply)


async def serve(delay: float) -> None:
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(delay), "127.0.0.1", 0, backlog=4096
    )
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--delay", type=float, default=0.05, help="seconds before each answer")
    asyncio.run(serve(parser.parse_args().delay))
