"""A cache of answers for all runs: a question with the same text and settings is paid for once.

All runs of a user share one SQLite file, even at the same time. If it is lost, answers must be paid
for again, but no result is lost.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from atlas.errors import RunError
from atlas.models.base import Completion, ModelClient, Sampling
from atlas.models.endpoints.endpoint import cache_folder
from atlas.records import Message, ToolCall, Usage
from atlas.store.write_ahead_log import use_write_ahead_log

logger = logging.getLogger(__name__)

# A write by another process takes milliseconds.
BUSY_SECONDS = 30.0


class CachedClient:
    """Adds a cache in `file` to `client`. A cached answer has no usage: it was paid for before.

    `asked` is everything else that determines the answer, such as the model's name and the server's
    address.
    """

    def __init__(
        self, client: ModelClient, asked: Sequence[str | None], file: Path | None = None
    ) -> None:
        self._client = client
        self._asked = list(asked)
        self._file = file or cache_folder() / "answers.sqlite"
        try:
            self._database = _open(self._file)
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from None
        # The error of an attempt to store an answer.
        self._failure: RunError | None = None
        # By question; done when its answer is stored, or there is none.
        self._asking: dict[str, asyncio.Future[None]] = {}

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """A cached answer, or the client's answer. A refusal is not stored.

        Raises:
            RunError: the file cannot be used.
        """
        question = self._key(messages, sampling)
        # Another trajectory may be asking the same question now.
        while (asking := self._asking.get(question)) is not None:
            await asyncio.shield(asking)
        kept = self._find(question)
        if kept is not None:
            return kept
        self._asking[question] = asyncio.get_running_loop().create_future()
        try:
            answer = await self._client.complete(messages, sampling)
            if answer.refusal is None:
                self._keep(question, answer)
            return answer
        finally:
            self._asking.pop(question).set_result(None)

    async def close(self) -> None:
        self._database.close()
        await self._client.close()

    def _find(self, question: str) -> Completion | None:
        if self._failure is not None:
            raise self._failure
        find = "select answer from answers where question = ?"
        try:
            row = self._database.execute(find, [question]).fetchone()
        except sqlite3.Error as error:
            raise self._unusable(error) from None
        if row is None:
            return None
        try:
            kept = json.loads(row[0])
            calls = tuple(ToolCall.model_validate(call) for call in kept.pop("tool_calls"))
            return Completion(usage=Usage(), tool_calls=calls, **kept)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self._unusable(error) from None

    def _keep(self, question: str, answer: Completion) -> None:
        """Store an answer. If that fails, the answer is still used; the next question fails."""
        calls = [call.model_dump() for call in answer.tool_calls]
        row = {
            "text": answer.text,
            "finish_reason": answer.finish_reason,
            "tool_calls": calls,
            "model": answer.model,
        }
        insert = "insert or ignore into answers values (?, ?)"
        try:
            self._database.execute(insert, [question, json.dumps(row)])
        except sqlite3.Error as error:
            self._failure = self._unusable(error)
            logger.warning("%s", self._failure)

    def _key(self, messages: Sequence[Message], sampling: Sampling) -> str:
        written = [self._asked, [message.model_dump() for message in messages], asdict(sampling)]
        return hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()

    def _unusable(self, error: Exception) -> RunError:
        return RunError(
            f"the cache of answers {self._file} cannot be used: {error}. Remove it (its answers "
            "are paid for again), or leave cache out."
        )


def _open(file: Path) -> sqlite3.Connection:
    file.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        use_write_ahead_log(database, BUSY_SECONDS)
        database.execute("pragma synchronous = normal")
        database.execute(
            "create table if not exists answers "
            "(question text primary key, answer text not null) without rowid"
        )
    except sqlite3.Error:
        database.close()
        raise
    return database
