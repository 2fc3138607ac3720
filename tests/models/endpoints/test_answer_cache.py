from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from atlas.errors import RunError
from atlas.models.base import Completion, Sampling
from atlas.models.endpoints.answer_cache import CachedClient
from atlas.records import Message, ToolCall, Usage

HELLO = Message(role="user", content="hello")
PAID = Usage(requests=1, input_tokens=10, output_tokens=2)


class Counting:
    """Answers with the number of questions so far, or with `refusal`."""

    def __init__(self, refusal: str | None = None) -> None:
        self.times = 0
        self.refusal = refusal

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        self.times += 1
        return Completion(
            text=f"answer {self.times}", usage=PAID, finish_reason="stop", refusal=self.refusal
        )

    async def close(self) -> None:
        pass


def ask(
    file: Path,
    client: Counting,
    *messages: Message,
    sampling: Sampling | None = None,
    asked: tuple[str | None, ...] = ("m", None),
) -> Completion:
    async def run() -> Completion:
        cached = CachedClient(client, asked, file)
        try:
            return await cached.complete(messages or (HELLO,), sampling or Sampling())
        finally:
            await cached.close()

    return asyncio.run(run())


def test_the_same_question_is_paid_for_once(tmp_path: Path) -> None:
    client, file = Counting(), tmp_path / "new" / "answers.sqlite"
    first = ask(file, client)
    assert (first.text, first.usage) == ("answer 1", PAID)
    assert ask(file, client) == replace(first, usage=Usage())
    assert client.times == 1


def test_whatever_decides_the_answer_makes_another_question(tmp_path: Path) -> None:
    client, file = Counting(), tmp_path / "answers.sqlite"
    ask(file, client)
    ask(file, client, Message(role="user", content="hello "))
    ask(file, client, HELLO, HELLO)
    ask(file, client, Message(role="system", content="hello"))
    ask(file, client, asked=("other", None))
    ask(file, client, asked=("m", "http://127.0.0.1:1/v1"))
    for change in (
        {"temperature": None},
        {"temperature": 0.5},
        {"max_tokens": 9},
        {"seed": 3},
        {"response_schema": {"type": "object"}},
        {"tools": ({"type": "function", "function": {"name": "look"}},)},
    ):
        ask(file, client, sampling=replace(Sampling(), **change))  # type: ignore[arg-type]
    assert client.times == 12


def test_what_was_declined_is_asked_again(tmp_path: Path) -> None:
    client = Counting(refusal="No.")
    for _ in range(2):
        assert ask(tmp_path / "answers.sqlite", client).refusal == "No."
    assert client.times == 2


def test_several_processes_share_it(tmp_path: Path) -> None:
    script = """
import asyncio, sys
from pathlib import Path
from atlas.models.endpoints.answer_cache import CachedClient
from atlas.models.base import Completion, Sampling
from atlas.records import Message, Usage
class Client:
    async def complete(self, messages, sampling):
        return Completion(text=messages[0].content, usage=Usage(requests=1), finish_reason="stop")
    async def close(self): pass
async def run():
    cached = CachedClient(Client(), ["m"], Path(sys.argv[1]))
    for number in range(300):
        question = Message(role="user", content=f"question {number}")
        answer = await cached.complete([question], Sampling())
        assert answer.text == f"question {number}"
    await cached.close()
asyncio.run(run())
"""
    file = tmp_path / "answers.sqlite"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(file)], stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    client = Counting()
    assert (
        ask(file, client, Message(role="user", content="question 299"), asked=("m",)).text
        == "question 299"
    )
    assert client.times == 0


def test_the_tool_calls_of_an_answer_are_kept(tmp_path: Path) -> None:
    calls = (ToolCall(id="c1", name="look", arguments='{"at":  1}'), ToolCall(name="wait"))

    class Calling(Counting):
        async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
            return Completion(text="", usage=PAID, finish_reason="tool_calls", tool_calls=calls)

    answers = [ask(tmp_path / "answers.sqlite", Calling()) for _ in range(2)]
    assert [answer.tool_calls for answer in answers] == [calls, calls]
    assert answers[1].usage == Usage()


def test_a_text_that_no_file_can_hold_comes_back_as_it_was(tmp_path: Path) -> None:
    class Odd(Counting):
        async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
            return Completion(text="\ud800\x00", usage=PAID, finish_reason="stop")

    assert [ask(tmp_path / "answers.sqlite", Odd()).text for _ in range(2)] == ["\ud800\x00"] * 2


def test_a_file_that_is_not_a_cache_is_named_in_the_error(tmp_path: Path) -> None:
    file = tmp_path / "answers.sqlite"
    file.write_text("something else " * 100)
    with pytest.raises(
        RunError, match=r"answers\.sqlite cannot be used: file is not a database\. Remove it"
    ):
        ask(file, Counting())
    (tmp_path / "a file").touch()
    with pytest.raises(RunError, match="cannot be used"):
        ask(tmp_path / "a file" / "answers.sqlite", Counting())


class Slow(Counting):
    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        await asyncio.sleep(0.02)
        return await super().complete(messages, sampling)


def test_the_same_question_at_the_same_time_is_paid_for_once_too(tmp_path: Path) -> None:
    async def run(client: Counting, num_cancelled: int) -> list[Completion | BaseException]:
        cached = CachedClient(client, ("m",), tmp_path / f"{num_cancelled}.sqlite")
        tasks = [asyncio.create_task(cached.complete((HELLO,), Sampling())) for _ in range(5)]
        await asyncio.sleep(0.01)
        for task in tasks[:num_cancelled]:
            task.cancel()
        said = await asyncio.gather(*tasks, return_exceptions=True)
        await cached.close()
        return said[num_cancelled:]

    for num_cancelled in (0, 1, 2):
        client = Slow()
        said = asyncio.run(run(client, num_cancelled))
        assert {answer.text for answer in said if isinstance(answer, Completion)} == {"answer 1"}
        assert sum(isinstance(answer, Completion) and answer.usage == PAID for answer in said) == 1
        assert (client.times, len(said)) == (1, 5 - num_cancelled)

    declining = Slow(refusal="no")
    assert len(asyncio.run(run(declining, 4))) == 1
    assert len(asyncio.run(run(declining, 3))) == 2
    assert declining.times == 3, "what was declined is asked again"


def test_an_answer_that_cannot_be_kept_is_given_all_the_same_and_the_next_question_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "answers.sqlite"

    class Spoiling(Counting):
        async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
            with closing(sqlite3.connect(file, isolation_level=None)) as other:
                other.execute("drop table answers")
            return await super().complete(messages, sampling)

    async def run() -> None:
        client = Spoiling()
        cached = CachedClient(client, ("m",), file)
        assert (await cached.complete((HELLO,), Sampling())).usage == PAID
        with pytest.raises(RunError, match="no such table"):
            await cached.complete((HELLO,), Sampling())
        await cached.close()
        assert client.times == 1

    asyncio.run(run())
    assert "cannot be used" in caplog.text
