"""Questions in batches: the answers of one by one, whatever becomes of the batch, and nothing paid for twice."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import EndpointError, ModelError
from atlas.models import inspect_api
from atlas.models.base import Completion, Sampling
from atlas.models.batch_ledger import BatchLedger
from atlas.models.connect import connect
from atlas.models.endpoints import Batching
from atlas.models.inspect_api import InspectClient
from atlas.records import Message, Usage
from tests.models.batch_server import BatchServer, serve_batches
from tests.models.chat_server import Reply, completion, failure

KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def said(body: dict[str, Any]) -> str:
    return str(body["messages"][0]["content"])


def echo(body: dict[str, Any], number: int) -> Reply:
    return completion(f"you said {said(body)}")


def ask(
    url: str, folder: Path, questions: list[str], size: int = 100, settings: dict[str, Any] | None = None, **sampling: Any
) -> list[Completion | Exception]:
    async def run() -> list[Completion | Exception]:
        batching = Batching(size, poll_seconds=0.02, folder=folder)
        told = {"max_retries": 1, "timeout_seconds": 5.0} | (settings or {})
        client = connect("test-model", base_url=url, batching=batching, **told)
        try:
            asked = [client.complete((Message(role="user", content=question),), Sampling(**sampling)) for question in questions]
            return await asyncio.gather(*asked, return_exceptions=True)  # type: ignore[return-value]
        finally:
            await client.close()

    return asyncio.run(run())


def texts(answers: list[Completion | Exception]) -> list[str]:
    return [answer.text if isinstance(answer, Completion) else repr(answer) for answer in answers]


def test_many_questions_are_one_file_and_each_gets_its_own_answer(tmp_path: Path) -> None:
    questions = [f"question {number}" for number in range(20)]
    with serve_batches(echo, num_looks=2) as server:
        answers = ask(server.url, tmp_path, questions, temperature=0.5)
    assert texts(answers) == [f"you said {question}" for question in questions]
    assert all(
        isinstance(answer, Completion) and answer.usage == Usage(requests=1, input_tokens=100, output_tokens=7) for answer in answers
    )
    assert len(server.batches) == 1
    assert server.questions[0].keys() == {"custom_id", "method", "url", "body"}
    assert (server.questions[0]["method"], server.questions[0]["url"]) == ("POST", "/v1/chat/completions")
    assert server.bodies[0] == {"model": "test-model", "messages": [{"role": "user", "content": "question 0"}], "temperature": 0.5}
    assert list(tmp_path.iterdir()) == [], "nothing is left to wait for"


def test_a_batch_holds_at_most_its_size_and_the_same_question_once(tmp_path: Path) -> None:
    with serve_batches(echo) as server:
        answers = ask(server.url, tmp_path, ["a", "b", "a", "c", "d", "e"], size=2)
    assert texts(answers) == [f"you said {letter}" for letter in "abacde"]
    assert sorted(len(lines) for lines in server.batches.values()) == [1, 2, 2]


def test_one_bad_question_costs_no_other(tmp_path: Path) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply | None:
        wrong = {
            "long": failure(400, "maximum context length exceeded"),
            "lost": None,
            "broken": failure(500, "try later") if number < 9 else echo(body, number),
            "html": Reply("<html>"),
        }
        return wrong[said(body)] if said(body) in wrong else echo(body, number)

    with serve_batches(answer) as server:
        fine, long, lost, broken, html = ask(server.url, tmp_path, ["fine", "long", "lost", "broken", "html"], settings={"max_retries": 1})
    assert isinstance(fine, Completion)
    assert fine.text == "you said fine"
    assert isinstance(long, Completion)
    assert "maximum context length" in (long.refusal or "")
    assert isinstance(lost, EndpointError)
    assert "without this answer" in str(lost)
    assert isinstance(html, EndpointError)
    assert isinstance(broken, EndpointError)
    assert "try later" in str(broken)
    assert [said(body) for body in server.bodies].count("broken") == 2, "asked again in another batch"


def test_a_server_without_schemas_is_asked_again_in_words(tmp_path: Path) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return failure(400, "response_format is not supported") if "response_format" in body else echo(body, number)

    with serve_batches(answer) as server:
        assert texts(ask(server.url, tmp_path, ["a", "b"], response_schema={"type": "object"})) == ["you said a", "you said b"]
    assert len(server.batches) == 2


@pytest.mark.parametrize("path", ["/v1/files", "/v1/batches", "/v1/batches/batch_0", "/v1/files/batch_0-out/content"])
@pytest.mark.parametrize("reply", [failure(429, Retry_After="0"), failure(500), Reply("{", is_cut=True)], ids=["busy", "broken", "cut"])
def test_every_act_is_tried_again(path: str, reply: Reply, tmp_path: Path) -> None:
    failed: list[str] = []

    def misbehave(method: str, asked: str, number: int) -> Reply | None:
        if asked == path and not failed:
            failed.append(path)
            return reply
        return None

    with serve_batches(echo, misbehave=misbehave) as server:
        assert texts(ask(server.url, tmp_path, ["a"])) == ["you said a"]
    assert failed == [path]
    assert len(server.batches) == 1


def test_a_server_without_batches_stops_the_run_with_a_word_about_it(tmp_path: Path) -> None:
    with serve_batches(echo, misbehave=lambda method, path, number: failure(404, "Not Found")) as server:
        [answer] = ask(server.url, tmp_path, ["a"])
    assert type(answer) is ModelError
    assert "the batch could not be sent" in str(answer)
    assert server.paths == ["POST /v1/files"]


def test_a_batch_that_is_refused_whole_stops_the_run_with_the_reason(tmp_path: Path) -> None:
    with serve_batches(echo, final_status="failed") as server:
        answers = ask(server.url, tmp_path, ["a", "b"])
    assert {type(answer) for answer in answers} == {ModelError}
    assert "Enqueued token limit reached" in str(answers[0])
    assert len(server.batches) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_expired_batch_gives_what_it_has(tmp_path: Path) -> None:
    with serve_batches(lambda body, number: None if said(body) == "late" else echo(body, number), final_status="expired") as server:
        on_time, late = ask(server.url, tmp_path, ["on time", "late"])
    assert isinstance(on_time, Completion)
    assert isinstance(late, EndpointError)
    assert "expired" in str(late)


def interrupt(server: BatchServer, folder: Path, questions: list[str]) -> None:
    """Ask, and be gone as soon as a batch is on its way."""

    async def run() -> None:
        client = InspectClient("test-model", base_url=server.url, batching=Batching(100, 0.02, folder))
        asked = [asyncio.create_task(client.complete((Message(role="user", content=question),), Sampling())) for question in questions]
        while not server.batches:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # so that the answer to its creation has come, too
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        await client.close()

    asyncio.run(run())


def test_who_starts_again_waits_for_the_batch_that_was_sent(tmp_path: Path) -> None:
    with serve_batches(echo, num_looks=1_000) as server:
        interrupt(server, tmp_path, ["a", "b", "c"])
        assert len(list(tmp_path.glob("*.json"))) == 1
        server.num_looks = 0
        assert texts(ask(server.url, tmp_path, ["b", "new", "c"])) == ["you said b", "you said new", "you said c"]
        assert [said(body) for body in server.bodies] == ["a", "b", "c", "new"]
        assert texts(ask(server.url, tmp_path, ["a"])) == ["you said a"], "still there, for it was not asked for"
    assert [said(body) for body in server.bodies] == ["a", "b", "c", "new"]


def test_what_an_earlier_batch_lost_is_asked_anew(tmp_path: Path) -> None:
    with serve_batches(lambda body, number: None if number == 1 else echo(body, number), num_looks=1_000) as server:
        interrupt(server, tmp_path, ["a", "b", "c"])
        server.num_looks = 0
        assert texts(ask(server.url, tmp_path, ["a", "b"])) == ["you said a", "you said b"]
        assert [said(body) for body in server.bodies] == ["a", "b", "c", "b"]
        assert texts(ask(server.url, tmp_path, ["a", "c"])) == ["you said a", "you said c"]
    assert [said(body) for body in server.bodies] == ["a", "b", "c", "b", "a"], "an answer is given out once: who asks again wants another"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("page", ["<html>Bad gateway</html>", "", "half"])
def test_answers_that_came_torn_are_looked_for_again_before_they_are_paid_for_again(page: str, tmp_path: Path) -> None:
    torn: list[bool] = [True]

    def misbehave(method: str, path: str, number: int) -> Reply | None:
        if not (torn[0] and path.endswith("-out/content")):
            return None
        whole = server.files["batch_0-out"].decode()
        return Reply(whole[: len(whole) // 2] if page == "half" else page)

    with serve_batches(echo, num_looks=0, misbehave=misbehave) as server:
        first = ask(server.url, tmp_path, ["a", "b", "c"])
        assert all(isinstance(answer, EndpointError) for answer in (first[1:] if page == "half" else first))
        torn[0] = False
        left = [question for question, answer in zip("abc", first, strict=True) if isinstance(answer, EndpointError)]
        assert texts(ask(server.url, tmp_path, left)) == [f"you said {question}" for question in left]
        assert len(server.questions) == 3, "each was paid for once"
        assert list(tmp_path.iterdir()) == []
        torn[0] = True  # and if it stays torn, it is asked anew
        ask(server.url, tmp_path, ["d"])
        ask(server.url, tmp_path, ["d"])
    assert [said(body) for body in server.bodies].count("d") == 2


def test_a_batch_that_is_gone_is_forgotten_and_its_questions_are_asked_anew(tmp_path: Path) -> None:
    with serve_batches(echo, num_looks=1_000) as server:
        interrupt(server, tmp_path, ["a"])
        del server.batches["batch_0"]
        server.batches["other"] = []
        server.num_looks = 0
        assert texts(ask(server.url, tmp_path, ["a"])) == ["you said a"]
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


@pytest.mark.parametrize(("model", "endpoint"), [("openai/gpt-4o", "/v1/chat/completions"), ("openai/gpt-5", "/v1/responses")])
def test_the_provider_itself_is_asked_at_the_endpoint_of_its_model(
    model: str, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> Completion:
        client = InspectClient(model, batching=Batching(100, 0.02, tmp_path), max_retries=0)
        try:
            return await client.complete((Message(role="user", content="a"),), Sampling(temperature=None))
        finally:
            await client.close()

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serve_batches(lambda body, number: failure(400, "not today")) as server:
        monkeypatch.setattr(inspect_api, "_refuse_addresses_in_the_environment", lambda name, base_url: None)
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)  # the one way to be OpenAI here
        assert "not today" in (asyncio.run(run()).refusal or "")
        num_asked = len(server.questions)
        asyncio.run(run())
    assert {question["url"] for question in server.questions} == {endpoint}
    assert server.bodies[0]["model"] == model.removeprefix("openai/")
    assert server.questions[0] == server.questions[num_asked], "the same question has the same key, or no batch would be found again"


def test_the_key_goes_with_every_act_and_into_no_file_or_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serve_batches(echo, num_looks=1_000, misbehave=lambda method, path, number: failure(401, f"bad key {KEY}")) as server:
        [answer] = ask(server.url, tmp_path, ["a"])
    assert "bad key [key]" in str(answer)
    assert KEY not in str(answer)
    with serve_batches(echo, num_looks=1_000) as server:
        interrupt(server, tmp_path, ["a"])
    assert all(KEY not in path.read_text() for path in tmp_path.iterdir())
