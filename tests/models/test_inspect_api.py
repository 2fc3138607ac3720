from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import ConfigError, DependencyError, EndpointError, ModelError
from atlas.models.base import Completion, Sampling
from atlas.models.inspect_api import InspectClient
from atlas.records import Message, ToolCall, Usage
from atlas.selection.selectors import oracle_prompt, rejection_prompt
from tests.models.chat_server import HTML_PAGE, Reply, completion, failure, serve

SCHEMA = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI", "ANTHROPIC", "GOOGLE", "GEMINI", "AZUREAI_OPENAI", "AZURE_OPENAI"):
        for suffix in ("API_KEY", "BASE_URL"):
            monkeypatch.delenv(f"{name}_{suffix}", raising=False)


def ask(
    url: str, sampling: Sampling | None = None, times: int = 1, messages: tuple[Message, ...] | None = None, **settings: Any
) -> Completion:
    """The last of `times` answers from one client."""

    async def run() -> Completion:
        client = InspectClient("test-model", base_url=url, **{"max_retries": 2, "timeout_seconds": 5.0, **settings})
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
    body = json.loads(completion("hi").body)
    del body["usage"]
    reply = Reply(json.dumps(body))
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
    with serve(lambda body, number: completion("hi", delay=1.5)) as server, pytest.raises(EndpointError, match="in time"):
        ask(server.url, max_retries=0, timeout_seconds=0.1)  # rounded up to a second


def test_a_slow_answer_is_asked_for_again() -> None:
    with serve(lambda body, number: completion("hi", delay=0.0 if number else 1.5)) as server:
        assert ask(server.url, timeout_seconds=1.0).text == "hi"
    assert len(server.requests) == 2


def test_an_answer_cut_in_the_middle_is_asked_for_again() -> None:
    cut = replace(completion("hi"), is_cut=True)
    with serve(lambda body, number: completion("hi") if number else cut) as server:
        assert ask(server.url).text == "hi"
    assert len(server.requests) == 2


def test_a_large_question_is_sent_whole() -> None:
    with serve(lambda body, number: completion("hi")) as server:
        ask(server.url, messages=(Message(role="user", content="x" * 2_000_000),))
    assert len(server.requests[0]["messages"][0]["content"]) == 2_000_000


def test_a_spent_account_stops_everything_though_its_status_is_that_of_a_busy_server() -> None:
    body = '{"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}'
    with serve(lambda _, number: Reply(body, 429)) as server, pytest.raises(ModelError, match="exceeded your current quota") as caught:
        ask(server.url, max_retries=1)
    assert not isinstance(caught.value, EndpointError)


def test_a_redirect_is_not_followed_with_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serve(lambda body, number: completion("hi")) as other:
        moved = Reply("moved", 307, {"Location": f"{other.url}/chat/completions"})
        with serve(lambda body, number: moved) as server:
            ask(server.url)
    assert (server.authorizations, other.authorizations) == ([f"Bearer {KEY}"], [""])


@pytest.mark.parametrize(
    ("model", "asked_for"),
    [
        ("gpt-4o", "gpt-4o"),
        ("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"),
        ("google/gemma-3-27b-it", "google/gemma-3-27b-it"),
        ("/models/server/server", "/models/server/server"),
        ("openai-api/lab/lab-model", "lab-model"),
        ("vllm/meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"),
    ],
)
def test_with_an_address_the_name_goes_to_the_server_whole_but_for_the_prefixes_of_servers(model: str, asked_for: str) -> None:
    async def run(url: str) -> Completion:
        client = InspectClient(model, base_url=url, max_retries=0)
        try:
            return await client.complete((Message(role="user", content="hello"),), Sampling())
        finally:
            await client.close()

    with serve(lambda body, number: completion("hi")) as server:
        assert asyncio.run(run(server.url)).text == "hi"
    assert server.requests[0]["model"] == asked_for


