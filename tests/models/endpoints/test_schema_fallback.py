from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from atlas.models.base import Completion, Sampling
from atlas.models.connect import connect
from atlas.models.endpoints.endpoint import Endpoint
from atlas.records import Message
from tests.models.endpoints.chat_server import Reply, completion, failure, serve

SCHEMA = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


def ask(url: str, times: int) -> Completion:
    """The last of `times` answers from one client."""

    async def run() -> Completion:
        client = connect("test-model", Endpoint(base_url=url, max_retries=0))
        try:
            for _ in range(times):
                answer = await client.complete(
                    (Message(role="user", content="hello"),), Sampling(response_schema=SCHEMA)
                )
            return answer
        finally:
            await client.close()

    return asyncio.run(run())


def test_a_server_without_schemas_is_asked_without_from_then_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return (
            failure(400, "response_format is not supported")
            if "response_format" in body
            else completion("{}")
        )

    with serve(answer) as server, caplog.at_level(logging.WARNING):
        assert ask(server.url, times=3).text == "{}"
    assert ["response_format" in body for body in server.requests] == [True, False, False, False]
    said = [record.message for record in caplog.records if "refuses JSON schemas" in record.message]
    assert len(said) == 1
    assert "model 'test-model'" in said[0]
    assert "response_format is not supported" in said[0]


def test_a_request_refused_for_another_reason_does_not_give_up_schemas() -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return failure(400, "too long") if number < 2 else completion("{}")

    with serve(answer) as server:
        assert ask(server.url, times=2).text == "{}"
    assert ["response_format" in body for body in server.requests] == [True, False, True]


def test_a_server_that_took_a_schema_once_is_not_asked_without() -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return failure(400, "too long") if number else completion("{}")

    with serve(answer) as server:
        assert ask(server.url, times=2).finish_reason == "rejected"
    assert len(server.requests) == 2
