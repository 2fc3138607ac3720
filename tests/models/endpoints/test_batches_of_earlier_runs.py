"""Batches that an earlier run sent or was making when it stopped: nothing is paid for twice."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from atlas.errors import EndpointError
from atlas.models.base import Sampling
from atlas.models.endpoints.batches.ledger import BatchLedger
from atlas.models.endpoints.endpoint import Batching
from atlas.records import Message
from tests.models.endpoints.batch_asking import (
    ask,
    asked,
    echo,
    ids_in,
    interrupt,
    open_client,
    serve_batches,
    texts,
)
from tests.models.endpoints.batch_dialects import OPENAI, Dialect
from tests.models.endpoints.batch_server import Request
from tests.models.endpoints.chat_server import Reply
from tests.models.endpoints.provider_answers import said

pytestmark = pytest.mark.usefixtures("own_providers")


def test_a_run_that_starts_again_waits_for_the_batch_that_was_sent(
    dialect: Dialect, tmp_path: Path
) -> None:
    with serve_batches(dialect, echo, num_looks=1_000) as server:
        interrupt(dialect, server, tmp_path, ["a", "b", "c"])
        assert [str(id_).removeprefix("batches/") for id_ in ids_in(tmp_path)] == ["batch_0"]
        server.num_looks = 0
        assert texts(ask(dialect, server.url, tmp_path, ["b", "new", "c"])) == [
            "you said b",
            "you said new",
            "you said c",
        ]
        assert sorted(asked(server)) == ["a", "b", "c", "new"]
        assert texts(ask(dialect, server.url, tmp_path, ["a"])) == ["you said a"], (
            "still there, for it was not asked for"
        )
    assert len(asked(server)) == 4


def test_a_batch_that_is_being_made_when_a_run_is_stopped_is_found_by_the_next(
    dialect: Dialect, tmp_path: Path
) -> None:
    def slowly(method: str, path: str, number: int) -> None:
        if (method, path.split("?")[0]) == ("POST", dialect.made):
            time.sleep(0.3)

    async def stop() -> None:
        client = open_client(dialect, server.url, Batching(100, 0.02, tmp_path))
        asking = asyncio.create_task(
            client.complete((Message(role="user", content="a"),), Sampling())
        )
        while not any(path.startswith(f"POST {dialect.made}") for path in server.paths):
            await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await client.close()

    with serve_batches(dialect, echo, misbehave=slowly) as server:
        asyncio.run(stop())
        assert len(ids_in(tmp_path)) == 1
        assert all(ids_in(tmp_path))
        assert texts(ask(dialect, server.url, tmp_path, ["a"])) == ["you said a"]
    assert len(server.batches) == 1


KILLED = """
import os, pathlib, sys
from atlas.models.endpoints.batches import ledger, openai
from atlas.models.endpoints import inspect_api
from tests.models.endpoints.batch_asking import ask
from tests.models.endpoints.batch_dialects import DIALECTS

def kill(*_):
    os._exit(9)

name, url, folder, where = sys.argv[1:]
if where == "after":
    ledger.BatchLedger.made = kill
else:
    openai.OpenAIBatches.make = kill