@pytest.mark.parametrize("model", ["gpt-4o", "meta-llama/Llama-3.1-8B-Instruct"])
def test_a_name_without_a_known_provider_says_how_to_reach_it(model: str) -> None:
    with pytest.raises(ConfigError, match=rf"model '{model}' cannot be asked.*Expected provider/model.*base_url="):
        InspectClient(model)


@pytest.mark.parametrize(("model", "package"), [("anthropic/claude-x", "anthropic"), ("google/gemini-x", "google-genai")])
def test_a_provider_whose_package_is_missing_names_it(model: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("anthropic", "google.genai"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=f"pip install {package}"):
        InspectClient(model)


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
        "json_schema": {"name": "answer", "description": None, "strict": True, "schema": SCHEMA},
    }


@pytest.mark.parametrize("schema", [oracle_prompt.ANSWER_SCHEMA, rejection_prompt.ANSWER_SCHEMA])
def test_the_schemas_that_we_ask_by_arrive_whole(schema: dict[str, Any]) -> None:
    with serve(lambda body, number: completion("{}")) as server:
        ask(server.url, Sampling(response_schema=schema))
    assert server.requests[0]["response_format"]["json_schema"]["schema"] == schema


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


def test_without_a_key_openai_itself_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY={KEY}\n")  # inspect_ai's own commands would read it
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="No OPENAI_API_KEY"):
        InspectClient("openai/gpt-4o")
    with pytest.raises(ConfigError, match="MY_KEY is not set"):
        InspectClient("openai/gpt-4o", api_key_variable="MY_KEY")


@pytest.mark.parametrize("variable", ["OPENAI_BASE_URL", "INSPECT_EVAL_MODEL_BASE_URL"])
def test_the_environment_does_not_choose_the_endpoint(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv(variable, "http://127.0.0.1:1/v1")
    with pytest.raises(ConfigError, match=f"{variable} names another address"):
        InspectClient("openai/gpt-4o")
    with serve(lambda body, number: completion("hi")) as server:
        assert ask(server.url).text == "hi"


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


@pytest.mark.parametrize("stand_in", ["x", "0", "index", "EMPTY"])
def test_a_stand_in_for_a_key_spoils_no_answer_and_is_no_part_of_an_error(stand_in: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", stand_in)
    answer = json.dumps({"critical_steps": [{"index": 0, "reason": f"{stand_in} is next"}]})
    with serve(lambda body, number: completion(answer)) as server:
        assert ask(server.url).text == answer
    with serve(lambda body, number: failure(400, f"wrong key {stand_in}, expected 10 digits")) as server:
        assert (ask(server.url).refusal or "").endswith("wrong key [key], expected 10 digits")


def test_a_missing_package_names_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inspect_ai.model", None)
    with pytest.raises(DependencyError, match=r"pip install 'atlas-tuning\[oracle\]'"):
        InspectClient("test-model", base_url="http://127.0.0.1:1/v1")


def test_nothing_is_printed_and_no_file_is_made(tmp_path: Path) -> None:
    script = """
import asyncio, sys
from atlas.models.base import Sampling
from atlas.models.inspect_api import InspectClient
from atlas.records import Message
async def run():
    client = InspectClient("test-model", base_url=sys.argv[1], max_retries=1)
    await client.complete([Message(role="user", content="hello")], Sampling())
    await client.close()
asyncio.run(run())
"""
    places = {name: str(tmp_path) for name in ("HOME", "TMPDIR")}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")} | places
    with serve(lambda body, number: completion("hi") if number else failure(429, Retry_After="0.1")) as server:
        done = subprocess.run([sys.executable, "-c", script, server.url], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr, len(server.requests)) == (0, "", "", 2)
    assert list(tmp_path.rglob("*")) == []


def test_what_was_asked_is_not_kept() -> None:
    from inspect_ai.event import ModelEvent

    with serve(lambda body, number: completion("hi")) as server:
        ask(server.url, times=20)
    gc.collect()
    assert sum(type(thing) is ModelEvent for thing in gc.get_objects()) <= 1
