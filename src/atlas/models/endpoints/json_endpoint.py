"""A JSON API at one address: `body -> answer`, with retries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import aiohttp

from atlas.errors import ModelError
from atlas.models.endpoints.connections import (
    Connections,
    HttpReply,
    TooLargeError,
    Transport,
    decode_json,
)
from atlas.models.endpoints.endpoint import DEFAULT_VARIABLE, Censor, Endpoint, read_key
from atlas.models.endpoints.http_error import TOO_LATE, error_of
from atlas.models.endpoints.retries import BusyError, Retries

ReadT = TypeVar("ReadT")

# Answers up to this size are parsed in the event loop, larger ones in a thread.
SMALL_ANSWER = 64 * 1024
# If a timer fires later than this, this process was busy.
LATE_SECONDS = 0.02


class RejectedError(Exception):
    """The endpoint declined this request (too long, filtered); the message quotes it."""


class UnreadError(Exception):
    """The answer to this request is too large. It was paid for, and so would another one be."""


class JsonEndpoint:
    """Sends requests to `endpoint.base_url` + `path`, and redacts the key in answers.

    Args:
        model: the model's name, only for error messages.
        largest: maximum bytes of an answer, if not LARGEST_ANSWER; a larger one is not read.
    """

    def __init__(
        self,
        path: str,
        model: str,
        endpoint: Endpoint,
        transport: Transport | None = None,
        largest: int | None = None,
    ) -> None:
        assert endpoint.base_url is not None
        self.url = endpoint.base_url.rstrip("/") + path
        key = read_key(endpoint)
        self.censor = Censor([key])
        self._failure = f"{self.url} gave no answer from model '{model}'"
        variable = endpoint.api_key_variable or DEFAULT_VARIABLE
        self._advice = f"Check base_url, model and the key in {variable}."
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._transport = transport or Connections(largest=largest)
        self._timeout = None if self._transport.is_batched else endpoint.timeout_seconds
        self._retries = Retries(endpoint, self.url)

    async def ask(self, body: Mapping[str, Any], read: Callable[[Any], ReadT]) -> ReadT:
        """The result of `read` on the answer. If `read` raises ValueError, the request is repeated.

        A large answer is parsed and read in a thread, so that other answers do not wait for it.

        Raises:
            RejectedError: this request was declined; another one may be accepted.
            UnreadError: the answer is too large.
            EndpointError: no usable answer after all retries.
            ModelError: no request can succeed (no such model or path, key not accepted, no credit).
        """
        data = json.dumps(body).encode()
        return await self._retries.run(lambda: self._try(data, read))

    async def close(self) -> None:
        await self._transport.close()

    async def _try(self, data: bytes, read: Callable[[Any], ReadT]) -> ReadT:
        reply = await self._post(data)
        if reply.status != 200:
            raise self._failure_of(reply)
        if len(reply.body) <= SMALL_ANSWER:
            return self._read(reply, read)
        return await asyncio.to_thread(self._read, reply, read)

    def _read(self, reply: HttpReply, read: Callable[[Any], ReadT]) -> ReadT:
        try:
            return read(decode_json(reply.body))
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
            why = "not JSON"
        except ValueError as error:
            why = self.censor.quote(error)
        words = self.censor.quote(error_of(None, {}, reply.body))
        raise BusyError(self._no_answer(f"{why}: {words}"))

    async def _post(self, data: bytes) -> HttpReply:
        try:
            return await within(self._timeout, self._transport.post(self.url, self._headers, data))
        except TimeoutError:
            raise BusyError(TOO_LATE.format(self.url)) from None
        except TooLargeError as error:
            raise UnreadError(f"{error}, which is not read") from None
        except ValueError as error:
            said = f"{type(error).__name__}: {self.censor.quote(error)}".rstrip(". ")
            raise ModelError(
                f"{self.url} cannot be asked: {said}. Check base_url, and the proxies if any."
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            said = self.censor.quote(error) or type(error).__name__
            raise BusyError(self._no_answer(said)) from None

    def _failure_of(self, reply: HttpReply) -> Exception:
        status, headers = reply.status, reply.headers
        error = error_of(status, headers, reply.body)
        words = self.censor.quote(error.words)
        if error.is_rejected:
            return RejectedError(words)
        # Following a redirect could hand the key, or the trajectories, to another server.
        if 300 <= status < 400:
            target = self.censor.quote(headers.get("Location", "another address"))
            return ModelError(f"{self.url} redirects ({status}) to {target}. {self._advice}")
        return error.as_error(self._no_answer(f"{status} {words}"), self._transport.is_batched)

    def _no_answer(self, why: str) -> str:
        return f"{self._failure}: {why.rstrip('. ')}. {self._advice}"


async def within(seconds: float | None, work: Awaitable[ReadT]) -> ReadT:
    """The result of `work`, if it comes in time; None: without a limit.

    Time in which this process blocked its own event loop does not count: bytes that arrived in
    that time are still read.

    Raises:
        TimeoutError: the result did not come in time.
    """
    if seconds is None:
        return await work
    clock = asyncio.get_running_loop().time
    task = asyncio.ensure_future(work)
    try:
        left = seconds
        while left > LATE_SECONDS or left == seconds:
            started = clock()
            done, _ = await asyncio.wait([task], timeout=left)
            if done:
                return task.result()
            left = clock() - started - left
        raise TimeoutError
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
