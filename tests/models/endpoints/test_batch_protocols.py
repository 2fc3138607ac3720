"""What differs between the providers' batches: endpoints, headers, errors, answers without keys."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import EndpointError, ModelError
from atlas.models.base import Completion
from atlas.models.endpoints.batches import openai
from atlas.models.endpoints.batches.anthropic import AnthropicBatches
from atlas.models.endpoints.batches.batch_requests import BatchRequests
from atlas.models.endpoints.batches.google import GoogleBatches
from atlas.models.endpoints.batches.openai import OpenAIBatches
from atlas.models.endpoints.batches.protocol import read_answers, read_status
from atlas.models.endpoints.endpoint import Endpoint
from atlas.models.endpoints.http_error import HttpError
from tests.models.endpoints.batch_asking import ask, echo, interrupt, serve_batches, texts
from tests.models.endpoints.batch_dialects import (
    ANTHROPIC,
    AZURE_V1,
    GOOGLE,
    OPENAI,
    Dialect,
    Request,
)
from tests.models.endpoints.batch_server import BatchServer, Misbehavior, TooLate
from tests.models.endpoints.chat_server import Reply, failure

# OpenAI itself, not a server with its protocol.
PROVIDER = replace(OPENAI, address_variable="OPENAI_BASE_URL")


pytestmark = pytest.mark.usefixtures("own_providers")


@pytest.mark.parametrize(
    ("kind", "url", "base", "group"),
    [
        (
            OpenAIBatches,
            "https://api.openai.com/v1/chat/completions",
            "https://api.openai.com/v1",
            "/v1/chat/completions",
        ),
        (
            OpenAIBatches,
            "https://api.openai.com/v1/responses",
            "https://api.openai.com/v1",
            "/v1/responses",
        ),
        (
            OpenAIBatches,
            "https://api.groq.com/openai/v1/chat/completions",
            "https://api.groq.com/openai/v1",
            "/v1/chat/completions",
        ),
        (
            OpenAIBatches,
            "http://127.0.0.1/chat/completions",
            "http://127.0.0.1",
            "/v1/chat/completions",
        ),
        (
            OpenAIBatches,
            "https://r.openai.azure.com/openai/v1/responses",
            "https://r.openai.azure.com/openai/v1",
            "/v1/responses",
        ),
        (
            OpenAIBatches,
            "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=2025-03-01-preview",
            "https://r.openai.azure.com/openai",
            "/chat/completions",
        ),
        (
            AnthropicBatches,
            "https://api.anthropic.com/v1/messages",
            "https://api.anthropic.com",
            "/v1/messages",
        ),
        (
            GoogleBatches,
            "https://g.com/v1beta/models/m-1:generateContent",
            "https://g.com/v1beta",
            "models/m-1",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_address_of_batches_is_read_off_a_question(
    kind: Any, url: str, base: str, group: str
) -> None:
    protocol = kind(BatchRequests(Endpoint()))
    route = protocol.route(url, {})
    assert (route.base, route.group) == (base, group)
    assert route.query == ("api-version=2025-03-01-preview" if "api-version" in url else "")
    with pytest.raises(ValueError, match="does not take batches, expected an address"):
        protocol.route("https://api.x.com/v1/embeddings", {})


@pytest.mark.parametrize(
    ("model", "endpoint"),
    [("openai/gpt-4o", "/v1/chat/completions"), ("openai/gpt-5", "/v1/responses")],
)
def test_openai_itself_is_asked_at_the_endpoint_of_its_model(
    model: str, endpoint: str, tmp_path: Path
) -> None:
    dialect = replace(PROVIDER, model=model)
    with serve_batches(dialect, lambda body, number: failure(400, "not today")) as server:
        for _ in range(2):
            [answer] = ask(dialect, server.url, tmp_path, ["a"], temperature=None)
            assert isinstance(answer, Completion)
            assert "not today" in (answer.refusal or "")
    assert server.questions[0].keys() == {"custom_id", "method", "url", "body"}
    assert {(question["method"], question["url"]) for question in server.questions} == {
        ("POST", endpoint)
    }
    assert server.bodies[0]["model"] == model.removeprefix("openai/")
    assert server.questions[0] == server.questions[1], (
        "the same question has the same key, or no batch would be found again"
    )
    assert len(server.questions) == 2, "inspect_ai adds no question"


def test_azure_names_the_endpoint_of_a_batch_differently_from_its_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai, "AZURE_HOSTS", ("127.0.0.1",))
    with serve_batches(AZURE_V1, echo) as server:
        assert texts(ask(AZURE_V1, server.url, tmp_path, ["a"])) == ["you said a"]
    assert server.bodies[0]["model"] == "gpt-4o", "the name of the deployment"


def lose_the_id(dialect: Dialect, tmp_path: Path, meanwhile: int) -> tuple[list[Any], int]:
    """The answers to two questions, and the number of batches.

    Meanwhile, others make as large batches.
    """
    lost: list[str] = []

    def misbehave(method: str, path: str, number: int) -> Reply | None:
        if (method, path) != ("POST", dialect.made) or lost:
            return None
        lost.append(path)
        for _ in range(meanwhile):
            server.make(
                [{"custom_id": "theirs-1", "params": {"messages": [{"content": "x"}]}}] * 2,
                "custom_id",
                "params",
            )
        return TooLate("{}", 500)

    with serve_batches(dialect, echo, misbehave=misbehave) as server:
        answers = ask(dialect, server.url, tmp_path, ["a", "b"])
        return answers, len(server.batches)


def test_a_batch_without_a_name_is_not_adopted_when_it_may_be_another_ones(
    tmp_path: Path,
) -> None:
    assert lose_the_id(ANTHROPIC, tmp_path / "only", 0)[1] == 1
    answers, num_batches = lose_the_id(ANTHROPIC, tmp_path / "crowded", 1)
    assert {type(answer) for answer in answers} == {EndpointError}
    assert "it may be any of batch_1, batch_0, and nothing shows which one" in str(answers[0])
    assert num_batches == 2, "nor is it paid for again"


def test_a_beta_feature_is_asked_for_in_the_header_of_the_batch(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    with serve_batches(ANTHROPIC, echo) as server:
        ask(ANTHROPIC, server.url, tmp_path, ["a"], response_schema=schema)
        ask(ANTHROPIC, server.url, tmp_path, ["a"])
    made = [
        headers
        for headers, path in zip(server.headers, server.paths, strict=True)
        if path == "POST /v1/messages/batches"
    ]
    assert ["structured-outputs" in headers.get("anthropic-beta", "") for headers in made] == [
        True,
        False,
    ]
    assert all(not body.get("stream") for body in server.bodies), "a batch answers in one piece"


def test_results_that_are_no_longer_kept_are_asked_for_again(tmp_path: Path) -> None:
    def archived(method: str, path: str, number: int) -> Reply | None:
        if (method, path) != ("GET", "/v1/messages/batches/batch_0"):
            return None
        return Reply(
            json.dumps({"id": "batch_0", "processing_status": "ended", "results_url": None})
        )

    with serve_batches(ANTHROPIC, echo, num_looks=1_000) as server:
        interrupt(ANTHROPIC, server, tmp_path, ["a"])
        server.misbehave, server.num_looks = archived, 0
        assert texts(ask(ANTHROPIC, server.url, tmp_path, ["a"])) == ["you said a"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("invalid_request_error", None),
        ("authentication_error", ModelError),
        ("billing_error", ModelError),
        ("permission_error", ModelError),
        ("not_found_error", ModelError),
        ("request_too_large", None),
        ("rate_limit_error", EndpointError),
        ("timeout_error", EndpointError),
        ("overloaded_error", EndpointError),
        ("api_error", EndpointError),
        ("an error of tomorrow", EndpointError),
    ],
)
def test_an_error_in_a_batch_means_what_it_means_without_one(
    kind: str, error: type[Exception] | None, tmp_path: Path
) -> None:
    def results(method: str, path: str, number: int) -> Reply | None:
        if not path.endswith("/results"):
            return None
        key = server.questions[-1]["custom_id"]
        said = {
            "type": "error",
            "error": {"type": kind, "message": "so it is"},
            "request_id": "req_1",
        }
        return Reply(json.dumps({"custom_id": key, "result": {"type": "errored", "error": said}}))

    with serve_batches(ANTHROPIC, echo, misbehave=results) as server:
        [answer] = ask(ANTHROPIC, server.url, tmp_path, ["a"], settings={"max_retries": 0})
    if error is None:
        assert isinstance(answer, Completion)
        assert "so it is" in (answer.refusal or "")
    else:
        assert type(answer) is error
        assert ("so it is" if kind != "timeout_error" else "in time") in str(answer)


def in_the_batch_itself(
    server: BatchServer, rows: Callable[[list[str]], list[dict[str, Any]]]
) -> Misbehavior:
    """Makes Google answer in the batch and not in a file, with the rows for these keys."""

    def misbehave(method: str, path: str, number: int) -> Reply | None:
        id_ = path.rsplit("/", 1)[1]
        if method == "POST" or id_ not in server.batches:
            return None
        state = json.loads(GOOGLE.respond(server, Request(method, path, {}, b"")).body)
        if "response" in state:
            keys = [question["key"] for question in server.batches[id_]]
            state["response"] = {"inlinedResponses": {"inlinedResponses": rows(keys)}}
        return Reply(json.dumps(state))

    return misbehave


@pytest.mark.parametrize("has_keys", [True, False])
def test_answers_in_a_batch_of_google_count_only_by_their_keys(
    has_keys: bool, tmp_path: Path
) -> None:
    def rows(keys: list[str]) -> list[dict[str, Any]]:
        found = []
        for number, key in enumerate(keys):
            content = {"parts": [{"text": f"answer {number}"}], "role": "model"}
            found.append(
                {"response": {"candidates": [{"content": content, "finishReason": "STOP"}]}}
            )
            if has_keys:
                found[-1]["metadata"] = {"key": key}
        return found[::-1]

    with serve_batches(GOOGLE, echo, num_looks=0) as server:
        server.misbehave = in_the_batch_itself(server, rows)
        answers = ask(GOOGLE, server.url, tmp_path, ["a", "b"])
    if has_keys:
        assert sorted(texts(answers)) == ["answer 0", "answer 1"]
    else:
        assert {type(answer) for answer in answers} == {EndpointError}
        assert "may be lost" in str(answers[0])


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (3, None),
        (400, None),
        (16, ModelError),
        (7, ModelError),
        (8, EndpointError),
        (13, EndpointError),
        (99, EndpointError),
    ],
)
def test_an_error_code_of_google_is_read_as_grpc_has_it(
    code: int, error: type[Exception] | None, tmp_path: Path
) -> None:
    with serve_batches(GOOGLE, echo, num_looks=0) as server:
        server.misbehave = in_the_batch_itself(
            server,
            lambda keys: [
                {"metadata": {"key": key}, "error": {"code": code, "message": "so it is"}}
                for key in keys
            ],
        )
        [answer] = ask(GOOGLE, server.url, tmp_path, ["a"], settings={"max_retries": 0})
    if error is None:
        assert isinstance(answer, Completion)
        assert "so it is" in (answer.refusal or "")
    else:
        assert type(answer) is error


def test_unreadable_lines_in_a_file_of_answers_tear_the_batch() -> None:
    def read(row: Any) -> tuple[str, tuple[int, Any]]:
        status = row["status"]
        return row["key"], (int(status) if isinstance(status, float) else status, row)

    whole = b'{"key": "a", "status": 200}'
    unreadable = [
        b"{",
        b"[]",
        b'{"status": 200}',
        b'{"key": "b", "status": 0}',
        b'{"key": "c", "status": "200"}',
        b'{"key": "d", "status": Infinity}',
        b'{"key": "e", "status": NaN}',
        b'{"key": "f", "status": ' + b"9" * 5_000 + b"}",
    ]
    for line in unreadable:
        batch = read_answers([whole + b"\n\n" + line], read, "ended", [1])
        assert (list(batch.answers), batch.is_torn) == (["a"], True)
    assert not read_answers([whole + b"\n\n"], read, "ended", [1]).is_torn
    assert read_answers([whole], read, "ended", [1, 1]).is_torn
    for odd in (None, "x", float("inf"), 10**400, [3], {}, -1, True):
        assert not read_answers([whole], read, "ended", [odd, 1]).is_torn


@pytest.mark.parametrize("state", [{}, {"status": None}, {"status": 5}, {"status": ["ended"]}])
def test_a_batch_without_a_status_is_not_waited_for(state: dict[str, Any]) -> None:
    with pytest.raises(HttpError, match="expected a word"):
        read_status(state, "status")
