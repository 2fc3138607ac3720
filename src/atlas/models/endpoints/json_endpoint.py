"""One address that takes JSON and gives JSON: `body -> answer`, with retries.

It serves every client that asks a server without an SDK. It decides which answers are worth asking
again and what each failure means for the caller.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import aiohttp

from atlas.errors import EndpointError, ModelError
from atlas.models.endpoints.connections import Connections, HttpReply, Transport
from atlas.models.endpoints.endpoint import (
    BUSY,
    DEFAULT_VARIABLE,
    REFUSED_ACCESS,
    REFUSED_REQUEST,
    TOO_MUCH,
    Censor,
    Endpoint,
    read_key,
    retry_after_seconds,
)
from atlas.models.endpoints.retries import BusyError, Retries

ReadT = TypeVar("ReadT")


class RejectedError(Exception):
    """The endpoint declined this request (too long, filtered); the message quotes it."""


class JsonEndpoint:
    """Asks `endpoint.base_url` + `path`, and redacts the key in all that comes back.

    Args:
        model: for messages only.
    """

    def __init__(
        self, path: str, model: str, endpoint: Endpoint, transport: Transport | None = None
    ) -> None:
        assert endpoint.base_url is not None
        self.url = endpoint.base_url.rstrip("/") + path
        key = read_key(endpoint)
        self.censor = Censor([key])
        self._failure = f"{self.url} gave no answer from model '{model}'"
        variable = endpoint.api_key_variable or DEFAULT_VARIABLE
        self._advice = f"Check base_url, model and the key in {variable}."
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._transport = transport or Connections()
        self._timeout = None if self._transport.is_batched else endpoint.timeout_seconds
        self._retries = Retries(endpoint, self.url)

    async def ask(self, body: Mapping[str, Any], read: Callable[[Any], ReadT]) -> ReadT:
        """The result of `read` on the answer. Where `read` raises ValueError, it asks again.

        Raises:
            RejectedError: this request was declined; another one may be accepted.
            EndpointError: no usable answer after all retries.
            ModelError: no request can succeed (no such model or path, key not accepted, no credit).
        """
        data = json.dumps(body).encode()
        return await self._retries.run(lambda: self._try(data, read))

    async def _try(self, data: bytes, read: Callable[[Any], ReadT]) -> ReadT:
        reply = await self._post(data)
        if reply.status != 200:
            raise self._failure_of(reply)
        try:
            return read(json.loads(reply.body))
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
            why = "not JSON"
        except ValueError as error:
            why = self.censor.quote(error)
        raise BusyError(self._no_answer(f"{why}: {self._quote(reply.body)}"))

    async def _post(self, data: bytes) -> HttpReply:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._transport.post(self.url, self._headers, data)
        except TimeoutError:
            raise BusyError(
                f"{self.url} did not answer in time. Raise timeout_seconds, or lower max_in_flight."
            ) from None
        except ValueError as error:
            said = f"{type(error).__name__}: {self.censor.quote(error)}".rstrip(". ")
            raise ModelError(
                f"{self.url} cannot be asked: {said}. Check base_url, and the proxies if any."
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            said = self.censor.quote(error) or type(error).__name__
            raise BusyError(self._no_answer(said)) from None

    async def close(self) -> None:
        await self._transport.close()

    def _failure_of(self, reply: HttpReply) -> Exception:
        status, words = reply.status, self._quote(reply.body)
        if status in REFUSED_REQUEST:
            return RejectedError(words)
        message = self._no_answer(f"{status} {words}")
        if status in REFUSED_ACCESS or _is_spent(reply.body):
            return ModelError(message)
        # Following a redirect could hand the key, or the trajectories, to somebody else.
        if 300 <= status < 400:
            target = self.censor.quote(reply.headers.get("Location", "another address"))
            return ModelError(f"{self.url} redirects ({status}) to {target}. {self._advice}")
        if status >= 500 or status in BUSY:
            is_too_much = status in TOO_MUCH and not self._transport.is_batched
            return BusyError(message, retry_after_seconds(reply), is_too_much)
        return EndpointError(message)

    def _no_answer(self, why: str) -> str:
        return f"{self._failure}: {why.rstrip('. ')}. {self._advice}"

    def _quote(self, body: bytes) -> str:
        """The endpoint's error message, or the whole body where there is none."""
        text = body.decode("utf-8", "replace")
        try:
            error = json.loads(text)["error"]
            text = str(error["message"] if isinstance(error, dict) else error)
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        return self.censor.quote(text)


def _is_spent(body: bytes) -> bool:
    """Whether a 429 means that no credit is left, so that waiting does not help."""
    try:
        return bool(json.loads(body)["error"]["code"] == "insufficient_quota")
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
