"""Questions in batches, of every provider: the answers of one by one, whatever becomes of the batch, and nothing paid for twice."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from atlas.errors import ConfigError, EndpointError, ModelError
from atlas.models import inspect_api, retries
from atlas.models.base import Completion, ModelClient, Sampling
from atlas.models.batches.ledger import BatchLedger
from atlas.models.connect import connect
from atlas.models.endpoints import Batching
from atlas.records import Message, Usage
from tests.models import batch_server
from tests.models.batch_dialects import DIALECTS, OPENAI, Dialect
from tests.models.batch_server import BatchServer, TooLate
from tests.models.chat_server import Reply, completion, failure
from tests.models.provider_answers import said

KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for dialect in DIALECTS:
        monkeypatch.delenv(dialect.key_variable, raising=False)
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.02)
    # The addresses of the providers are variables here, which is what users are kept from.
    monkeypatch.setattr(inspect_api, "_refuse_addresses_in_the_environment", lambda name, base_url: None)


@pytest.fixture(params=DIALECTS, ids=lambda dialect: dialect.name)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    return request.param  # type: ignore[no-any-return]


def serve_batches(dialect: Dialect, *arguments: Any, **settings: Any) -> AbstractContextManager[BatchServer]:
    return batch_server.serve_batches(*arguments, dialect=dialect, **settings)


def open_client(dialect: Dialect, url: str, batching: Batching, key: str = KEY, **settings: Any) -> ModelClient:
    variables = {dialect.key_variable: key}
    if dialect.address_variable is not None:
        variables[dialect.address_variable] = url
    with patch.dict(os.environ, variables):
        return connect(dialect.model, base_url=None if dialect.address_variable else url, batching=batching, **settings)


def echo(body: dict[str, Any], number: int) -> Reply:
    return completion(f"you said {said(body)}")


def ask(
    dialect: Dialect,
    url: str,
    folder: Path,
    questions: list[str],
    size: int = 100,
    settings: dict[str, Any] | None = None,
    **sampling: Any,
) -> list[Completion | Exception]:
    async def run() -> list[Completion | Exception]:
        told = {"max_retries": 1, "timeout_seconds": 5.0} | (settings or {})
        client = open_client(dialect, url, Batching(size, poll_seconds=0.02, folder=folder), **told)
        try:
            waiting = [client.complete((Message(role="user", content=question),), Sampling(**sampling)) for question in questions]
            return await asyncio.gather(*waiting, return_exceptions=True)  # type: ignore[return-value]
        finally:
            await client.close()

    return asyncio.run(run())


def texts(answers: list[Completion | Exception]) -> list[str]:
    return [answer.text if isinstance(answer, Completion) else repr(answer) for answer in answers]


def asked(server: BatchServer) -> list[str]:
    return [said(body) for body in server.bodies]


def test_many_questions_are_one_batch_and_each_gets_its_own_answer(dialect: Dialect, tmp_path: Path) -> None:
    questions = [f"question {number}" for number in range(20)]
    with serve_batches(dialect, echo, num_looks=2) as server:
        answers = ask(dialect, server.url, tmp_path, questions)
    assert texts(answers) == [f"you said {question}" for question in questions]
    assert all(
        isinstance(answer, Completion) and answer.usage == Usage(requests=1, input_tokens=100, output_tokens=7) for answer in answers
    )
    assert len(server.batches) == 1
    assert sorted(asked(server)) == sorted(questions)
    assert list(tmp_path.iterdir()) == [], "nothing is left to wait for"


def test_a_batch_holds_at_most_its_size_and_the_same_question_once(dialect: Dialect, tmp_path: Path) -> None:
    with serve_batches(dialect, echo) as server:
        answers = ask(dialect, server.url, tmp_path, ["a", "b", "a", "c", "d", "e"], size=2)
    assert texts(answers) == [f"you said {letter}" for letter in "abacde"]
    assert sorted(len(lines) for lines in server.batches.values()) == [1, 2, 2]


def test_a_batch_is_no_larger_than_the_provider_takes(dialect: Dialect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for protocol in ("openai.OpenAIBatches", "anthropic.AnthropicBatches", "google.GoogleBatches"):
        monkeypatch.setattr(f"atlas.models.batches.{protocol}.largest_batch", 5_000)
    questions = [letter * 3_000 for letter in "abc"]
    with serve_batches(dialect, echo) as server:
        assert texts(ask(dialect, server.url, tmp_path, questions)) == [f"you said {question}" for question in questions]
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
            dialect, server.url, tmp_path, ["fine", "refused", "bad", "lost", "broken", "html"], settings={"max_retries": 1}
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


def test_an_answer_that_json_alone_can_hold_is_an_answer(tmp_path: Path) -> None:
    def odd(body: dict[str, Any], number: int) -> Reply:
        answer = json.loads(completion("half of a \ud83d").body)
        answer["choices"][0]["logprobs"] = float("nan")
        return Reply(json.dumps(answer))

    with serve_batches(OPENAI, odd) as server:
        assert texts(ask(OPENAI, server.url, tmp_path, ["a"])) == ["half of a \ud83d"]


def test_a_proxy_that_cannot_be_used_is_said_before_anything_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "ftp://me:s3cret@127.0.0.1:1")
    with pytest.raises(ConfigError, match="a proxy of the environment cannot be used") as caught:
        ask(OPENAI, "http://127.0.0.1:1/v1", tmp_path, ["a"])
    assert "s3cret" not in str(caught.value)


def test_a_busy_answer_to_one_question_is_asked_for_again(dialect: Dialect, tmp_path: Path) -> None:
    with serve_batches(dialect, lambda body, number: failure(429, "slow down") if number == 0 else echo(body, number)) as server:
        assert texts(ask(dialect, server.url, tmp_path, ["a", "b"])) == ["you said a", "you said b"]
    assert sorted(asked(server)) in (["a", "a", "b"], ["a", "b", "b"])


SCHEMA = {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"], "additionalProperties": False}
SCHEMA_AT = {
    "openai": lambda body: body["response_format"]["json_schema"]["schema"],
    "azure": lambda body: body["response_format"]["json_schema"]["schema"],
    "anthropic": lambda body: body["output_format"]["schema"],
    "google": lambda body: body["generationConfig"]["responseJsonSchema"],
}


def test_a_schema_arrives_and_a_provider_without_schemas_is_asked_again_in_words(dialect: Dialect, tmp_path: Path) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return failure(400, "no schemas here") if number < 2 else echo(body, number)

    with serve_batches(dialect, answer) as server:
        assert texts(ask(dialect, server.url, tmp_path, ["a", "b"], response_schema=SCHEMA)) == ["you said a", "you said b"]
    asked_for = SCHEMA_AT[dialect.name](server.bodies[0])
    asked_for["properties"]["number"].pop("additionalProperties", None)  # inspect_ai says it of integers, too, for Anthropic
    assert asked_for == SCHEMA
    assert "number" not in json.dumps(server.bodies[2:])
    assert len(server.batches) == 2


@pytest.mark.parametrize("reply", [failure(429, Retry_After="0"), failure(500), Reply("{", is_cut=True)], ids=["busy", "broken", "cut"])
def test_every_act_is_tried_again(dialect: Dialect, reply: Reply, tmp_path: Path) -> None:
    for act in dialect.acts:
        failed: list[tuple[str, str]] = []

        def misbehave(method: str, path: str, number: int, act: tuple[str, str] = act, failed: list[Any] = failed) -> Reply | None:
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
    with serve_batches(dialect, echo, misbehave=lambda method, path, number: busy if number < 8 else None) as server:
        assert texts(ask(dialect, server.url, tmp_path, ["a"], settings={"max_retries": 10})) == ["you said a"]
    assert len(server.batches) == 1


@pytest.mark.parametrize("max_retries", [0, 2])
@pytest.mark.parametrize("word", [failure(500), Reply("<html>Bad gateway")], ids=["broken", "html"])
def test_a_batch_that_was_made_though_the_word_of_it_was_lost_is_found(
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
        assert texts(ask(dialect, server.url, tmp_path, ["a", "b"], settings={"max_retries": max_retries})) == ["you said a", "you said b"]
    assert len(server.batches) == 2


def test_a_provider_without_batches_stops_the_run_with_a_word_about_it(dialect: Dialect, tmp_path: Path) -> None:
    with serve_batches(dialect, echo, misbehave=lambda method, path, number: failure(404, "Not Found")) as server:
        [answer] = ask(dialect, server.url, tmp_path, ["a"])
    assert type(answer) is ModelError
    assert "the batch could not be sent: 404 Not Found" in str(answer)
    assert len(server.paths) == 1


def test_a_spent_account_stops_the_run(dialect: Dialect, tmp_path: Path) -> None:
    spent = Reply('{"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}', 429)
    with serve_batches(dialect, echo, misbehave=lambda method, path, number: spent if method == "POST" else None) as server:
        [answer] = ask(dialect, server.url, tmp_path, ["a"])
    assert type(answer) is ModelError
    assert "exceeded your current quota" in str(answer)
    assert server.batches == {}


def test_a_batch_that_is_refused_whole_stops_the_run_with_the_reason(dialect: Dialect, tmp_path: Path) -> None:
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
        dialect, lambda body, number: None if said(body) == "late" else echo(body, number), final_status="expired"
    ) as server:
        on_time, late = ask(dialect, server.url, tmp_path, ["on time", "late"])
    assert isinstance(on_time, Completion)
    assert isinstance(late, EndpointError)
    assert "expired" in str(late)
    assert list(tmp_path.iterdir()) == []


def interrupt(dialect: Dialect, server: BatchServer, folder: Path, questions: list[str]) -> None:
    """Ask, and be gone as soon as a batch is on its way."""

    async def run() -> None:
        client = open_client(dialect, server.url, Batching(100, 0.02, folder))
        waiting = [asyncio.create_task(client.complete((Message(role="user", content=question),), Sampling())) for question in questions]
        while not list(folder.glob("*.json")):
            assert not any(task.done() for task in waiting), "nothing is answered before the batch is"
            await asyncio.sleep(0.01)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await client.close()

    asyncio.run(run())


def test_who_starts_again_waits_for_the_batch_that_was_sent(dialect: Dialect, tmp_path: Path) -> None:
    with serve_batches(dialect, echo, num_looks=1_000) as server:
        interrupt(dialect, server, tmp_path, ["a", "b", "c"])
        assert len(list(tmp_path.glob("*.json"))) == 1
        server.num_looks = 0
        assert texts(ask(dialect, server.url, tmp_path, ["b", "new", "c"])) == ["you said b", "you said new", "you said c"]
        assert sorted(asked(server)) == ["a", "b", "c", "new"]
        assert texts(ask(dialect, server.url, tmp_path, ["a"])) == ["you said a"], "still there, for it was not asked for"
    assert len(asked(server)) == 4


def test_a_batch_that_is_being_made_when_a_run_is_stopped_is_found_by_the_next(dialect: Dialect, tmp_path: Path) -> None:
    def slowly(method: str, path: str, number: int) -> None:
        if (method, path.split("?")[0]) == ("POST", dialect.made):
            time.sleep(0.3)

    async def stop() -> None:
        client = open_client(dialect, server.url, Batching(100, 0.02, tmp_path))
        asking = asyncio.create_task(client.complete((Message(role="user", content="a"),), Sampling()))
        while not any(path.startswith(f"POST {dialect.made}") for path in server.paths):
            await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await client.close()

    with serve_batches(dialect, echo, misbehave=slowly) as server:
        asyncio.run(stop())
        assert len(list(tmp_path.glob("*.json"))) == 1
        assert texts(ask(dialect, server.url, tmp_path, ["a"])) == ["you said a"]
    assert len(server.batches) == 1


KILLED = """
import os, pathlib, sys
from atlas.models.batches import ledger, openai
from tests.models import test_batches as tests

