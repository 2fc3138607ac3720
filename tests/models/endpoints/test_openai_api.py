"""What only ChatClient must hold.

What every client must hold is in tests/conformance/test_model_clients.py.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest

from atlas.errors import ConfigError, DependencyError, EndpointError, ModelError
from atlas.models.base import Completion, Sampling
from atlas.models.connect import connect
from atlas.models.endpoints import connections
from atlas.models.endpoints.endpoint import Endpoint
from atlas.models.endpoints.openai_api import ChatClient
from atlas.records import Message, ToolCall, Usage
from tests.models.endpoints.chat_server import Reply, completion, failure, serve

KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "OPENAI_API_KEY",
        "http_proxy",
        "HTTP_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "no_proxy",
        "NO_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)


def ask(
    url: str,
    *messages: Message,
    model: str = "test-model",
    sampling: Sampling | None = None,
    **settings: Any,
) -> Completion:
    async def run() -> Completion:
        client = connect(
            model,
            Endpoint(base_url=url, **{"max_retries": 0, "timeout_seconds": 5.0, **settings}),
        )
        try:
            return await client.complete(
                messages or (Message(role="user", content="hello"),), sampling or Sampling()
            )
        finally:
            await client.close()

    return asyncio.run(run())


def answering(content: Any, **more: Any) -> Reply:
    return Reply(
        json.dumps(
            {
                "choices": [
                    {
                        "message": {"role": "assistant", "content": content, **more},
                        "finish_reason": "stop",
                    }
                ]
            }
        )
    )


@pytest.mark.parametrize(
    ("model", "asked_for"),
    [
        ("gpt-4o", "gpt-4o"),
        ("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"),
        ("google/gemma-3-27b-it", "google/gemma-3-27b-it"),
        ("/models/server/server", "/models/server/server"),
        ("openai-api/lab/lab-model", "lab-model"),
        ("vllm/meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"),
        ("vllm", "vllm"),
    ],
)
def test_the_name_goes_to_the_server_whole_but_for_the_prefixes_of_servers(
    model: str, asked_for: str
) -> None:
    with serve(lambda body, number: completion("hi")) as server:
        assert ask(server.url, model=model).text == "hi"
    assert server.requests[0]["model"] == asked_for


@pytest.mark.parametrize("variable", ["OPENAI_BASE_URL", "INSPECT_EVAL_MODEL_BASE_URL"])
def test_the_environment_does_not_choose_the_server(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1/v1")
    with serve(lambda body, number: completion("hi")) as server:
        assert ask(server.url).text == "hi"


def test_an_address_may_end_in_a_slash() -> None:
    with serve(lambda body, number: completion("hi")) as server:
        assert ask(f"{server.url}/").text == "hi"


def test_a_call_without_arguments_or_id_is_sent_in_a_form_that_servers_take() -> None:
    call = Message(role="assistant", tool_calls=(ToolCall(name="look", arguments=""),))
    with serve(lambda body, number: completion("hi")) as server:
        ask(server.url, call)
    assert server.requests[0]["messages"][0]["tool_calls"] == [
        {"id": "call_0", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    ]


def test_an_answer_in_parts_is_its_text_without_thoughts() -> None:
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
    ]
    with serve(lambda body, number: answering(parts)) as server:
        assert ask(server.url).text == "ab"
    with serve(lambda body, number: answering([{"type": "refusal", "refusal": "No."}])) as server:
        assert ask(server.url).refusal == "No."


def test_an_answer_without_content_is_empty() -> None:
    with serve(lambda body, number: answering(None, reasoning_content="hm")) as server:
        assert ask(server.url) == Completion(
            text="",
            usage=Usage(requests=1),
            finish_reason="stop",
            is_counted=False,
            reasoning="hm",
        )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"at":  "the \\u0064oor"}', '{"at":  "the \\u0064oor"}'),
        ("{not JSON", "{not JSON"),
        ({"at": "door"}, '{"at": "door"}'),
        (None, "{}"),
    ],
)
def test_the_arguments_of_a_call_come_back_verbatim(arguments: Any, expected: str) -> None:
    call = {"type": "function", "function": {"name": "look", "arguments": arguments}}
    with serve(lambda body, number: completion("a", tool_calls=[call])) as server:
        answer = ask(server.url)
    assert answer.text == "a"
    assert answer.tool_calls == (ToolCall(name="look", arguments=expected),)


@pytest.mark.parametrize("calls", [3, "x", [None], [{}], [{"function": None}]])
def test_tool_calls_that_are_not_calls_are_not_an_answer(calls: Any) -> None:
    with (
        serve(lambda body, number: answering("hi", tool_calls=calls)) as server,
        pytest.raises(EndpointError, match="expected function calls"),
    ):
        ask(server.url, sampling=Sampling(tools=({"type": "function", "function": {}},)))


@pytest.mark.parametrize(
    "reported", [{"prompt_tokens": -3, "completion_tokens": "x"}, [], "none", 3]
)
def test_nonsense_about_usage_counts_as_none(reported: Any) -> None:
    body = json.loads(completion("hi").body) | {"usage": reported}
    with serve(lambda _, number: Reply(json.dumps(body))) as server:
        assert ask(server.url).usage == Usage(requests=1)


def test_an_error_under_status_200_is_asked_for_again() -> None:
    error = Reply('{"error": {"message": "upstream is busy"}}')
    with serve(lambda body, number: completion("hi") if number else error) as server:
        assert ask(server.url, max_retries=1).text == "hi"
    with (
        serve(lambda body, number: error) as server,
        pytest.raises(EndpointError, match="upstream is busy"),
    ):
        ask(server.url)


def test_a_redirect_is_not_followed_and_says_where_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serve(lambda body, number: completion("hi")) as other:
        moved = Reply("moved", 307, {"Location": f"{other.url}/chat/completions"})
        with (
            serve(lambda body, number: moved) as server,
            pytest.raises(ModelError, match=f"redirects.*{other.url}") as caught,
        ):
            ask(server.url, max_retries=2)
    assert not isinstance(caught.value, EndpointError)
    assert (len(server.requests), len(other.requests)) == (1, 0)


def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LARGEST_ANSWER", 100_000)
    with serve(lambda body, number: completion("x" * 1_000_000)) as server:
        answer = ask(server.url)
    assert (answer.finish_reason, answer.is_counted) == ("unread", False)
    assert "more than 100,000 bytes" in (answer.refusal or "")
    assert len(server.requests) == 1, "another answer would be paid for, and be as long"


def test_json_nested_without_end_is_not_an_answer() -> None:
    with (
        serve(lambda body, number: Reply("[" * 200_000)) as server,
        pytest.raises(EndpointError, match="not JSON"),
    ):
        ask(server.url)


def test_a_proxy_of_the_environment_is_asked_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(
        lambda body, number: completion("from the proxy"),
        path="http://oracle.invalid/v1/chat/completions",
    ) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
        assert ask("http://oracle.invalid/v1").text == "from the proxy"
        monkeypatch.setenv("no_proxy", "oracle.invalid")
        with pytest.raises(EndpointError, match="gave no answer"):
            ask("http://oracle.invalid/v1")
    assert len(proxy.requests) == 1


@pytest.mark.parametrize(
    ("proxy", "message"),
    [
        ("me:s3cret%21@127.0.0.1:1", "InvalidURL"),
        ("http://me:s3cret%21@127.0.0.1:port", "InvalidURL"),
        ("socks5://me:s3cret%21@127.0.0.1:1", "expected http"),
    ],
)
def test_an_unusable_proxy_is_named_without_its_password(
    proxy: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(ModelError, match=message) as caught:
        ask("http://oracle.invalid/v1", max_retries=2)
    assert "s3cret" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)


def test_a_proxy_that_refuses_its_password_is_named_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # It has no CONNECT: 501, which aiohttp reports with the proxy's address.
    with serve(lambda body, number: completion("hi")) as proxy:
        monkeypatch.setenv(
            "https_proxy", proxy.url.replace("//", "//me:s3cret%21@").removesuffix("/v1")
        )
        with pytest.raises(EndpointError, match=r"501.*\[login\]@127.0.0.1") as caught:
            ask("https://oracle.invalid/v1")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://.invalid/v1", "http://127.0.0.1:99999/v1", f"http://{'a' * 100}/v1"]
)
def test_an_unusable_address_is_reported_at_once(url: str) -> None:
    with pytest.raises(ModelError, match=r"cannot be asked: (Unicode|InvalidU).*Check base_url"):
        ask(url, max_retries=5)


@pytest.mark.parametrize("key", ["sk-one\nsk-two-secret", "sk–secret"])
def test_a_key_that_cannot_be_sent_is_not_tried(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY holds characters") as caught:
        ask("http://127.0.0.1:1/v1")
    assert "secret" not in str(caught.value)


def test_what_a_server_says_can_be_shown_and_written_to_a_file() -> None:
    # A lone surrogate, and a character that moves a terminal's cursor.
    unwritable = '{"error": {"message": "no \\ud800\\u001b here"}}'
    with serve(lambda body, number: Reply(unwritable, 400 if number == 0 else 500)) as server:
        refused = ask(server.url)
        with pytest.raises(EndpointError, match=r"500 no \\ud800\\x1b here"):
            ask(server.url)
    assert refused.refusal == r"no \ud800\x1b here"


def test_a_password_in_a_netrc_is_not_sent(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with serve(lambda body, number: completion("hi")) as server:
        ask(server.url)
    assert server.authorizations == ["Bearer no-key"]


def test_hundreds_are_in_flight_at_a_time() -> None:
    async def run(url: str) -> list[Completion]:
        client = ChatClient("test-model", Endpoint(base_url=url))
        try:
            return await asyncio.gather(
                *[
                    client.complete((Message(role="user", content="hi"),), Sampling())
                    for _ in range(200)
                ]
            )
        finally:
            await client.close()

    with serve(lambda body, number: completion("hi", delay=2.0)) as server:
        assert len(asyncio.run(run(server.url))) == 200
    assert server.times[-1] - server.times[0] < 2.0


def test_a_missing_package_names_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    for module in ("openai_api", "json_endpoint", "connections", "batches.transport"):
        monkeypatch.delitem(sys.modules, f"atlas.models.endpoints.{module}", raising=False)
    with pytest.raises(DependencyError, match=r"pip install 'atlas-tuning\[endpoint\]'"):
        connect("test-model", Endpoint(base_url="http://127.0.0.1:1/v1"))


@pytest.mark.parametrize("status", [409, 425, 429, 500, 503])
def test_a_busy_server_is_asked_again(status: int) -> None:
    with serve(lambda body, number: completion("hi") if number else failure(status)) as server:
        assert ask(server.url, max_retries=1).text == "hi"


@pytest.mark.parametrize("status", [405, 406, 415, 451])
def test_what_asking_again_cannot_change_is_not_asked_again(status: int) -> None:
    with (
        serve(lambda body, number: failure(status, "not so")) as server,
        pytest.raises(EndpointError, match="not so"),
    ):
        ask(server.url, max_retries=2)
    assert len(server.requests) == 1
