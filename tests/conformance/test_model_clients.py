"""What every client of a remote model must hold, against a loopback server that misbehaves."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from atlas.errors import EndpointError, ModelError
from atlas.models.base import Completion, ModelClient, Sampling
from atlas.models.endpoints.endpoint import Endpoint
from atlas.models.endpoints.openai_api import ChatClient
from atlas.records import Message, ToolCall, Usage
from atlas.selection.judging import oracle_prompt, rejection_prompt
from tests.models.endpoints.ask_inspect import open_inspect
from tests.models.endpoints.chat_server import HTML_PAGE, Reply, completion, failure, serve

SCHEMA = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
KEY = "sk-very-secret-0123456789"
CLIENTS: dict[str, Callable[..., ModelClient]] = {
    "openai_api": lambda url, **settings: ChatClient(
        "test-model", Endpoint(base_url=url, **settings)
    ),
    "inspect_api": open_inspect,
}

Ask = Callable[..., Completion]


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture(params=CLIENTS)
def ask(request: pytest.FixtureRequest) -> Ask:
    """The last of `times` answers from one client."""

    def ask(
        url: str,
        sampling: Sampling | None = None,
        times: int = 1,
        messages: tuple[Message, ...] | None = None,
        **settings: Any,
    ) -> Completion:
        async def run() -> Completion:
            client = CLIENTS[request.param](
                url, **{"max_retries": 2, "timeout_seconds": 5.0, **settings}
            )
            try:
                for _ in range(times):
                    answer = await client.complete(
                        messages or (Message(role="user", content="hello"),), sampling or Sampling()
                    )
                return answer
            finally:
                await client.close()

        return asyncio.run(run())

    return ask


def test_an_answer_comes_with_its_usage(ask: Ask) -> None:
    with serve(lambda body, number: completion("hi")) as server:
        assert ask(server.url) == Completion(
            text="hi",
            usage=Usage(requests=1, input_tokens=100, output_tokens=7),
            finish_reason="stop",
            model="test",
        )
    assert server.requests == [
        {
            "model": "test-model",
            "messages": [{"role": "user", "content": "hello"}],
            "temperature": 0.0,
        }
    ]


def test_a_server_may_report_no_usage(ask: Ask) -> None:
    body = json.loads(completion("hi").body)
    del body["usage"]
    reply = Reply(json.dumps(body))
    with serve(lambda body, number: reply) as server:
        assert ask(server.url).usage == Usage(requests=1)


def test_settings_that_are_none_are_left_to_the_model(ask: Ask) -> None:
    with serve(lambda body, number: completion("hi")) as server:
        ask(server.url, Sampling(temperature=None))
        ask(server.url, Sampling(temperature=0.5, max_tokens=9, seed=3))
    assert "temperature" not in server.requests[0]
    assert {key: server.requests[1][key] for key in ("temperature", "max_tokens", "seed")} == {
        "temperature": 0.5,
        "max_tokens": 9,
        "seed": 3,
    }


def test_tool_calls_and_their_answers_are_sent_in_full(ask: Ask) -> None:
    call = Message(
        role="assistant", tool_calls=(ToolCall(id="c1", name="look", arguments='{"at": "door"}'),)
    )
    with serve(lambda body, number: completion("hi")) as server:
        ask(server.url, messages=(call, Message(role="tool", content="a door", tool_call_id="c1")))
    first, second = server.requests[0]["messages"]
    assert first["tool_calls"] == [
        {
            "id": "c1",
            "type": "function",
            "function": {"name": "look", "arguments": '{"at": "door"}'},
        }
    ]
    assert second == {"role": "tool", "content": "a door", "tool_call_id": "c1"}


TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Look at a thing.",
        "parameters": {
            "type": "object",
            "properties": {"at": {"type": "string"}},
            "required": ["at"],
            "additionalProperties": False,
        },
    },
}


def test_tools_are_offered_and_the_calls_of_the_answer_come_back(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "look", "arguments": arguments}}
        for arguments in ('{"at": "door"}', json.dumps({"at": KEY}))
    ]
    with serve(lambda body, number: completion(None, tool_calls=calls)) as server:
        answer = ask(server.url, Sampling(tools=(TOOL,)))
        ask(server.url)
    asked, plain = server.requests
    assert asked["tools"][0]["function"]["parameters"] == TOOL["function"]["parameters"]
    assert asked["tools"][0]["function"]["name"] == "look"
    assert "tools" not in plain
    assert (answer.text, answer.finish_reason, answer.refusal) == ("", "tool_calls", None)
    assert answer.tool_calls == (
        ToolCall(id="c1", name="look", arguments='{"at": "door"}'),
        ToolCall(id="c1", name="look", arguments='{"at": "[key]"}'),
    )


def test_a_busy_server_is_asked_again_when_it_says(ask: Ask) -> None:
    with serve(
        lambda body, number: (
            completion("hi") if number else failure(429, "slow down", Retry_After="1")
        )
    ) as server:
        assert ask(server.url).text == "hi"
    assert server.times[1] - server.times[0] >= 0.95


def test_a_broken_server_is_asked_again(ask: Ask) -> None:
    with serve(lambda body, number: completion("hi") if number else failure(500)) as server:
        assert ask(server.url).text == "hi"
    assert len(server.requests) == 2


def test_a_server_that_stays_broken_gave_no_answer(ask: Ask) -> None:
    with (
        serve(lambda body, number: failure(503, "overloaded")) as server,
        pytest.raises(EndpointError, match="overloaded"),
    ):
        ask(server.url, max_retries=1)
    assert len(server.requests) == 2


def test_a_slow_answer_is_asked_for_again(ask: Ask) -> None:
    with serve(lambda body, number: completion("hi", delay=0.0 if number else 1.5)) as server:
        assert ask(server.url, timeout_seconds=1.0).text == "hi"
    assert len(server.requests) == 2


def test_an_answer_cut_in_the_middle_is_asked_for_again(ask: Ask) -> None:
    cut = replace(completion("hi"), is_cut=True)
    with serve(lambda body, number: completion("hi") if number else cut) as server:
        assert ask(server.url).text == "hi"
    assert len(server.requests) == 2


def test_a_large_question_is_sent_whole(ask: Ask) -> None:
    with serve(lambda body, number: completion("hi")) as server:
        ask(server.url, messages=(Message(role="user", content="x" * 2_000_000),))
    assert len(server.requests[0]["messages"][0]["content"]) == 2_000_000


def test_a_spent_account_stops_everything_though_its_status_is_that_of_a_busy_server(
    ask: Ask,
) -> None:
    body = '{"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}'
    with (
        serve(lambda _, number: Reply(body, 429)) as server,
        pytest.raises(ModelError, match="exceeded your current quota") as caught,
    ):
        ask(server.url, max_retries=1)
    assert not isinstance(caught.value, EndpointError)


def test_no_server_at_all_gave_no_answer(ask: Ask) -> None:
    with serve(lambda body, number: completion("hi")) as server:
        pass
    with pytest.raises(EndpointError, match="gave no answer"):
        ask(server.url, max_retries=0)


@pytest.mark.parametrize(
    "reply",
    [
        HTML_PAGE,
        *map(
            Reply,
            (
                "",
                "{",
                "[]",
                "{}",
                '{"choices": []}',
                '{"choices": [null]}',
                '{"choices": "x"}',
                '{"choices": 1}',
                '{"choices": {}}',
            ),
        ),
        Reply('{"choices": [{"message": null}]}'),
        Reply(
            '{"choices": [{"message": {"role": "assistant", "content": [1]}, '
            '"finish_reason": "stop"}]}'
        ),
    ],
    ids=lambda reply: reply.body[:40],
)
def test_what_is_not_a_chat_completion_is_not_an_answer(ask: Ask, reply: Reply) -> None:
    with (
        serve(lambda body, number: reply) as server,
        pytest.raises(EndpointError, match=r"Check .*the key in"),
    ):
        ask(server.url, max_retries=0)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_or_model_is_final(ask: Ask, status: int) -> None:
    with (
        serve(lambda body, number: failure(status, "not for you")) as server,
        pytest.raises(ModelError, match="not for you") as caught,
    ):
        ask(server.url)
    assert not isinstance(caught.value, EndpointError)
    assert len(server.requests) == 1


def test_a_refused_request_is_data(ask: Ask) -> None:
    with serve(lambda body, number: failure(400, "maximum context length exceeded")) as server:
        answer = ask(server.url)
    assert answer.finish_reason == "rejected"
    assert "maximum context length" in (answer.refusal or "")


def test_a_refusal_of_the_model_is_data(ask: Ask) -> None:
    with serve(lambda body, number: completion(None, refusal="I cannot help with that")) as server:
        assert ask(server.url).refusal == "I cannot help with that"
    with serve(lambda body, number: completion("", finish_reason="content_filter")) as server:
        assert ask(server.url).refusal


@pytest.mark.parametrize("schema", [oracle_prompt.ANSWER_SCHEMA, rejection_prompt.ANSWER_SCHEMA])
def test_the_schemas_that_we_ask_by_arrive_whole(ask: Ask, schema: dict[str, Any]) -> None:
    with serve(lambda body, number: completion("{}")) as server:
        ask(server.url, Sampling(response_schema=schema))
    assert server.requests[0]["response_format"]["json_schema"]["schema"] == schema


def test_the_key_comes_from_the_named_variable(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with serve(lambda body, number: completion("hi")) as server:
        ask(server.url, api_key_variable="MY_KEY")
        ask(server.url)
    assert server.authorizations == [f"Bearer {KEY}", "Bearer no-key"]


@pytest.mark.parametrize("status", [400, 401, 404, 500])
def test_a_key_that_the_endpoint_repeats_is_redacted(
    ask: Ask, status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with (
        serve(lambda body, number: failure(status, f"bad key {KEY}")) as server,
        caplog.at_level(logging.DEBUG),
    ):
        try:
            said = ask(server.url, Sampling(response_schema=SCHEMA), max_retries=1).refusal or ""
        except ModelError as error:
            said = str(error)
    assert "bad key [key]" in said
    assert KEY not in said
    assert KEY not in caplog.text


def test_a_key_in_an_answer_is_redacted(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serve(lambda body, number: completion(f"your key is {KEY}")) as server:
        assert ask(server.url).text == "your key is [key]"


@pytest.mark.parametrize("stand_in", ["x", "0", "index", "EMPTY"])
def test_a_stand_in_for_a_key_spoils_no_answer_and_is_not_part_of_an_error(
    ask: Ask, stand_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", stand_in)
    answer = json.dumps({"critical_steps": [{"index": 0, "reason": f"{stand_in} is next"}]})
    with serve(lambda body, number: completion(answer)) as server:
        assert ask(server.url).text == answer
    with serve(
        lambda body, number: failure(400, f"wrong key {stand_in}, expected 10 digits")
    ) as server:
        assert (ask(server.url).refusal or "").endswith("wrong key [key], expected 10 digits")


def test_a_slow_server_did_not_answer_in_time(ask: Ask) -> None:
    with (
        serve(lambda body, number: completion("hi", delay=1.5)) as server,
        pytest.raises(EndpointError, match="in time"),
    ):
        ask(server.url, max_retries=0, timeout_seconds=1.0)


def test_a_schema_is_asked_for_strictly(ask: Ask) -> None:
    with serve(lambda body, number: completion("{}")) as server:
        ask(server.url, Sampling(response_schema=SCHEMA))
    asked = server.requests[0]["response_format"]
    assert asked["type"] == "json_schema"
    assert {"name": "answer", "strict": True, "schema": SCHEMA}.items() <= asked[
        "json_schema"
    ].items()


def test_tools_reach_the_server_and_their_calls_come_back(ask: Ask) -> None:
    parameters = {
        "type": "object",
        "properties": {"force": {"type": "integer", "description": "how hard"}},
        "required": ["force"],
    }
    function = {"name": "push", "description": "Push the door.", "parameters": parameters}
    call = {"id": "c1", "type": "function"}
    call_of = {"name": "push", "arguments": '{"force": 3}'}
    answer = json.loads(completion(None, finish_reason="tool_calls").body)
    answer["choices"][0]["message"]["tool_calls"] = [call | {"function": call_of}]
    with serve(lambda *_: Reply(json.dumps(answer))) as server:
        said = ask(server.url, Sampling(tools=({"type": "function", "function": function},)))
    assert said.tool_calls == (ToolCall(id="c1", name="push", arguments='{"force": 3}'),)
    assert (said.text, said.refusal) == ("", None)
    sent = server.requests[0]["tools"][0]["function"]
    assert (sent["name"], sent["description"]) == ("push", "Push the door.")
    assert sent["parameters"]["properties"]["force"]["type"] == "integer"