def kill(*_):
    os._exit(9)

name, url, folder, where = sys.argv[1:]
setattr(*((ledger.BatchLedger, "add") if where == "after" else (openai.OpenAIBatches, "make")), kill)
tests.inspect_api._refuse_addresses_in_the_environment = lambda name, base_url: None
dialect = next(dialect for dialect in tests.DIALECTS if dialect.name == name)
tests.ask(dialect, url, pathlib.Path(folder), ["a", "b", "c"])
"""


def kill_while_it_makes_a_batch(dialect: Dialect, url: str, folder: Path, where: str) -> None:
    arguments = [sys.executable, "-c", KILLED, dialect.name, url, folder, where]
    assert subprocess.run(arguments, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}).returncode == 9
    assert len(list(folder.glob("*.planned"))) == 1


def test_a_batch_that_was_being_made_when_a_run_was_killed_is_found_by_the_next(dialect: Dialect, tmp_path: Path) -> None:
    with serve_batches(dialect, echo) as server:
        kill_while_it_makes_a_batch(dialect, server.url, tmp_path, "after")
        assert texts(ask(dialect, server.url, tmp_path, ["b", "new"])) == ["you said b", "you said new"]
        assert texts(ask(dialect, server.url, tmp_path, ["a", "c"])) == ["you said a", "you said c"]
    assert sorted(asked(server)) == ["a", "b", "c", "new"]
    assert list(tmp_path.iterdir()) == []


def test_a_batch_that_was_about_to_be_made_when_a_run_was_killed_is_made_by_the_next(tmp_path: Path) -> None:
    with serve_batches(OPENAI, echo) as server:
        kill_while_it_makes_a_batch(OPENAI, server.url, tmp_path, "before")
        assert texts(ask(OPENAI, server.url, tmp_path, ["a", "b", "c"])) == [f"you said {letter}" for letter in "abc"]
    assert sorted(asked(server)) == ["a", "b", "c"]
    assert list(tmp_path.iterdir()) == []


def test_what_an_earlier_batch_lost_is_asked_anew(dialect: Dialect, tmp_path: Path) -> None:
    with serve_batches(
        dialect, lambda body, number: None if said(body) == "b" and number < 3 else echo(body, number), num_looks=1_000
    ) as server:
        interrupt(dialect, server, tmp_path, ["a", "b", "c"])
        server.num_looks = 0
        assert texts(ask(dialect, server.url, tmp_path, ["a", "b"])) == ["you said a", "you said b"]
        assert sorted(asked(server)) == ["a", "b", "b", "c"]
        assert texts(ask(dialect, server.url, tmp_path, ["a", "c"])) == ["you said a", "you said c"]
    assert sorted(asked(server)) == ["a", "a", "b", "b", "c"], "an answer is given out once: who asks again wants another"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("page", ["<html>Bad gateway</html>", "", "half"])
def test_answers_that_came_torn_are_looked_for_again_before_they_are_paid_for_again(dialect: Dialect, page: str, tmp_path: Path) -> None:
    torn: list[bool] = [True]

    def misbehave(method: str, path: str, number: int) -> Reply | None:
        if not (torn[0] and path.split("?")[0].endswith(dialect.results)):
            return None
        whole = dialect.respond(server, batch_server.Request(method, path, server.headers[-1], b"")).body
        return Reply(whole[: len(whole) // 2] if page == "half" else page)

    with serve_batches(dialect, echo, num_looks=0, misbehave=misbehave) as server:
        first = ask(dialect, server.url, tmp_path, ["a", "b", "c"])
        assert sum(isinstance(answer, EndpointError) for answer in first) == (2 if page == "half" else 3)
        torn[0] = False
        left = [question for question, answer in zip("abc", first, strict=True) if isinstance(answer, EndpointError)]
        assert texts(ask(dialect, server.url, tmp_path, left)) == [f"you said {question}" for question in left]
        assert len(server.questions) == 3, "each was paid for once"
        assert list(tmp_path.iterdir()) == []
        torn[0] = True  # and if it stays torn, it is asked anew
        ask(dialect, server.url, tmp_path, ["d"])
        ask(dialect, server.url, tmp_path, ["d"])
    assert asked(server).count("d") == 2


def test_a_batch_that_is_gone_is_forgotten_and_its_questions_are_asked_anew(dialect: Dialect, tmp_path: Path) -> None:
    with serve_batches(dialect, echo, num_looks=1_000) as server:
        interrupt(dialect, server, tmp_path, ["a"])
        server.batches["other"], server.results["other"], server.looks["other"] = [], [], 0
        del server.batches["batch_0"]
        server.num_looks = 0
        assert texts(ask(dialect, server.url, tmp_path, ["a"])) == ["you said a"]
    assert list(tmp_path.iterdir()) == []


def test_what_is_noted_is_of_one_address_and_torn_or_old_notes_are_passed_over(tmp_path: Path) -> None:
    ledger = BatchLedger(tmp_path, "here")
    first, second = ledger.add("b/1", ["x"]), ledger.add("b2", ["x", "y"])
    (tmp_path / "torn.json").write_text("{")
    (tmp_path / "old.json").write_text(json.dumps({"id": "old", "address": "here", "keys": [], "sent_at": 0}))
    assert ledger.read() == [first, second]
    assert BatchLedger(tmp_path, "there").read() == []
    assert not (tmp_path / "old.json").exists()
    ledger.keep("b/1", [])
    ledger.keep("b2", ["y"])
    ledger.keep("unknown", ["z"])
    assert ledger.read() == [replace(second, keys=("y",))]


def test_the_key_goes_with_every_act_and_into_no_file_or_message(dialect: Dialect, tmp_path: Path) -> None:
    with serve_batches(dialect, echo, num_looks=1_000, misbehave=lambda method, path, number: failure(401, f"bad key {KEY}")) as server:
        [answer] = ask(dialect, server.url, tmp_path, ["a"])
    assert type(answer) is ModelError
    assert "bad key [key]" in str(answer)
    assert KEY not in str(answer)
    with serve_batches(dialect, echo, num_looks=2) as server:
        ask(dialect, server.url, tmp_path, ["a"])
        sent = [
            headers.get(dialect.key_header) for headers, path in zip(server.headers, server.paths, strict=True) if "/resumable" not in path
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
            return Reply("", 302, {"Location": f"{other.url}/files/batch_0-out/content"}) if path == "/files/batch_0-out/content" else None

        server.misbehave = elsewhere
        other.results["batch_0"] = server.results.setdefault("batch_0", [])
        ask(OPENAI, server.url, tmp_path, ["a"])
    assert other.paths == ["GET /files/batch_0-out/content"]
    assert "authorization" not in other.headers[0]
