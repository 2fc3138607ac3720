"""Anthropic and Google, one question at a time, through inspect_ai: a loopback server stands in."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from atlas.errors import ConfigError, EndpointError, ModelError
from atlas.models.base import Completion, Sampling
from atlas.models.endpoints import inspect_api, retries
from atlas.models.endpoints.endpoint import Endpoint
from atlas.models.endpoints.inspect_api import InspectClient
from atlas.records import Message, Usage
from tests.models.endpoints.chat_server import HTML_PAGE, Reply, completion, failure, serve
from tests.models.endpoints.provider_answers import anthropic, anthropic_events, google, said

# google-genai inherits from a class of aiohttp, which warns about it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Inheritance class AiohttpClientSession:DeprecationWarning"
)

KEY = "sk-very-secret-0123456789"
SCHEMA = {
    "type": "object",
    "properties": {"why": {"type": "string"}},
    "required": ["why"],
    "additionalProperties": False,
}
VARIABLES = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "GOOGLE_API_KEY",
    "GEMINI_API_KEY",
    "ANTHROPIC_BASE_URL",
    "GOOGLE_BASE_URL",
)


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider's protocol.

    `whole` converts an answer from OpenAI's protocol, `pieces` converts it to a stream; `schema`
    finds a schema in a request.
    """

    model: str
    path: str
    address_variable: str
    key_variable: str
    whole: Callable[[Reply], Reply]
    pieces: Callable[[Reply], Reply]
    schema: Callable[[dict[str, Any]], Any]
    other_key_variable: str

    def answers(self, answer: Callable[[int], Reply]) -> Callable[[dict[str, Any], int], Reply]:
        """What a server answers by the number of the request, given in OpenAI's protocol."""
        return lambda body, number: (self.pieces if body.get("stream") else self.whole)(
            answer(number)
        )

    def always(self, reply: Reply) -> Callable[[dict[str, Any], int], Reply]:
        return self.answers(lambda number: reply)


ANTHROPIC = Provider(
    "anthropic/claude-test",
    "/v1/messages",
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_API_KEY",
    anthropic,
    anthropic_events,
    lambda body: body["output_format"]["schema"],
    "ANTHROPIC_AUTH_TOKEN",
)
GOOGLE = Provider(
    "google/gemini-2.5-pro",
    "/v1/models/gemini-2.5-pro:generateContent",
    "GOOGLE_BASE_URL",
    "GOOGLE_API_KEY",
    google,
    google,
    lambda body: body["generationConfig"]["responseJsonSchema"],
    "GEMINI_API_KEY",
)


@pytest.fixture(params=[ANTHROPIC, GOOGLE], ids=["anthropic", "google"])
def provider(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Provider:
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.02)
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    return request.param  # type: ignore[no-any-return]


def ask(
    provider: Provider,
    url: str,
    sampling: Sampling | None = None,
    question: str = "hello",
    variable: str | None = None,
    **settings: Any,
) -> Completion:
    async def run() -> Completion:
        variables = {
            provider.address_variable: url.removesuffix("/v1"),
            variable or provider.key_variable: KEY,
        }
        with (
            patch.dict(os.environ, variables),
            patch.object(inspect_api, "_refuse_addresses_in_the_environment"),
        ):
            endpoint = Endpoint(**{"max_retries": 2, "timeout_seconds": 5.0, **settings})
            client = InspectClient(provider.model, endpoint)
            try:
                messages = (
                    Message(role="system", content="be brief"),
                    Message(role="user", content=question),
                )
                return await client.complete(messages, sampling or Sampling())
            finally:
                await client.close()

    return asyncio.run(run())


def test_an_answer_comes_with_its_usage(provider: Provider) -> None:
    with serve(provider.always(completion("hi")), provider.path) as server:
        assert replace(ask(provider, server.url), model=None) == Completion(
            text="hi",
            usage=Usage(requests=1, input_tokens=100, output_tokens=7),
            finish_reason="stop",
        )
    assert said(server.requests[0]) == "hello"
    assert "be brief" in str(
        server.requests[0].get("system") or server.requests[0]["systemInstruction"]
    )
    assert server.authorizations[0].removeprefix("Bearer ") == KEY


