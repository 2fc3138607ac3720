"""Questions in the batches of every provider: the answers of single questions, paid for once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import EndpointError, ModelError
from atlas.models.base import Completion
from atlas.records import Usage
from tests.models.endpoints.batch_asking import (
    KEY,
    ask,
    asked,
    echo,
    interrupt,
    serve_batches,
    texts,
)
from tests.models.endpoints.batch_dialects import OPENAI, Dialect
from tests.models.endpoints.batch_server import TooLate
from tests.models.endpoints.chat_server import Reply, completion, failure
from tests.models.endpoints.provider_answers import said

pytestmark = pytest.mark.usefixtures("own_providers")


def test_many_questions_are_one_batch_and_each_gets_its_own_answer(
    dialect: Dialect, tmp_path: Path
) -> None:
    questions = [f"question {number}" for number in range(20)]
    with serve_batches(dialect, echo, num_looks=2) as server:
        answers = ask(dialect, server.url, tmp_path, questions)
    assert texts(answers) == [f"you said {question}" for question in questions]
    assert all(
        isinstance(answer, Completion)
        and answer.usage == Usage(requests=1, input_tokens=100, output_tokens=7)
        for answer in answers
    )
    assert len(server.batches) == 1
    assert sorted(asked(server)) == sorted(questions)
    assert list(tmp_path.iterdir()) == [], "nothing is left to wait for"


def test_a_batch_holds_at_most_its_size_and_the_same_question_once(
    dialect: Dialect, tmp_path: Path
) -> None:
    with serve_batches(dialect, echo) as server:
        answers = ask(dialect, server.url, tmp_path, ["a", "b", "a", "c", "d", "e"], size=2)
    assert texts(answers) == [f"you said {letter}" for letter in "abacde"]
    assert sorted(len(lines) for lines in server.batches.values()) == [1, 2, 2]


def test_a_batch_is_no_larger_than_the_provider_takes(
    dialect: Dialect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for protocol in ("openai.OpenAIBatches", "anthropic.AnthropicBatches", "google.GoogleBatches"):
        monkeypatch.setattr(f"atlas.models.endpoints.batches.{protocol}.largest_batch", 5_000)
    questions = [letter * 3_000 for letter in "abc"]
    with serve_batches(dialect, echo) as server:
        assert texts(ask(dialect, server.url, tmp_path, questions)) == [
            f"you said {question}" for question in questions
        ]
    assert len(server.batches) == 3


def test_one_bad_question_costs_no_other(dialect: Dialect, tmp_path: Path) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply | None:
        wrong = {
            "refused": completion("", finish_reason="content_filter"),
            "bad": failure(400, "no such parameter"),
            "lost": None,
            "broken": failure(500, "try later") if number < 9 else echo(body, number),
            "html": Reply("<html>"),
        }
        return wrong[said(body)] if said(body) in wrong else echo(body, number)

    with serve_batches(dialect, answer) as server:
        fine, refused, bad, lost, broken, html = ask(
            dialect,
            server.url,
            tmp_path,
            ["fine", "refused", "bad", "lost", "broken", "html"],
            settings={"max_retries": 1},
        )
    assert isinstance(fine, Completion)
    assert fine.text == "you said fine"
    assert isinstance(refused, Completion)
    assert refused.refusal
    assert isinstance(bad, Completion)
    assert "no such parameter" in (bad.refusal or "")
    assert isinstance(lost, EndpointError)
    assert "without this answer" in str(lost)
    assert isinstance(html, EndpointError)
    assert isinstance(broken, EndpointError)
    assert "try later" in str(broken)
    assert asked(server).count("broken") == 2, "asked again in another batch"


def test_an_answer_that_only_json_can_hold_is_an_answer(tmp_path: Path) -> None:
    def odd(body: dict[str, Any], number: int) -> Reply:
        answer = json.loads(completion("half of a \ud83d").body)
        answer["choices"][0]["logprobs"] = float("nan")
        return Reply(json.dumps(answer))

    with serve_batches(OPENAI, odd) as server:
        assert texts(ask(OPENAI, server.url, tmp_path, ["a"])) == ["half of a \ud83d"]


def test_an_unusable_proxy_is_reported_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "ftp://me:s3cret@127.0.0.1:1")
    # An address for documentation (RFC 5737): a server on this machine needs no proxy.
    [answer] = ask(OPENAI, "http://192.0.2.1:1/v1", tmp_path, ["a"])
    assert type(answer) is ModelError
    assert "the proxy ftp://[login]@127.0.0.1:1 is not supported" in str(answer)
    assert "s3cret" not in str(answer)
    assert list(tmp_path.iterdir()) == []


def test_a_busy_answer_to_one_question_is_asked_for_again(dialect: Dialect, tmp_path: Path) -> None:
    with serve_batches(
        dialect,
        lambda body, number: failure(429, "slow down") if number == 0 else echo(body, number),
    ) as server:
        assert texts(ask(dialect, server.url, tmp_path, ["a", "b"])) == ["you said a", "you said b"]
    assert sorted(asked(server)) in (["a", "a", "b"], ["a", "b", "b"])


SCHEMA = {
    "type": "object",
    "properties": {"number": {"type": "integer"}},
    "required": ["number"],
    "additionalProperties": False,
}
SCHEMA_AT = {
    "openai": lambda body: body["response_format"]["json_schema"]["schema"],
    "azure": lambda body: body["response_format"]["json_schema"]["schema"],
    "anthropic": lambda body: body["output_format"]["schema"],
    "google": lambda body: body["generationConfig"]["responseJsonSchema"],
}


def test_a_schema_arrives_and_a_provider_without_schemas_is_asked_again_in_words(
    dialect: Dialect, tmp_path: Path
) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return failure(400, "no schemas here") if number < 2 else echo(body, number)

    with serve_batches(dialect, answer) as server:
        assert texts(ask(dialect, server.url, tmp_path, ["a", "b"], response_schema=SCHEMA)) == [
            "you said a",
            "you said b",
        ]
    asked_for = SCHEMA_AT[dialect.name](server.bodies[0])
    # For Anthropic, inspect_ai also sets it on integers.
    asked_for["properties"]["number"].pop("additionalProperties", None)
    assert asked_for == SCHEMA
    assert "number" not in json.dumps(server.bodies[2:])
    assert len(server.batches) == 2


@pytest.mark.parametrize(
    "reply",
    [failure(429, Retry_After="0"), failure(500), Reply("{", is_cut=True)],
    ids=["busy", "broken", "cut"],
)
def test_every_act_is_tried_again(dialect: Dialect, reply: Reply, tmp_path: Path) -> None:
    for act in dialect.acts:
        failed: list[tuple[str, str]] = []

        def misbehave(
            method: str,
            path: str,
            number: int,
            act: tuple[str, str] = act,
            failed: list[Any] = failed,
        ) -> Reply | None:
            if (method, path.split("?")[0]) == act and not failed:
                failed.append(act)
                return reply
            return None

        with serve_batches(dialect, echo, misbehave=misbehave) as server:
            assert texts(ask(dialect, server.url, tmp_path, ["a"])) == ["you said a"]
        assert failed == [act]
        assert len(server.batches) == 1, act


def test_a_busy_provider_says_when_to_try_again(dialect: Dialect, tmp_path: Path) -> None:
    busy = failure(429, Retry_After="0.01")
    with serve_batches(
        dialect, echo, misbehave=lambda method, path, number: busy if number < 8 else None
    ) as server:
        assert texts(ask(dialect, server.url, tmp_path, ["a"], settings={"max_retries": 10})) == [
            "you said a"
        ]
    assert len(server.batches) == 1


@pytest.mark.parametrize("max_retries", [0, 2])
@pytest.mark.parametrize("word", [failure(500), Reply("<html>Bad gateway")], ids=["broken", "html"])
def test_a_batch_whose_id_was_lost_is_found(
    dialect: Dialect, word: Reply, max_retries: int, tmp_path: Path
) -> None:
    lost: list[str] = []

    def misbehave(method: str, path: str, number: int) -> Reply | None:
        if (method, path.split("?")[0]) == ("POST", dialect.made) and not lost:
            lost.append(path)
            return TooLate(word.body, word.status, word.headers)
        return None

    with serve_batches(dialect, echo, misbehave=misbehave) as server:
        ask(dialect, server.url, tmp_path, ["before"], settings={"max_retries": 2})
        lost.clear()
        assert texts(
            ask(dialect, server.url, tmp_path, ["a", "b"], settings={"max_retries": max_retries})
        ) == ["you said a", "you said b"]
    assert len(server.batches) == 2


def test_a_provider_without_batches_stops_the_run_with_its_error(
    dialect: Dialect, tmp_path: Path
) -> None:
    with serve_batches(
        dialect, echo, misbehave=lambda method, path, number: failure(404, "Not Found")
    ) as server:
        [answer] = ask(dialect, server.url, tmp_path, ["a"])
    assert type(answer) is ModelError
    assert "the batch could not be sent: 404 Not Found" in str(answer)
    assert len(server.paths) == 1


def test_a_spent_account_stops_the_run(dialect: Dialect, tmp_path: Path) -> None:
    spent = Reply(
        '{"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}',
        429,
    )
    with serve_batches(
        dialect, echo, misbehave=lambda method, path, number: spent if method == "POST" else None
    ) as server:
        [answer] = ask(dialect, server.url, tmp_path, ["a"])
    assert type(answer) is ModelError
    assert "exceeded your current quota" in str(answer)
    assert server.batches == {}


def test_a_batch_that_is_refused_whole_stops_the_run_with_the_reason(
    dialect: Dialect, tmp_path: Path
) -> None:
    if dialect.name == "anthropic":
        pytest.skip("refuses questions one by one")
    with serve_batches(dialect, echo, final_status="failed") as server:
        answers = ask(dialect, server.url, tmp_path, ["a", "b"])
    assert {type(answer) for answer in answers} == {ModelError}
    assert "Enqueued token limit reached" in str(answers[0])
    assert len(server.batches) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_expired_batch_gives_what_it_has(dialect: Dialect, tmp_path: Path) -> None:
    with serve_batches(
        dialect,
        lambda body, number: None if said(body) == "late" else echo(body, number),
        final_status="expired",
    ) as server:
        on_time, late = ask(dialect, server.url, tmp_path, ["on time", "late"])
    assert isinstance(on_time, Completion)
    assert isinstance(late, EndpointError)
    assert "expired" in str(late)
    assert list(tmp_path.iterdir()) == []


def test_the_key_goes_with_every_act_and_into_no_file_or_message(
    dialect: Dialect, tmp_path: Path
) -> None:
    with serve_batches(
        dialect,
        echo,
        num_looks=1_000,
        misbehave=lambda method, path, number: failure(401, f"bad key {KEY}"),
    ) as server:
        [answer] = ask(dialect, server.url, tmp_path, ["a"])
    assert type(answer) is ModelError
    assert "bad key [key]" in str(answer)
    assert KEY not in str(answer)
    with serve_batches(dialect, echo, num_looks=2) as server:
        ask(dialect, server.url, tmp_path, ["a"])
        sent = [
            headers.get(dialect.key_header)
            for headers, path in zip(server.headers, server.paths, strict=True)
            if "/resumable" not in path
        ]
        assert {value.removeprefix("Bearer ") for value in sent if value} == {KEY}
        assert None not in sent
        server.num_looks = 1_000
        interrupt(dialect, server, tmp_path, ["b"])
    assert list(tmp_path.iterdir())
    assert all(KEY not in path.read_text() for path in tmp_path.iterdir())


def test_a_file_that_lies_elsewhere_is_fetched_without_the_key(tmp_path: Path) -> None:
    with serve_batches(OPENAI, echo) as other, serve_batches(OPENAI, echo) as server:

        def elsewhere(method: str, path: str, number: int) -> Reply | None:
            return (
                Reply("", 302, {"Location": f"{other.url}/files/batch_0-out/content"})
                if path == "/files/batch_0-out/content"
                else None
            )

        server.misbehave = elsewhere
        other.results["batch_0"] = server.results.setdefault("batch_0", [])
        ask(OPENAI, server.url, tmp_path, ["a"])
    assert other.paths == ["GET /files/batch_0-out/content"]
    assert "authorization" not in other.headers[0]
