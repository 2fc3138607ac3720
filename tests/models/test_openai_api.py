from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import pytest

from atlas.errors import ConfigError, DependencyError, EndpointError, ModelError
from atlas.models.base import Completion, Sampling
from atlas.models.openai_api import OpenAIClient
from atlas.records import Message, ToolCall, Usage
from tests.models.chat_server import HTML_PAGE, Reply, completion, failure, serve

SCHEMA = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def ask(
    url: str, sampling: Sampling | None = None, times: int = 1, messages: tuple[Message, ...] | None = None, **settings: Any
) -> Completion:
    """The last of `times` answers from one client."""

    async def run() -> Completion:
        client = OpenAIClient("test-model", base_url=url, **{"max_retries": 2, "timeout_seconds": 5.0, **settings})
        try:
            for _ in range(times):
                answer = await client.complete(messages or (Message(role="user", content="hello"),), sampling or Sampling())
            return answer
        finally:
            await client.close()

    return asyncio.run(run())


def test_an_answer_comes_with_its_usage() -> None:
    with serve(lambda body, number: completion("hi")) as server:
        assert ask(server.url) == Completion(text="hi", usage=Usage(requests=1, input_tokens=100, output_tokens=7), finish_reason="stop")
    assert server.requests == [{"model": "test-model", "messages": [{"role": "user", "content": "hello"}], "temperature": 0.0}]


def test_a_server_may_keep_silent_about_usage() -> None:
    reply = Reply('{"choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}], "usage": "free"}')
    with serve(lambda body, number: reply) as server:
        assert ask(server.url).usage == Usage(requests=1)


def test_settings_that_are_none_are_left_to_the_model() -> None:
    with serve(lambda body, number: completion("hi")) as server:
        ask(server.url, Sampling(temperature=None))
        ask(server.url, Sampling(temperature=0.5, max_tokens=9, seed=3))
    assert "temperature" not in server.requests[0]
    assert {key: server.requests[1][key] for key in ("temperature", "max_tokens", "seed")} == {
        "temperature": 0.5,
        "max_tokens": 9,
        "seed": 3,
    }


def test_tool_calls_and_their_answers_are_sent_in_full() -> None:
    call = Message(role="assistant", tool_calls=(ToolCall(id="c1", name="look", arguments='{"at": "door"}'),))
    with serve(lambda body, number: completion("hi")) as server:
        ask(server.url, messages=(call, Message(role="tool", content="a door", tool_call_id="c1")))
    first, second = server.requests[0]["messages"]
    assert first["tool_calls"] == [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "door"}'}}]
    assert second == {"role": "tool", "content": "a door", "tool_call_id": "c1"}


def test_a_busy_server_is_asked_again_when_it_says() -> None:
    with serve(lambda body, number: completion("hi") if number else failure(429, "slow down", Retry_After="1")) as server:
        assert ask(server.url).text == "hi"
    assert server.times[1] - server.times[0] >= 0.95


def test_a_broken_server_is_asked_again() -> None:
    with serve(lambda body, number: completion("hi") if number else failure(500)) as server:
        assert ask(server.url).text == "hi"
    assert len(server.requests) == 2


def test_a_server_that_stays_broken_gave_no_answer() -> None:
    with serve(lambda body, number: failure(503, "overloaded")) as server, pytest.raises(EndpointError, match="overloaded"):
        ask(server.url, max_retries=1)
    assert len(server.requests) == 2


def test_a_slow_server_did_not_answer_in_time() -> None:
    with serve(lambda body, number: completion("hi", delay=0.5)) as server, pytest.raises(EndpointError, match="in time"):
        ask(server.url, max_retries=0, timeout_seconds=0.1)


def test_no_server_at_all_gave_no_answer() -> None:
    with serve(lambda body, number: completion("hi")) as server:
        pass
    with pytest.raises(EndpointError, match="gave no answer"):
        ask(server.url, max_retries=0)