def test_an_answer_that_is_cut_off_says_so(provider: Provider) -> None:
    with serve(provider.always(completion("hi", finish_reason="length")), provider.path) as server:
        assert ask(provider, server.url, Sampling(max_tokens=7)).finish_reason == "length"
    body = server.requests[0]
    assert 7 in (body.get("max_tokens"), body.get("generationConfig", {}).get("maxOutputTokens"))


def test_a_schema_is_asked_for(provider: Provider) -> None:
    with serve(provider.always(completion('{"why": "so"}')), provider.path) as server:
        assert ask(provider, server.url, Sampling(response_schema=SCHEMA)).text == '{"why": "so"}'
    asked_for = provider.schema(server.requests[0])
    # For Anthropic, inspect_ai also sets it on strings.
    asked_for["properties"]["why"].pop("additionalProperties", None)
    assert asked_for == SCHEMA


def test_a_refusal_is_data_and_is_paid_for(provider: Provider) -> None:
    with serve(
        provider.always(completion("", finish_reason="content_filter")), provider.path
    ) as server:
        answer = ask(provider, server.url)
    assert answer.refusal
    assert answer.usage == Usage(requests=1, input_tokens=100, output_tokens=7)


def test_a_prompt_that_google_blocks_is_data(monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = Reply(
        '{"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, '
        '"usageMetadata": {"promptTokenCount": 9}}'
    )
    with serve(lambda body, number: blocked, GOOGLE.path) as server:
        answer = ask(GOOGLE, server.url)
    assert "PROHIBITED_CONTENT" in (answer.refusal or "")
    assert answer.usage.input_tokens == 9


@pytest.mark.parametrize("status", [400, 413])
def test_a_refused_request_is_data(provider: Provider, status: int) -> None:
    with serve(provider.always(failure(status, "no such thing")), provider.path) as server:
        answer = ask(provider, server.url)
    assert (answer.finish_reason, len(server.requests)) == ("rejected", 1)
    assert "no such thing" in (answer.refusal or "")


@pytest.mark.parametrize(
    "said",
    [
        "prompt is too long: 300000 tokens",
        "The input token count exceeds the maximum number of tokens allowed",
    ],
)
def test_a_request_that_is_too_long_is_data(provider: Provider, said: str) -> None:
    with serve(provider.always(failure(400, said)), provider.path) as server:
        answer = ask(provider, server.url)
    assert answer == Completion(
        text="", usage=Usage(requests=1), finish_reason="rejected", refusal=answer.refusal
    )
    assert said in (answer.refusal or "")


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_or_model_is_final(provider: Provider, status: int) -> None:
    answer = provider.always(failure(status, "not for you"))
    with (
        serve(answer, provider.path) as server,
        pytest.raises(ModelError, match="not for you") as caught,
    ):
        ask(provider, server.url)
    assert not isinstance(caught.value, EndpointError)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("provider", "said"),
    [
        (GOOGLE, "API key not valid. Please pass a valid API key."),
        (ANTHROPIC, "Your credit balance is too low to access the Anthropic API."),
    ],
    indirect=["provider"],
)
def test_a_key_that_is_refused_with_the_status_of_a_bad_request_is_final(
    provider: Provider, said: str
) -> None:
    reply = provider.whole(failure(400, said))
    reason = (
        '"details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", '
        '"reason": "API_KEY_INVALID"}], "code"'
    )
    if provider is GOOGLE:
        reply = replace(reply, body=reply.body.replace('"code"', reason))
    with (
        serve(lambda body, number: reply, provider.path) as server,
        pytest.raises(ModelError, match=said[:20]) as caught,
    ):
        ask(provider, server.url)
    assert not isinstance(caught.value, EndpointError)


