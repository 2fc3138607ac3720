"""One session with an OpenEnv server: requests and answers as JSON over its websocket `/ws`.

    {"type": "reset", "data": {"seed": 3}}    {"type": "observation", "data": {…}}
    {"type": "step", "data": {…}}             {"type": "error", "data": {"code": …, "message": …}}

A session belongs to its socket. After a late, oversized or unreadable answer the socket is dropped,
so an answer is never taken for that of another request.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, suppress
from typing import Any
from urllib.parse import urlsplit

from atlas.environments.openenv.config import OpenEnvConfig
from atlas.errors import ConfigError, EpisodeError

SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Seconds between two attempts to reach the server.
PAUSE = 0.25
CLOSING_SECONDS = 2.0
TOO_BIG = 1009
# Characters of an answer in a message.
MAX_SHOWN = 80


class RefusedError(Exception):
    """An answer of the type `error`.

    Attributes:
        code: such as VALIDATION_ERROR.
        faults: of a request that is not valid, as pydantic lists them.
    """

    def __init__(self, data: Any) -> None:
        data = data if isinstance(data, dict) else {}
        self.code = str(data.get("code") or "without a code")
        found = data.get("errors")
        self.faults = [one for one in found if isinstance(one, dict)] if found else []
        self.limit = data.get("max_sessions")
        said = " ".join(str(one.get("msg")) for one in self.faults) or data.get("message")
        super().__init__(str(said)[:400])


class Connection:
    """A session that is opened when it is needed, and again for an episode after it was lost."""

    def __init__(self, config: OpenEnvConfig) -> None:
        self._config = config
        self.url = socket_url(config.base_url)
        self._socket: Any = None
        self._open_sockets = ExitStack()

    def open(self) -> None:
        """Reach the server, which may just be starting.

        Raises:
            EpisodeError: it cannot be reached.
        """
        if self._socket is not None:
            return
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect

        # A proxy of the system does not know this machine's own servers.
        local: dict[str, Any] = {"proxy": None} if urlsplit(self.url).hostname in LOOPBACK else {}
        end = time.monotonic() + self._config.connect_seconds
        while True:
            try:
                context = connect(
                    self.url,
                    open_timeout=max(PAUSE, end - time.monotonic()),
                    close_timeout=CLOSING_SECONDS,
                    max_size=self._config.max_message_mib << 20,
                    **local,
                )
                self._socket = self._open_sockets.enter_context(context)
                return
            except (OSError, WebSocketException, EOFError) as error:
                if time.monotonic() + PAUSE >= end:
                    said = str(error) or type(error).__name__
                    raise EpisodeError(
                        f"no OpenEnv server answers at {self.url} ({said}). Start it, or set "
                        "base_url"
                    ) from None
                time.sleep(PAUSE)

    def begin(self, data: dict[str, Any]) -> Any:
        """The answer to `reset`. A session that the server closed is opened again.

        Raises:
            ConfigError: the server has no room for another session.
            EpisodeError: it gives no usable answer.
            RefusedError: it answers with an error.
        """
        end = time.monotonic() + self._config.connect_seconds
        is_new = self._socket is None
        while True:
            try:
                return self.ask("reset", data)
            except RefusedError as refusal:
                if refusal.code == "SESSION_ERROR" and not is_new:
                    # The server closed a session that was not used for long.
                    self.drop()
                    is_new = True
                    continue
                if refusal.code != "CAPACITY_REACHED":
                    raise
                self.drop()
                if time.monotonic() + PAUSE >= end:
                    raise ConfigError(
                        f"the OpenEnv server at {self.url} has room for {refusal.limit} sessions, "
                        f"and all are used. Set worlds={refusal.limit}, or let the server have "
                        "more."
                    ) from None
                time.sleep(PAUSE)
            except EpisodeError:
                # Between two episodes the server may have been restarted.
                if is_new or self._socket is not None:
                    raise
                is_new = True

    def ask(self, kind: str, data: dict[str, Any]) -> Any:
        """The data of the answer to one request.

        Raises:
            EpisodeError: no usable answer came; the session is lost.
            RefusedError: the answer is an error.
        """
        self.open()
        try:
            answer = self._exchange(json.dumps({"type": kind, "data": data}))
            if not isinstance(answer, dict) or not {"type", "data"} <= answer.keys():
                raise EpisodeError(f"{self._who} answered {_short(answer)} to {kind}")
            if answer["type"] == "error":
                raise RefusedError(answer["data"])
            if answer["type"] != "observation":
                shown = f"the type {_short(answer['type'])} to {kind}, expected 'observation'"
                raise EpisodeError(f"{self._who} answered with {shown}")
        except EpisodeError:
            self.drop()
            raise
        return answer["data"]

    def drop(self) -> None:
        """Forget the session; its socket is closed."""
        self._socket = None
        with suppress(Exception):
            self._open_sockets.close()

    def close(self) -> None:
        """End the session."""
        if self._socket is not None:
            with suppress(Exception):
                self._socket.send(json.dumps({"type": "close"}))
        self.drop()

    @property
    def _who(self) -> str:
        return f"the OpenEnv server at {self.url}"

    def _exchange(self, request: str) -> Any:
        from websockets.exceptions import ConnectionClosed

        seconds = self._config.timeout_seconds
        try:
            # A server that is full says so and closes, often before the request was sent.
            with suppress(ConnectionClosed):
                self._socket.send(request)
            text = self._socket.recv(timeout=seconds)
        except TimeoutError:
            waited = f"did not answer in {seconds:g} s (timeout_seconds)"
            raise EpisodeError(f"{self._who} {waited}") from None
        except ConnectionClosed as error:
            if error.sent is not None and error.sent.code == TOO_BIG:
                limit = f"{self._config.max_message_mib} MiB (max_message_mib)"
                reason = f"sent a message of more than {limit}"
            else:
                reason = f"closed the connection ({error})"
            raise EpisodeError(f"{self._who} {reason}") from None
        except OSError as error:
            raise EpisodeError(f"{self._who} is lost: {error}") from None
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise EpisodeError(f"{self._who} answered {_short(text)}, expected JSON") from None


def socket_url(base_url: str) -> str:
    """The websocket's address for a server's.

    Raises:
        ConfigError: the address has another scheme.
    """
    text = base_url.rstrip("/")
    scheme, has_scheme, rest = text.partition("://")
    if not has_scheme:
        scheme, rest = "http", text
    if scheme not in SCHEMES or not rest:
        raise ConfigError(f"base_url={base_url}: expected an address such as http://127.0.0.1:8000")
    return f"{SCHEMES[scheme]}://{rest}/ws"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