@pytest.mark.parametrize(
    "reply",
    [
        HTML_PAGE,
        *map(
            Reply, ("", "{", "[]", "{}", '{"choices": []}', '{"choices": [null]}', '{"choices": "x"}', '{"choices": 1}', '{"choices": {}}')
        ),
        Reply('{"choices": [{"message": null}]}'),
        Reply('{"choices": [{"message": {"role": "assistant", "content": [1]}, "finish_reason": "stop"}]}'),
    ],
    ids=lambda reply: reply.body[:40],
)
def test_what_is_no_chat_completion_is_no_answer(reply: Reply) -> None:
    with serve(lambda body, number: reply) as server, pytest.raises(EndpointError, match="Check base_url"):
        ask(server.url, max_retries=0)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_or_model_is_final(status: int) -> None:
    with serve(lambda body, number: failure(status, "not for you")) as server, pytest.raises(ModelError, match="not for you") as caught:
        ask(server.url)
    assert not isinstance(caught.value, EndpointError)
    assert len(server.requests) == 1


def test_a_refused_request_is_data() -> None:
    with serve(lambda body, number: failure(400, "maximum context length exceeded")) as server:
        answer = ask(server.url)
    assert answer.finish_reason == "rejected"
    assert "maximum context length" in (answer.refusal or "")


def test_a_refusal_of_the_model_is_data() -> None:
    with serve(lambda body, number: completion(None, refusal="I cannot help with that")) as server:
        assert ask(server.url).refusal == "I cannot help with that"
    with serve(lambda body, number: completion("", finish_reason="content_filter")) as server:
        assert ask(server.url).refusal


def test_a_schema_is_asked_for_strictly() -> None:
    with serve(lambda body, number: completion("{}")) as server:
        ask(server.url, Sampling(response_schema=SCHEMA))
    assert server.requests[0]["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA},
    }


def test_a_server_without_schemas_is_asked_without_from_then_on(caplog: pytest.LogCaptureFixture) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return failure(400, "response_format is not supported") if "response_format" in body else completion("{}")

    with serve(answer) as server, caplog.at_level(logging.WARNING):
        assert ask(server.url, Sampling(response_schema=SCHEMA), times=3).text == "{}"
    assert ["response_format" in body for body in server.requests] == [True, False, False, False]
    assert [record.message for record in caplog.records if "refuses JSON schemas" in record.message] == [caplog.records[0].message]


def test_a_request_refused_for_another_reason_does_not_give_up_schemas() -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return failure(400, "too long") if number < 2 else completion("{}")

    with serve(answer) as server:
        assert ask(server.url, Sampling(response_schema=SCHEMA), times=2).text == "{}"
    assert ["response_format" in body for body in server.requests] == [True, False, True]


def test_the_key_comes_from_the_named_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with serve(lambda body, number: completion("hi")) as server:
        ask(server.url, api_key_variable="MY_KEY")
        ask(server.url)
    assert server.authorizations == [f"Bearer {KEY}", "Bearer no-key"]


def test_without_a_key_openai_itself_is_not_asked() -> None:
    with pytest.raises(ConfigError, match="OPENAI_API_KEY is not set"):
        OpenAIClient("test-model")


def test_the_environment_does_not_choose_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert str(OpenAIClient("test-model")._client.base_url) == "https://api.openai.com/v1/"


@pytest.mark.parametrize("status", [400, 401, 404, 500])
def test_a_key_that_the_endpoint_repeats_is_struck_out(
    status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serve(lambda body, number: failure(status, f"bad key {KEY}")) as server, caplog.at_level(logging.DEBUG):
        try:
            said = ask(server.url, Sampling(response_schema=SCHEMA), max_retries=1).refusal or ""
        except ModelError as error:
            said = str(error)
    assert "bad key [key]" in said
    assert KEY not in said
    assert KEY not in caplog.text


def test_a_key_in_an_answer_is_struck_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serve(lambda body, number: completion(f"your key is {KEY}")) as server:
        assert ask(server.url).text == "your key is [key]"


def test_a_missing_sdk_names_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(DependencyError, match=r"pip install 'atlas-tuning\[oracle\]'"):
        OpenAIClient("test-model", base_url="http://127.0.0.1:1/v1")
