"""Asks a batch server through the client of each provider."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from atlas.models.base import Completion, ModelClient, Sampling
from atlas.models.connect import connect
from atlas.models.endpoints.endpoint import Batching, Endpoint
from atlas.records import Message
from tests.models.endpoints import batch_server
from tests.models.endpoints.batch_dialects import Dialect
from tests.models.endpoints.batch_server import BatchServer
from tests.models.endpoints.chat_server import Reply, completion
from tests.models.endpoints.provider_answers import said

KEY = "sk-very-secret-0123456789"


def serve_batches(
    dialect: Dialect, *arguments: Any, **settings: Any
) -> AbstractContextManager[BatchServer]:
    return batch_server.serve_batches(*arguments, dialect=dialect, **settings)


def open_client(
    dialect: Dialect, url: str, batching: Batching, key: str = KEY, **settings: Any
) -> ModelClient:
    variables = {dialect.key_variable: key}
    if dialect.address_variable is not None:
        variables[dialect.address_variable] = url
    with patch.dict(os.environ, variables):
        return connect(
            dialect.model,
            Endpoint(base_url=None if dialect.address_variable else url, **settings),
            batching=batching,
        )


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
        values = {"max_retries": 1, "timeout_seconds": 5.0} | (settings or {})
        client = open_client(
            dialect, url, Batching(size, poll_seconds=0.02, folder=folder), **values
        )
        try:
            waiting = [
                client.complete((Message(role="user", content=question),), Sampling(**sampling))
                for question in questions
            ]
            return await asyncio.gather(*waiting, return_exceptions=True)  # type: ignore[return-value]
        finally:
            await client.close()

    return asyncio.run(run())


def texts(answers: list[Completion | Exception]) -> list[str]:
    return [answer.text if isinstance(answer, Completion) else repr(answer) for answer in answers]


def asked(server: BatchServer) -> list[str]:
    return [said(body) for body in server.bodies]


def ids_in(folder: Path) -> list[str | None]:
    """The ids of the batches in a ledger; None for one that is being made."""
    return [json.loads(path.read_text())["id"] for path in folder.rglob("*.json")]


def interrupt(dialect: Dialect, server: BatchServer, folder: Path, questions: list[str]) -> None:
    """Ask, and stop as soon as a batch was made."""

    async def run() -> None:
        client = open_client(dialect, server.url, Batching(100, 0.02, folder))
        waiting = [
            asyncio.create_task(
                client.complete((Message(role="user", content=question),), Sampling())
            )
            for question in questions
        ]
        while not any(ids_in(folder)):
            assert not any(task.done() for task in waiting), (
                "nothing is answered before the batch ends"
            )
            await asyncio.sleep(0.01)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await client.close()

    asyncio.run(run())
