"""HTTP to one server of AgentGym: bounded replies, bounded time, no request carried out twice.

A request that the server did not take because it is busy (503) is sent again for a while. After a
broken connection a request is sent again only if it is about no world in particular: the server may
have restarted, or may have carried out the request.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson

from atlas.environments.agentgym.bounded import bounded_connection
from atlas.errors import EpisodeError

MAX_REPLY_BYTES = 8 * 2**20
# uvicorn drops an idle connection after five seconds. A new one costs a fraction of a millisecond,
# so that no request is written to a connection that is just being dropped.
IDLE_SECONDS = 2.0
CLOSING_SECONDS = 5.0
# Not carried out: the server or its proxy is busy.
BUSY = (429, 503)


@dataclass(frozen=True, slots=True)
class GymReply:
    """The status and the JSON value of a reply; None where the body was not JSON."""

    status: int
    value: Any = None


class GymClient:
    """Requests to one server, one at a time, over one kept connection.

    Args:
        timeout_seconds: the longest that a request may take.
        restart_seconds: how long a request that was not carried out is tried again.
    """

    def __init__(self, url: str, timeout_seconds: float, restart_seconds: float) -> None:
        import urllib3

        self.url = url
        self._urllib3 = urllib3
        self._timeout_seconds = timeout_seconds
        self.restart_seconds = restart_seconds
        self._deadline = 0.0
        self._connection = bounded_connection(lambda: self._deadline)
        self._pool = self._new_pool()
        self._prefix = urllib3.util.parse_url(url).path or ""
        self._used = 0.0

    def post(self, route: str, body: Mapping[str, Any] | None, *, repeat: bool) -> GymReply:
        """The reply to a POST with a JSON body, or without a body.

        Args:
            repeat: the request may be sent again, also to a server that was restarted.

        Raises:
            EpisodeError: no usable reply came.
        """
        return self._ask("POST", route, None if body is None else orjson.dumps(body), repeat)

    def get(self, route: str, query: Mapping[str, Any] | None = None) -> GymReply:
        """The reply to a GET.

        Raises:
            EpisodeError: no usable reply came.
        """
        return self._ask("GET", f"{route}?{urlencode(query)}" if query else route, None, True)

    def hurry(self) -> None:
        """From now on, do not wait long."""
        self.restart_seconds = 0.0
        self._timeout_seconds = min(self._timeout_seconds, CLOSING_SECONDS)

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()

    def _ask(self, method: str, route: str, body: bytes | None, repeat: bool) -> GymReply:
        where = f"{method} {self.url}{route.partition('?')[0]}"
        started = time.monotonic()
        pause = 0.1
        while True:
            if time.monotonic() - self._used > IDLE_SECONDS:
                self._pool.close()
                self._pool = self._new_pool()
            try:
                reply = self._once(method, route, body, where)
                if reply.status not in BUSY:
                    return reply
                fault, is_safe = f"HTTP {reply.status}", True
            except self._urllib3.exceptions.HTTPError as error:
                fault = _explain(error)
                is_safe = repeat or isinstance(error, self._urllib3.exceptions.ConnectTimeoutError)
            finally:
                self._used = time.monotonic()
            if not is_safe or self._used - started + pause > self.restart_seconds:
                raise EpisodeError(f"agentgym: {where}: {fault}")
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

    def _new_pool(self) -> Any:
        pool = self._urllib3.connection_from_url(self.url, maxsize=1, block=False)
        if pool.scheme == "http":
            pool.ConnectionCls = self._connection
        return pool

    def _once(self, method: str, route: str, body: bytes | None, where: str) -> GymReply:
        self._deadline = deadline = time.monotonic() + self._timeout_seconds
        response = self._pool.urlopen(
            method,
            self._prefix + route,
            body=body,
            headers={"Content-Type": "application/json"} if body is not None else {},
            retries=False,
            redirect=False,
            preload_content=False,
            timeout=self._urllib3.Timeout(
                connect=min(5.0, self._timeout_seconds), read=self._timeout_seconds
            ),
        )
        try:
            content = self._content(response, deadline, where)
        except BaseException:
            # The rest of the reply must not be read as the next one.
            response.close()
            raise
        response.release_conn()
        try:
            return GymReply(response.status, orjson.loads(content))
        except orjson.JSONDecodeError:
            if response.status == 200:
                raise EpisodeError(
                    f"agentgym: {where}: the reply of {len(content)} bytes is not JSON"
                ) from None
            return GymReply(response.status)

    def _content(self, response: Any, deadline: float, where: str) -> bytes:
        content = bytearray()
        while part := response.read1(65_536, decode_content=False):
            content += part
            if len(content) > MAX_REPLY_BYTES:
                raise EpisodeError(
                    f"agentgym: {where}: the reply is longer than {MAX_REPLY_BYTES:,} bytes"
                )
            if time.monotonic() > deadline:
                raise EpisodeError(
                    f"agentgym: {where}: the reply took more than {self._timeout_seconds:g} s"
                )
        return bytes(content)


def _explain(error: Exception) -> str:
    """What happened on the wire, without addresses of objects."""
    reason = getattr(error, "__cause__", None) or error
    return f"{type(error).__name__}: {reason.args[-1] if reason.args else reason}"
