"""Answers kept beyond a run: the same question to the same model, in the same words and settings, is paid for once.

One SQLite file for all runs of a user, which several processes may use at a time. Forgetting it costs money, never a result.
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
from atlas.records import Message, Usage

logger = logging.getLogger(__name__)

BUSY_SECONDS = 30.0  # another process writes for milliseconds


class CachedClient:
    """`client` with a memory in `file`. An answer out of it has no usage: it was paid for before.

    Args:
        asked: what else decides the answer, such as the model's name and the server's address.
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
        self._failure: RunError | None = None  # met when an answer was to be kept
        self._asking: dict[
            str, asyncio.Future[None]
        ] = {}  # by question: done when its answer is kept, or there is none

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """As the client's; what it declined or did not answer is not kept.

        Raises:
            RunError: the file cannot be used.
        """
        question = self._key(messages, sampling)
        while (
            asking := self._asking.get(question)
        ) is not None:  # by another trajectory with the same words
            await asyncio.shield(asking)
        kept = self._find(question)
        if kept is not None:
            return kept
        self._asking[question] = asyncio.get_running_loop().create_future()
        try:
            answer = await self._client.complete(messages, sampling)
            if answer.refusal is None and not answer.tool_calls:
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
        try:
            row = self._database.execute(
                "select answer from answers where question = ?", [question]
            ).fetchone()
        except sqlite3.Error as error:
            raise self._unusable(error) from None
        return None if row is None else Completion(usage=Usage(), **json.loads(row[0]))

    def _keep(self, question: str, answer: Completion) -> None:
        """An answer that cannot be kept is paid for, so it is given all the same: the next question fails."""
        row = json.dumps({"text": answer.text, "finish_reason": answer.finish_reason})
        try:
            self._database.execute("insert or ignore into answers values (?, ?)", [question, row])
        except sqlite3.Error as error:
            self._failure = self._unusable(error)
            logger.warning("%s", self._failure)

    def _key(self, messages: Sequence[Message], sampling: Sampling) -> str:
        written = [self._asked, [message.model_dump() for message in messages], asdict(sampling)]
        return hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()

    def _unusable(self, error: Exception) -> RunError:
        return RunError(
            f"the cache of answers {self._file} cannot be used: {error}. Remove it (answers in it are paid for again), or leave cache out."
        )


def _open(file: Path) -> sqlite3.Connection:
    file.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        database.execute("pragma journal_mode = wal")
        database.execute("pragma synchronous = normal")
        database.execute(
            "create table if not exists answers (question text primary key, answer text not null) without rowid"
        )
    except sqlite3.Error:
        database.close()
        raise
    return database