inspect_api._refuse_addresses_in_the_environment = lambda name: None
dialect = next(dialect for dialect in DIALECTS if dialect.name == name)
ask(dialect, url, pathlib.Path(folder), ["a", "b", "c"])
"""


def kill_while_it_makes_a_batch(dialect: Dialect, url: str, folder: Path, where: str) -> None:
    arguments = [sys.executable, "-c", KILLED, dialect.name, url, folder, where]
    assert (
        subprocess.run(
            arguments, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        ).returncode
        == 9
    )
    assert ids_in(folder) == [None]


def test_a_batch_that_was_being_made_when_a_run_was_killed_is_found_by_the_next(
    dialect: Dialect, tmp_path: Path
) -> None:
    with serve_batches(dialect, echo) as server:
        kill_while_it_makes_a_batch(dialect, server.url, tmp_path, "after")
        assert texts(ask(dialect, server.url, tmp_path, ["b", "new"])) == [
            "you said b",
            "you said new",
        ]
        assert texts(ask(dialect, server.url, tmp_path, ["a", "c"])) == ["you said a", "you said c"]
    assert sorted(asked(server)) == ["a", "b", "c", "new"]
    assert list(tmp_path.iterdir()) == []


def test_a_batch_that_was_about_to_be_made_when_a_run_was_killed_is_made_by_the_next(
    tmp_path: Path,
) -> None:
    with serve_batches(OPENAI, echo) as server:
        kill_while_it_makes_a_batch(OPENAI, server.url, tmp_path, "before")
        assert texts(ask(OPENAI, server.url, tmp_path, ["a", "b", "c"])) == [
            f"you said {letter}" for letter in "abc"
        ]
    assert sorted(asked(server)) == ["a", "b", "c"]
    assert list(tmp_path.iterdir()) == []


def test_what_an_earlier_batch_lost_is_asked_again(dialect: Dialect, tmp_path: Path) -> None:
    with serve_batches(
        dialect,
        lambda body, number: None if said(body) == "b" and number < 3 else echo(body, number),
        num_looks=1_000,
    ) as server:
        interrupt(dialect, server, tmp_path, ["a", "b", "c"])
        server.num_looks = 0
        assert texts(ask(dialect, server.url, tmp_path, ["a", "b"])) == ["you said a", "you said b"]
        assert sorted(asked(server)) == ["a", "b", "b", "c"]
        assert texts(ask(dialect, server.url, tmp_path, ["a", "c"])) == ["you said a", "you said c"]
    assert sorted(asked(server)) == ["a", "a", "b", "b", "c"], (
        "an answer is given out once: who asks again wants another"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("page", ["<html>Bad gateway</html>", "", "half"])
def test_answers_that_came_torn_are_looked_for_again_before_they_are_paid_for_again(
    dialect: Dialect, page: str, tmp_path: Path
) -> None:
    torn: list[bool] = [True]

    def misbehave(method: str, path: str, number: int) -> Reply | None:
        if not (torn[0] and path.split("?")[0].endswith(dialect.results)):
            return None
        whole = dialect.respond(server, Request(method, path, server.headers[-1], b"")).body
        return Reply(whole[: len(whole) // 2] if page == "half" else page)

    with serve_batches(dialect, echo, num_looks=0, misbehave=misbehave) as server:
        first = ask(dialect, server.url, tmp_path, ["a", "b", "c"])
        assert sum(isinstance(answer, EndpointError) for answer in first) == (
            2 if page == "half" else 3
        )
        torn[0] = False
        left = [
            question
            for question, answer in zip("abc", first, strict=True)
            if isinstance(answer, EndpointError)
        ]
        assert texts(ask(dialect, server.url, tmp_path, left)) == [
            f"you said {question}" for question in left
        ]
        assert len(server.questions) == 3, "each was paid for once"
        assert list(tmp_path.iterdir()) == []
        # If it stays torn, it is asked again.
        torn[0] = True
        ask(dialect, server.url, tmp_path, ["d"])
        ask(dialect, server.url, tmp_path, ["d"])
    assert asked(server).count("d") == 2


def test_a_batch_that_is_gone_is_forgotten_and_its_questions_are_asked_again(
    dialect: Dialect, tmp_path: Path
) -> None:
    with serve_batches(dialect, echo, num_looks=1_000) as server:
        interrupt(dialect, server, tmp_path, ["a"])
        server.batches["other"], server.results["other"], server.looks["other"] = [], [], 0
        del server.batches["batch_0"]
        server.num_looks = 0
        assert texts(ask(dialect, server.url, tmp_path, ["a"])) == ["you said a"]
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_holds_the_batches_of_one_address_and_ignores_torn_and_old_files(
    tmp_path: Path,
) -> None:
    ledger = BatchLedger(tmp_path, "here")
    planned = ledger.plan("file-1", ["x"])
    first, second = ledger.made(planned, "b/1"), ledger.plan("file-2", ["x", "y"])
    (tmp_path / "torn.json").write_text("{")
    (tmp_path / "old.json").write_text(
        json.dumps({"handle": "", "id": "old", "address": "here", "keys": [], "sent_at": 0})
    )
    assert ledger.read() == [first, second]
    assert (first.id, first.handle, second.id) == ("b/1", "file-1", None)
    assert BatchLedger(tmp_path, "there").read() == []
    assert not (tmp_path / "old.json").exists()
    ledger.keep(first, [])
    ledger.keep(second, ["y"])
    ledger.keep(first, ["z"])
    assert ledger.read() == [replace(second, keys=("y",))]