def test_a_busy_provider_is_asked_again_when_it_says(provider: Provider) -> None:
    def answer(number: int) -> Reply:
        return completion("hi") if number else failure(429, "slow down", Retry_After="1")

    with serve(provider.answers(answer), provider.path) as server:
        assert ask(provider, server.url).text == "hi"
    assert len(server.requests) == 2
    assert server.times[1] - server.times[0] >= 0.95


@pytest.mark.parametrize("status", [500, 503, 529])
def test_a_provider_that_stays_broken_is_asked_as_often_as_was_said(
    provider: Provider, status: int
) -> None:
    with (
        serve(provider.always(failure(status, "try later")), provider.path) as server,
        pytest.raises(EndpointError, match="try later"),
    ):
        ask(provider, server.url, max_retries=1)
    assert len(server.requests) == 2


def test_an_answer_cut_in_the_middle_is_asked_for_again(provider: Provider) -> None:
    with serve(
        provider.answers(lambda number: replace(completion("hi"), is_cut=not number)), provider.path
    ) as server:
        assert ask(provider, server.url).text == "hi"
    assert len(server.requests) == 2


def test_a_slow_provider_did_not_answer_in_time(provider: Provider) -> None:
    with (
        serve(provider.always(completion("hi", delay=1.5)), provider.path) as server,
        pytest.raises(EndpointError, match="in time"),
    ):
        ask(provider, server.url, max_retries=0, timeout_seconds=1.0)


def test_no_provider_at_all_gave_no_answer(provider: Provider) -> None:
    with serve(lambda body, number: failure(500), provider.path) as server:
        pass
    with pytest.raises(EndpointError, match="gave no answer"):
        ask(provider, server.url, max_retries=0)


@pytest.mark.parametrize(
    "reply", [HTML_PAGE, Reply("{}"), Reply("[]"), Reply("")], ids=lambda reply: reply.body[:5]
)
def test_what_is_not_an_answer_is_an_error(provider: Provider, reply: Reply) -> None:
    with serve(lambda body, number: reply, provider.path) as server, pytest.raises(EndpointError):
        ask(provider, server.url, max_retries=0)


@pytest.mark.parametrize("has_other_variable", [False, True])
@pytest.mark.parametrize("status", [400, 401, 500])
def test_a_key_that_the_provider_repeats_is_redacted(
    provider: Provider, status: int, has_other_variable: bool
) -> None:
    variable = provider.other_key_variable if has_other_variable else None
    with serve(provider.always(failure(status, f"bad key {KEY}")), provider.path) as server:
        try:
            words = ask(provider, server.url, variable=variable, max_retries=0).refusal or ""
        except ModelError as error:
            words = str(error)
    assert "bad key [key]" in words
    assert KEY not in words


@pytest.mark.parametrize(
    ("model", "variable", "value"),
    [
        ("anthropic/claude-test", "ANTHROPIC_BASE_URL", "http://127.0.0.1:1"),
        ("google/gemini-2.5-pro", "GOOGLE_BASE_URL", "http://127.0.0.1:1"),
        ("google/gemini-2.5-pro", "GOOGLE_GEMINI_BASE_URL", "http://127.0.0.1:1"),
        ("google/gemini-2.5-pro", "GOOGLE_GENAI_USE_VERTEXAI", "true"),
    ],
)
def test_the_environment_does_not_choose_who_is_asked(
    model: str, variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=variable):
        InspectClient(model, Endpoint())


def test_a_token_in_the_environment_does_not_take_the_place_of_the_key_that_was_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "another")
    with pytest.raises(ConfigError, match="ANTHROPIC_AUTH_TOKEN would replace the key in MY_KEY"):
        InspectClient("anthropic/claude-test", Endpoint(api_key_variable="MY_KEY"))


def test_nothing_is_printed_and_no_file_is_made(
    provider: Provider, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    places = {name: str(tmp_path) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_DATA_HOME")}
    with (
        serve(provider.always(completion("hi")), provider.path) as server,
        patch.dict(os.environ, places),
    ):
        ask(provider, server.url)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.rglob("*")) == []
