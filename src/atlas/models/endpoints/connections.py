"""HTTP connections over aiohttp: `method, URL, headers, bytes -> status, headers, bytes`."""

from __future__ import annotations

import io
import json
import re
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp

from atlas.models.endpoints.endpoint import is_loopback

# Maximum bytes of an answer, after decompression. The longest output of today's models (128,000
# tokens) has about 1 MB, and 3 MB if every character is escaped.
LARGEST_ANSWER = 8 * 1024 * 1024
# Maximum bytes of an error that are read.
LARGEST_ERROR = 64 * 1024


class TooLargeError(aiohttp.ClientPayloadError):
    """A server sent a larger answer than is read."""


@dataclass(frozen=True, slots=True)
class HttpReply:
    """A whole HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """Sends questions to a server.

    If `is_batched`, many questions are answered together. Then the duration and the number of
    requests in flight say nothing about the load of the server.
    """

    @property
    def is_batched(self) -> bool: ...

    async def post(self, url: str, headers: Mapping[str, str], data: bytes) -> HttpReply:
        """Send one question.

        Raises:
            TooLargeError: the answer is too large.
            OSError, aiohttp.ClientError: no response came; another try may succeed.
            ValueError: no try can succeed, because the address, a proxy or a certificate is
                unusable.
        """
        ...

    async def close(self) -> None: ...


class Connections:
    """An HTTP client with one connection per request in flight. It does not follow redirects.

    Args:
        idle_seconds: maximum time without data from the server; None: the caller limits the time.
        largest: maximum bytes of an answer; None: LARGEST_ANSWER.
    """

    is_batched = False

    def __init__(self, idle_seconds: float | None = None, largest: int | None = None) -> None:
        self._timeout = aiohttp.ClientTimeout(sock_connect=idle_seconds, sock_read=idle_seconds)
        self._largest = largest or LARGEST_ANSWER
        # Opened by the first request, inside the event loop that uses it.
        self._session: aiohttp.ClientSession | None = None
        self._proxies: dict[tuple[str, str], str | None] = {}

    async def post(self, url: str, headers: Mapping[str, str], data: bytes) -> HttpReply:
        return await self.send("POST", url, headers, data)

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: bytes | aiohttp.FormData | None = None,
        largest: int | None = None,
    ) -> HttpReply:
        """Send one request. Raises the same errors as `Transport.post`.

        Only the beginning of an error response is read.

        Args:
            largest: maximum bytes of this answer, if it is less than that of all answers.
        """
        largest = self._largest if largest is None else min(largest, self._largest)
        body = io.BytesIO(data) if isinstance(data, bytes) else data
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=self._timeout,
            )
        async with self._session.request(
            method, url, data=body, headers=headers, allow_redirects=False, proxy=self._proxy(url)
        ) as response:
            is_error = response.status >= 400
            largest = LARGEST_ERROR if is_error else largest
            answer = bytearray()
            # The chunks are decompressed, and aiohttp limits the size of each of them.
            async for chunk in response.content.iter_any():
                answer += chunk
                if len(answer) > largest:
                    if is_error:
                        break
                    raise TooLargeError(f"an answer of more than {largest:,} bytes")
            return HttpReply(response.status, response.headers, bytes(answer[:largest]))

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _proxy(self, url: str) -> str | None:
        """The proxy for this address from environment variables.

        aiohttp can look it up too, but it would also send passwords from a .netrc file.
        """
        parts = urlsplit(url)
        server = (parts.scheme, parts.netloc)
        if server not in self._proxies:
            is_direct = is_loopback(url) or urllib.request.proxy_bypass(parts.netloc)
            proxy = None if is_direct else urllib.request.getproxies().get(parts.scheme)
            # aiohttp would use HTTP with any other kind of proxy.
            if proxy is not None and re.match(r"(?!https?:)\w+://", proxy, re.IGNORECASE):
                raise ValueError(f"the proxy {proxy} is not supported, expected http://…")
            self._proxies[server] = proxy
        return self._proxies[server]


def decode_json(body: bytes) -> Any:
    """The JSON in an answer. A number with thousands of digits becomes infinite.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it is nested too deeply.
    """
    try:
        return json.loads(body)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError:
        # Python refuses to make such a number a whole one.
        return json.loads(body, parse_int=float)
