"""An environment behind OpenEnv's websocket: `/ws`, one session a connection; `/health`.

Browsers are refused: a page on another site could otherwise play on this machine's server.
"""

from __future__ import annotations

import json
import logging
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import Field

from atlas.config import Config
from atlas.environments.base import ENVIRONMENT
from atlas.environments.worlds import Limits
from atlas.errors import ConfigError
from atlas.kinds import Choice
from atlas.serving.offered_tasks import OfferedTasks
from atlas.serving.openenv_session import Session, fault

CLOSING_SECONDS = 2.0


class ServeConfig(Config):
    """Which environment is offered, where, and to how many clients."""

    environment: Annotated[Choice, ENVIRONMENT] = Field(
        default=Choice("babyai"),
        description="an environment listed below, or your own as package.module:Class",
    )
    host: str = Field(
        default="127.0.0.1",
        description="the address to listen at; 0.0.0.0 lets every machine of the network play",
    )
    port: int = Field(
        default=8000, ge=0, le=65535, description="the port to listen at; 0: any free one"
    )
    split: str = Field(default="train", description="the split of a client that names none")
    tasks: int = Field(
        default=100,
        ge=1,
        description="how many tasks of a split are offered; `seed` of reset is "
        "the number of the task, from 0",
    )
    seed: int = Field(default=0, ge=0, description="seed for the choice of tasks")
    sessions: int = Field(default=64, ge=1, description="how many clients may play at a time")
    idle_seconds: float = Field(
        default=600.0, gt=0, description="a session without a request for so long is closed"
    )
    max_message_kib: int = Field(
        default=256, ge=1, description="the largest request that is read, in KiB"
    )
    limits: Limits = Field(default=Limits(), description="time limits for an environment")

    def needed_extras(self) -> tuple[str, ...]:
        return ("openenv",)


def serve_environment(config: ServeConfig, on_start: Callable[[str], None]) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        on_start: called with the server's address once it accepts clients.

    Raises:
        ConfigError: the environment or its split cannot be offered, or the port is taken.
    """
    from websockets.sync.server import serve

    # Connections that break off while they open would be logged with tracebacks.
    logger = logging.getLogger("atlas.serving")
    logger.setLevel(logging.CRITICAL)
    hall = _Hall(config)
    try:
        server = serve(
            hall.receive,
            config.host,
            config.port,
            origins=[None],
            process_request=_process_request,
            max_size=config.max_message_kib << 10,
            # A client that is gone does not answer.
            close_timeout=CLOSING_SECONDS,
            logger=logger,
        )
    except OSError as error:
        raise ConfigError(
            f"port {config.port} of {config.host} cannot be used: {error.strerror or error}. "
            "Set another port=, or port=0 for any free one."
        ) from None
    port = server.socket.getsockname()[1]
    host = f"[{config.host}]" if ":" in config.host else config.host
    on_start(f"http://{host}:{port}")
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        hall.close()
        server.shutdown()
        signal.signal(signal.SIGTERM, before)


class _Hall:
    """The sessions that are open."""

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        choice, limits = config.environment, config.limits
        self._tasks = OfferedTasks(choice, config.split, config.tasks, config.seed, limits)
        self._lock = threading.Lock()
        self._sockets: set[Any] = set()

    def receive(self, socket: Any) -> None:
        """Play with one client until it leaves."""
        most = self._config.sessions
        with self._lock:
            num_open = len(self._sockets)
            if num_open < most:
                self._sockets.add(socket)
        if num_open >= most:
            full = fault(
                "CAPACITY_REACHED",
                f"all {most} sessions are used",
                active_sessions=num_open,
                max_sessions=most,
            )
            _send(socket, full)
            return
        session = Session(self._config.environment, self._tasks, self._config.limits)
        try:
            self._play(socket, session)
        finally:
            session.close()
            with self._lock:
                self._sockets.discard(socket)

    def close(self) -> None:
        """Close all connections, which ends their sessions."""
        with self._lock:
            sockets = list(self._sockets)
        # All at a time, because each waits for its client.
        closing = [threading.Thread(target=_close, args=(socket,)) for socket in sockets]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()

    def _play(self, socket: Any, session: Session) -> None:
        from websockets.exceptions import ConnectionClosed

        while True:
            try:
                request = socket.recv(timeout=self._config.idle_seconds)
            except TimeoutError:
                waited = f"no request came in {self._config.idle_seconds:g} s"
                _send(socket, fault("SESSION_ERROR", waited))
                return
            except ConnectionClosed:
                return
            answer = session.answer(request)
            if answer is None or not _send(socket, answer):
                return


def _close(socket: Any) -> None:
    with suppress(Exception):
        socket.close()


def _send(socket: Any, answer: dict[str, Any]) -> bool:
    """Whether the client is still there."""
    from websockets.exceptions import ConnectionClosed

    try:
        socket.send(json.dumps(answer))
    except ConnectionClosed:
        return False
    return True


def _process_request(socket: Any, request: Any) -> Any:
    """Answers what is not a websocket: the health of the server."""
    path = request.path.partition("?")[0]
    if path == "/health":
        return socket.respond(HTTPStatus.OK, '{"status": "healthy"}\n')
    if path != "/ws":
        return socket.respond(HTTPStatus.NOT_FOUND, "The websocket of OpenEnv is /ws.\n")
    return None
