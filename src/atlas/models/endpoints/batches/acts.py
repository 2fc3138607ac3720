"""Requests about batches: to the address and with the key of the questions, tried again where trying again is harmless."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import httpx2

from atlas.errors import ConfigError
from atlas.models.endpoints.endpoint import BUSY, Censor, retry_after_seconds
from atlas.models.endpoints.retries import BusyError, Retries

MOST_REDIRECTS = 5

T = TypeVar("T")


class ActError(Exception):
    """What a provider did not do. `status` is None where it said nothing that can be understood."""

    def __init__(
        self,
        said: str,
        status: int | None = None,
        code: object = None,
        wait_seconds: float | None = None,
    ) -> None:
        super().__init__(said)
        self.status = status
        self.is_spent = code == "insufficient_quota"  # a 429 that no waiting cures
        self.wait_seconds = wait_seconds

    @property
    def may_pass(self) -> bool:
        return not self.is_spent and (
            self.status is None or self.status in BUSY or self.status >= 500
        )


class Acts:
    """An HTTP client that knows who asks: whoever sees the questions pass sets `headers`. All that it does raises ActError."""

    def __init__(self, max_retries: int, timeout_seconds: float) -> None:
        self.headers: dict[str, str] = {}
        self._retries = Retries(max_retries, "the batch endpoint")
        try:
            self._client = httpx2.AsyncClient(timeout=timeout_seconds)
        except (
            ImportError,
            ValueError,
            httpx2.InvalidURL,
        ) as error:  # it looks at the proxies of the environment
            raise ConfigError(
                f"a proxy of the environment cannot be used: {Censor().quote(error)} Use one with http://…, or none."
            ) from None

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, **content: Any
    ) -> httpx2.Response:
        """The answer to one request, if it is yes; `content` is what httpx2 takes (json, content, files, data)."""
        return await self._send(method, url, self.headers | dict(headers or {}), **content)

    async def send_elsewhere(
        self, method: str, url: str, *, headers: Mapping[str, str], **content: Any
    ) -> httpx2.Response:
        """As `send`, to an address that an answer named: the key stays at home."""
        return await self._send(method, url, dict(headers), **content)

    async def ask(self, method: str, url: str, **content: Any) -> dict[str, Any]:
        """The JSON object in the answer to one request."""
        return read_object(await self.send(method, url, **content))

    async def again(self, act: Callable[[], Awaitable[T]]) -> T:
        """What `act` gives at last; it is done again after what may pass.

        Raises:
            EndpointError: that did not pass.
        """

        async def attempt() -> T:
            try:
                return await act()
            except ActError as error:
                if not error.may_pass:
                    raise
                raise BusyError(str(error), error.wait_seconds) from None

        return await self._retries.run(attempt)

    async def fetch(self, url: str) -> bytes:
        """A file, tried again; where it turns out to lie elsewhere, it is fetched without the key."""

        async def act() -> bytes:
            response = await self._request("GET", url, self.headers)
            for _ in range(MOST_REDIRECTS):
                if response.next_request is None:
                    break
                target = response.next_request.url
                response = await self._request(
                    "GET",
                    str(target),
                    self.headers if target.origin == httpx2.URL(url).origin else {},
                )
            content: bytes = _insist(response).content
            return content

        return await self.again(act)

    async def close(self) -> None:
        await self._client.aclose()

    async def _send(
        self, method: str, url: str, headers: dict[str, str], **content: Any
    ) -> httpx2.Response:
        return _insist(await self._request(method, url, headers, **content))

    async def _request(
        self, method: str, url: str, headers: dict[str, str], **content: Any
    ) -> httpx2.Response:
        try:
            return await self._client.request(method, url, headers=headers, **content)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:  # refused, cut, reset, too slow
            raise ActError(str(error) or type(error).__name__) from None


def read_object(response: httpx2.Response) -> dict[str, Any]:
    """
    Raises:
        ActError: no JSON object; it may be one another time.
    """
    try:
        row = response.json()
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise ActError(f"no JSON object: {response.text}")
    return row


def _insist(response: httpx2.Response) -> httpx2.Response:
    if response.is_success:
        return response
    try:
        error = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        error = None
    row = error if isinstance(error, dict) else {"message": error}
    said = f"{response.status_code} {row.get('message') or response.text or response.reason_phrase}"
    raise ActError(said, response.status_code, row.get("code"), retry_after_seconds(response))
