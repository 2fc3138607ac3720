"""HTTP requests for batches, with the key of the questions; retried where that is safe."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import aiohttp

from atlas.models.endpoints.connections import Connections, HttpReply, decode_json
from atlas.models.endpoints.endpoint import Endpoint
from atlas.models.endpoints.http_error import HttpError, error_of
from atlas.models.endpoints.retries import BusyError, Retries

MOST_REDIRECTS = 5
# Maximum bytes of a file of answers.
LARGEST_FILE = 2**30
# Maximum bytes of any other answer. Google sends the answers of a small batch inside of it.
LARGEST_STATE = 2**26
# The status for an error without a server's status, after which no question can succeed.
UNUSABLE = 404

T = TypeVar("T")


class BatchRequests:
    """An HTTP client that sends `headers`, which hold the key, with every request."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.headers: Mapping[str, str] = {}
        # A large file may take longer than the time limit of one try, as long as data keeps
        # arriving.
        self._connections = Connections(endpoint.timeout_seconds, LARGEST_FILE)
        self._retries = Retries(endpoint, "the batch endpoint")

    async def send(
        self,
        method: str,
        url: str,
        data: bytes | aiohttp.FormData | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        has_key: bool = True,
        largest: int = LARGEST_FILE,
    ) -> HttpReply:
        """The response to one request. GET follows redirects, without the key to another server.

        Args:
            has_key: whether to send the key; false for an address that comes from a response.
            largest: maximum bytes of the response.

        Raises:
            HttpError: no response came, or it reports an error.
        """
        target = url
        for _ in range(MOST_REDIRECTS):
            is_own = has_key and urlsplit(target)[:2] == urlsplit(url)[:2]
            sent = {**(self.headers if is_own else {}), **(headers or {})}
            try:
                reply = await self._connections.send(method, target, sent, data, largest)
            except ValueError as error:
                raise HttpError(f"{type(error).__name__}: {error}", UNUSABLE) from None
            except (aiohttp.ClientError, OSError) as error:
                raise HttpError(str(error) or type(error).__name__) from None
            if 200 <= reply.status < 300:
                return reply
            is_redirect = 300 <= reply.status < 400 and "Location" in reply.headers
            if method != "GET" or not is_redirect:
                break
            target = urljoin(target, reply.headers["Location"])
        raise error_of(reply.status, reply.headers, reply.body)

    async def ask(self, method: str, url: str, *body: Any, row: Any = None) -> dict[str, Any]:
        """The JSON object in the response to one request.

        Args:
            body: data and headers, as `send` takes them.
            row: an object to send as JSON instead of `body`.
        """
        if row is not None:
            body = (json.dumps(row).encode(), {"Content-Type": "application/json"})
        reply = await self.send(method, url, *body, largest=LARGEST_STATE)
        return await asyncio.to_thread(read_object, reply)

    async def get(self, url: str) -> dict[str, Any]:
        """The JSON object at an address, with retries."""
        return await self.repeat(lambda: self.ask("GET", url))

    async def fetch(self, url: str) -> bytes:
        """Download a file, with retries."""
        return (await self.repeat(lambda: self.send("GET", url))).body

    async def repeat(self, request: Callable[[], Awaitable[T]]) -> T:
        """The result of `request`, which is retried after temporary failures.

        Raises:
            EndpointError: all tries failed.
        """

        async def attempt() -> T:
            try:
                return await request()
            except HttpError as error:
                if not error.may_pass:
                    raise
                raise BusyError(str(error), error.wait_seconds) from None

        return await self._retries.run(attempt)

    async def close(self) -> None:
        await self._connections.close()


def read_object(reply: HttpReply) -> dict[str, Any]:
    """The JSON object in a response.

    Raises:
        HttpError: the response holds no JSON object; another try may succeed.
    """
    try:
        row = decode_json(reply.body)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise HttpError(f"not a JSON object: {reply.body.decode('utf-8', 'replace')}")
    return row
