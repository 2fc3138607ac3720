"""HTTP requests about batches, with the key of the questions, retried where that is harmless."""

from __future__ import annotations

import io
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import aiohttp

from atlas.models.endpoints.connections import Connections, HttpReply
from atlas.models.endpoints.endpoint import (
    BUSY,
    REFUSED_ACCESS,
    REFUSED_REQUEST,
    Endpoint,
    retry_after_seconds,
)
from atlas.models.endpoints.retries import BusyError, Retries

MOST_REDIRECTS = 5
# Bytes of a file of answers.
LARGEST_FILE = 2**30
# The status of an error after which no question can be asked, where no server gave one.
UNUSABLE = 404

T = TypeVar("T")


class BatchRequestError(Exception):
    """A failed request. `status` is None where there was no response that can be read."""

    def __init__(
        self,
        message: str,
        status: int | None = None,
        code: object = None,
        wait_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        # A 429 that waiting does not help.
        self.is_spent = code == "insufficient_quota"
        self.wait_seconds = wait_seconds

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed later."""
        is_busy = self.status is None or self.status in BUSY or self.status >= 500
        return is_busy and not self.is_spent

    @property
    def is_final(self) -> bool:
        """Whether no other request can succeed either."""
        return self.is_spent or self.status in REFUSED_ACCESS + REFUSED_REQUEST


class BatchRequests:
    """An HTTP client that sends `headers`, which hold the key, with every request."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.headers: Mapping[str, str] = {}
        # A large file may take longer than one try at a question, but not in silence.
        self._connections = Connections(endpoint.timeout_seconds, LARGEST_FILE)
        self._retries = Retries(endpoint, "the batch endpoint")

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: bytes | aiohttp.FormData | None = None,
        has_key: bool = True,
    ) -> HttpReply:
        """The response to one request.

        Args:
            has_key: whether to send the key; not to an address that a response named.

        Raises:
            BatchRequestError: no response, or one with an error.
        """
        own = self.headers if has_key else {}
        reply = await self._request(method, url, {**own, **(headers or {})}, data)
        return _insist(reply)

    async def ask(self, method: str, url: str, row: Any = None, **options: Any) -> dict[str, Any]:
        """The JSON object in the response to one request, whose body may be the JSON of `row`."""
        if row is not None:
            options["data"] = json.dumps(row).encode()
            options["headers"] = {"Content-Type": "application/json"}
        return read_object(await self.send(method, url, **options))

    async def repeat(self, request: Callable[[], Awaitable[T]]) -> T:
        """The result of `request`, which is retried after failures that may pass.

        Raises:
            EndpointError: the failures did not pass.
        """

        async def attempt() -> T:
            try:
                return await request()
            except BatchRequestError as error:
                if not error.may_pass:
                    raise
                raise BusyError(str(error), error.wait_seconds) from None

        return await self._retries.run(attempt)

    async def fetch(self, url: str) -> bytes:
        """A file, with retries. The key does not follow a redirect to another server."""

        async def fetch() -> bytes:
            target = url
            for _ in range(MOST_REDIRECTS):
                is_same_server = urlsplit(target)[:2] == urlsplit(url)[:2]
                reply = await self._request("GET", target, self.headers if is_same_server else {})
                if not 300 <= reply.status < 400 or "Location" not in reply.headers:
                    break
                target = urljoin(target, reply.headers["Location"])
            return _insist(reply).body

        return await self.repeat(fetch)

    async def close(self) -> None:
        await self._connections.close()

    async def _request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: bytes | aiohttp.FormData | None = None,
    ) -> HttpReply:
        body = io.BytesIO(data) if isinstance(data, bytes) else data
        try:
            return await self._connections.send(method, url, headers, body)
        except ValueError as error:
            raise BatchRequestError(f"{type(error).__name__}: {error}", UNUSABLE) from None
        except (aiohttp.ClientError, OSError) as error:
            raise BatchRequestError(str(error) or type(error).__name__) from None


def read_object(reply: HttpReply) -> dict[str, Any]:
    """The JSON object in a response.

    Raises:
        BatchRequestError: there is none; another time there may be one.
    """
    row = _json(reply)
    if not isinstance(row, dict):
        raise BatchRequestError(f"not a JSON object: {reply.body.decode('utf-8', 'replace')}")
    return row


def _insist(reply: HttpReply) -> HttpReply:
    """Raise the error in a response that has one."""
    if 200 <= reply.status < 300:
        return reply
    row = _json(reply)
    error = row.get("error") if isinstance(row, dict) else None
    detail = error if isinstance(error, dict) else {"message": error}
    words = detail.get("message") or reply.body.decode("utf-8", "replace") or "(no message)"
    raise BatchRequestError(
        f"{reply.status} {words}", reply.status, detail.get("code"), retry_after_seconds(reply)
    )


def _json(reply: HttpReply) -> Any:
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError):
        return None
