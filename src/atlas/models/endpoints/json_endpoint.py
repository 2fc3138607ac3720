"""One address that takes JSON and gives JSON: `body -> answer`, as often as it takes.

The client of every server that we speak to without an SDK. Which answers are worth asking again, and what each failure means
for the caller, is the same for all of them and is here alone.
"""

from __future__ import annotations

import asyncio
import io
import json
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import aiohttp

from atlas.errors import EndpointError, ModelError
from atlas.models.endpoints.endpoint import (
    BUSY,
    DEFAULT_VARIABLE,
    REFUSED_ACCESS,
    REFUSED_REQUEST,
    TOO_MUCH,
    Censor,
    read_key,
    retry_after_seconds,
)
from atlas.models.endpoints.retries import BusyError, Retries

LARGEST_ANSWER = 64 * 1024 * 1024  # bytes; a server that does not stop would fill the memory

ReadT = TypeVar("ReadT")


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Wire(Protocol):
    """How a request travels. With `gathers` many are answered together: how many are under way is no matter then, nor how long it takes."""

    @property
    def gathers(self) -> bool: ...

    async def post(self, url: str, headers: Mapping[str, str], data: bytes) -> Reply:
        """Raises OSError or aiohttp.ClientError where nothing came back, ValueError where nothing ever will: no such address can be."""
        ...

    async def close(self) -> None: ...


class Connections:
    """Connections that are kept, as many as there are requests under way."""

    gathers = False

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None  # made inside the loop that uses it

    async def post(self, url: str, headers: Mapping[str, str], data: bytes) -> Reply:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(),  # who asks sets one for the whole try
                proxy=_proxy_of(url),
            )
        async with self._session.post(
            url, data=io.BytesIO(data), headers=headers, allow_redirects=False
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > LARGEST_ANSWER:
                    raise aiohttp.ClientPayloadError(
                        f"an answer of more than {LARGEST_ANSWER:,} bytes"
                    )
            return Reply(response.status, response.headers, bytes(body))

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


class RejectedError(Exception):
    """The endpoint declined this request as such (too long, filtered, a setting it does not know); the message is its own words."""


class JsonEndpoint:
    """Asks `url`, with the key of the named variable, which is struck out of all that comes back.

    Args:
        url: the whole address, such as http://127.0.0.1:8000/v1/chat/completions.
        model: for messages only.
        timeout_seconds: of one try, from connecting to the last byte, unless the wire gathers.
        max_retries: tries after the first, where the server is busy or breaks; as late as its Retry-After says.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key_variable: str | None,
        timeout_seconds: float,
        max_retries: int,
        wire: Wire | None = None,
    ) -> None:
        self.url = url
        key = read_key(url, api_key_variable)
        self.censor = Censor([key])
        self._failure = f"{url} gave no answer from model '{model}'"
        self._advice = (
            f"Check base_url, model and the key in {api_key_variable or DEFAULT_VARIABLE}."
        )
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._wire = wire or Connections()
        self._timeout_seconds = None if self._wire.gathers else timeout_seconds
        self._retries = Retries(max_retries, url)

    async def ask(self, body: Mapping[str, Any], read: Callable[[Any], ReadT]) -> ReadT:
        """What `read` makes of the answer; it raises ValueError where that is no answer, which is then asked for again.

        Raises:
            RejectedError: this request was declined; another may not be.
            EndpointError: no answer after all retries, or one that no retry changes.
            ModelError: no request can succeed: no such model or path, key not accepted, account spent.
        """
        data = json.dumps(body).encode()
        return await self._retries.run(lambda: self._try(data, read))

    async def _try(self, data: bytes, read: Callable[[Any], ReadT]) -> ReadT:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                reply = await self._wire.post(self.url, self._headers, data)
        except TimeoutError:
            raise BusyError(
                f"{self.url} did not answer in time. Raise timeout_seconds, or lower max_in_flight."
            ) from None
        except (
            ValueError
        ) as error:  # no name of a host, no address of a proxy, a certificate that is not accepted
            said = f"{type(error).__name__}: {self.censor.quote(error)}".rstrip(". ")
            raise ModelError(
                f"{self.url} cannot be asked: {said}. Check base_url, and the proxies if there are any."
            ) from None
        except (aiohttp.ClientError, OSError) as error:  # refused, cut, reset
            raise BusyError(
                self._no_answer(self.censor.quote(error) or type(error).__name__)
            ) from None
        if reply.status != 200:
            raise self._failure_of(reply)
        try:
            return read(json.loads(reply.body))
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
            raise BusyError(self._no_answer(f"no JSON: {self._quote(reply.body)}")) from None
        except ValueError as error:
            raise BusyError(
                self._no_answer(f"{self.censor.quote(error)}: {self._quote(reply.body)}")
            ) from None

    async def close(self) -> None:
        await self._wire.close()

    def _failure_of(self, reply: Reply) -> Exception:
        """What an answer that is none means."""
        status, words = reply.status, self._quote(reply.body)
        if status in REFUSED_REQUEST:
            return RejectedError(words)
        message = self._no_answer(f"{status} {words}")
        if status in REFUSED_ACCESS or _is_spent(reply.body):
            return ModelError(message)
        if (
            300 <= status < 400
        ):  # following it could hand the key, or the trajectories, to somebody else
            where = self.censor.quote(reply.headers.get("Location", "another address"))
            return ModelError(f"{self.url} sends elsewhere ({status}): {where}. {self._advice}")
        if status >= 500 or status in BUSY:
            return BusyError(
                message,
                retry_after_seconds(reply),
                is_too_much=status in TOO_MUCH and not self._wire.gathers,
            )
        return EndpointError(message)

    def _no_answer(self, why: str) -> str:
        return f"{self._failure}: {why.rstrip('. ')}. {self._advice}"

    def _quote(self, said: bytes) -> str:
        """The endpoint's words: its error message where there is one, else what it sent."""
        text = said.decode("utf-8", "replace")
        try:
            error = json.loads(text)["error"]
            text = str(error["message"] if isinstance(error, dict) else error)
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        return self.censor.quote(text)


def _is_spent(said: bytes) -> bool:
    """Whether a 429 is one that no waiting cures."""
    try:
        return bool(json.loads(said)["error"]["code"] == "insufficient_quota")
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _proxy_of(url: str) -> str | None:
    """The proxy that the environment names for this address. aiohttp's own look at it would send passwords out of a .netrc, too."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy is not None and proxy.lower().startswith("socks"):  # aiohttp would speak HTTP to it
        raise ValueError(f"{proxy} is no proxy that is spoken to here, expected http://…")
    return proxy
