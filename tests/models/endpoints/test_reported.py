"""What a server reports and sends is bounded and typed, whatever it is."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.models.base import Completion, Sampling
from atlas.models.endpoints.connections import LARGEST_ANSWER
from atlas.models.endpoints.endpoint import LONGEST_QUOTE, Censor, Endpoint
from atlas.models.endpoints.json_endpoint import within
from atlas.models.endpoints.openai_api import ChatClient, read_chat_answer
from atlas.models.endpoints.reported import LONGEST_NAME, MOST_TOKENS, read_name, read_usage
from atlas.records import Message, Usage
from tests.models.endpoints.chat_server import completion

ODD_COUNTS: list[Any] = [
    *(None, -1, 10**400, MOST_TOKENS + 1, "12", "", 1.5, 1e308, float("nan"), float("inf")),
    *(True, [], {}, [7], {"value": 7}),
]
anything = st.one_of(st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(ODD_COUNTS))


@settings(max_examples=300)
@given(sent=anything, received=anything, text=st.sampled_from(["", "hi"]))
def test_usage_is_whole_numbers_within_bounds_and_says_whether_it_is_known(
    sent: Any, received: Any, text: str
) -> None:
    usage, is_known = read_usage(sent, received, text)
    for count, given_ in ((usage.input_tokens, sent), (usage.output_tokens, received)):
        assert isinstance(count, int)
        assert 0 <= count <= MOST_TOKENS
        assert count in (0, given_)
    if is_known:
        assert usage.input_tokens > 0
        assert usage.output_tokens > 0 or (not text and received == 0)
    assert Usage.model_validate_json(usage.model_dump_json()) == usage


@pytest.mark.parametrize("usage", [*ODD_COUNTS, {"prompt_tokens": 5}, {"completion_tokens": 5}])
def test_a_server_that_reports_half_or_nonsense_is_not_believed(usage: Any) -> None:
    body = json.loads(completion("hi").body)
    body["usage"] = usage
    assert not read_chat_answer(body).is_counted
    for name in ("prompt_tokens", "completion_tokens"):
        body["usage"] = {"prompt_tokens": 5, "completion_tokens": 5, name: usage}
        assert not read_chat_answer(body).is_counted


@given(st.one_of(anything, st.text(max_size=500)))
def test_the_name_of_a_model_is_one_short_line(given_: Any) -> None:
    name = read_name(given_)
    assert name is None or (0 < len(name) <= LONGEST_NAME and "\n" not in name)


def ask(body: bytes, encoding: str | None = None, status: int = 200) -> Completion:
    """One question to a server that answers with these bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if encoding is not None:
                self.send_header("Content-Encoding", encoding)
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                return

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()

    async def run() -> Completion:
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        client = ChatClient("judge", Endpoint(base_url=url, max_retries=0))
        try:
            return await client.complete([Message(role="user", content="hi")], Sampling())
        finally:
            await client.close()

    try:
        return asyncio.run(run())
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_compressed_answer_is_bounded_after_decompression() -> None:
    bomb = gzip.compress(b" " * (40 * LARGEST_ANSWER))
    started = time.process_time()
    answer = ask(bomb, "gzip")
    assert time.process_time() - started < 3
    assert answer.finish_reason == "unread"
    assert f"more than {LARGEST_ANSWER:,} bytes" in (answer.refusal or "")
    assert not answer.is_counted
    small = gzip.compress(completion("hi").body.encode())
    assert ask(small, "gzip").text == "hi"


def test_of_a_large_error_only_the_beginning_is_read_and_quoted() -> None:
    answer = ask(b"\x1b[31mtoo long " * 1_000_000, status=400)
    assert answer.finish_reason == "rejected"
    assert len(answer.refusal or "") <= LONGEST_QUOTE


@pytest.mark.parametrize("reason", ["\ud800", {"a": "\ud800"}, "x" * 1_000_000, 5, [], "\x1b[2J"])
def test_the_reason_why_an_answer_ended_is_one_short_line(reason: Any) -> None:
    body = json.loads(completion("hi").body)
    body["choices"][0]["finish_reason"] = reason
    finish = read_chat_answer(body).finish_reason
    assert 0 < len(finish) <= LONGEST_NAME
    assert finish.isprintable()
    finish.encode()


@pytest.mark.parametrize("place", ["created", "prompt_tokens"])
def test_a_number_without_end_costs_no_answer(place: str) -> None:
    number = "7" * 5_000
    body = re.sub(rf'"{place}": \d+', f'"{place}": {number}', completion("hi").body)
    assert number in body
    answer = ask(body.encode())
    assert (answer.text, answer.is_counted) == ("hi", place == "created")


def test_unreadable_tool_calls_cost_no_answer_to_a_question_without_tools() -> None:
    for calls in ("abc", 5, True, {"a": 1}, [5], [{"id": 1}], [{"function": None}]):
        body = json.loads(completion("hi").body)
        body["choices"][0]["message"]["tool_calls"] = calls
        assert ask(json.dumps(body).encode()).text == "hi"
        with pytest.raises(ValueError, match="expected function calls"):
            read_chat_answer(body)


def test_a_quote_of_a_long_text_holds_no_part_of_a_key() -> None:
    key = "sk-0123456789abcdef"
    censor = Censor([key])
    for position in range(9_970, 10_010):
        quoted = censor.quote(" " * position + key + " " * 100_000)
        assert "sk-" not in quoted


def test_time_that_this_process_held_up_does_not_count() -> None:
    """The bytes are there before the time is over, but the event loop is blocked then."""

    async def run() -> str:
        loop = asyncio.get_running_loop()
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        loop.call_later(0.1, time.sleep, 1.0)
        try:
            answers = [within(0.5, reader.readexactly(5)), *(within(0.5, nothing()) for _ in "ab")]
            found = await asyncio.gather(*answers, return_exceptions=True)
        finally:
            writer.close()
        assert [type(one) for one in found[1:]] == [TimeoutError] * 2
        return found[0].decode()  # type: ignore[union-attr]

    async def nothing() -> None:
        await asyncio.Event().wait()

    async def both() -> str:
        nonlocal server
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            return await run()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        # It is written before the loop is blocked, and read after that.
        writer.write(b"he")
        await asyncio.sleep(0.02)
        writer.write(b"llo")
        await writer.drain()
        writer.close()

    server: Any = None
    assert asyncio.run(both()) == "hello"
