"""Serves the viewer: `application -> a page in the browser`, until Ctrl-C."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from atlas.errors import ConfigError
from atlas.viewing.web.config import DEFAULT_PORT
from atlas.viewing.web.security import TOKEN, Access

if TYPE_CHECKING:
    from starlette.types import ASGIApp

SECONDS_TO_START = 20.0
# How long open requests may take after Ctrl-C.
SECONDS_TO_STOP = 2


def open_socket(host: str, port: int | None) -> socket.socket:
    """A socket that listens; without a port the usual one, or a free one if it is taken.

    Raises:
        ConfigError: the address or the port cannot be used.
    """
    ports = (DEFAULT_PORT, 0) if port is None else (port,)
    reason = ""
    for one in ports:
        try:
            family, _, _, _, address = socket.getaddrinfo(host, one, type=socket.SOCK_STREAM)[0]
            return socket.create_server(address, family=family)
        except OSError as error:
            reason = error.strerror or str(error)
    raise ConfigError(
        f"the viewer cannot listen on {host}, port {ports[0]} ({reason}). "
        "Choose another --port or --host, or leave them out."
    )


def address_of(opened: socket.socket, access: Access) -> str:
    """The address to open, with the token if one is needed."""
    host, port = opened.getsockname()[:2]
    # Every address of this machine: the one that always works here.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/" + (f"?{TOKEN}={access.token}" if access.token else "")


def serve(
    app: ASGIApp,
    opened: socket.socket,
    address: str,
    announce: Callable[[str], None],
    *,
    opens_browser: bool = True,
) -> None:
    """Answer requests until Ctrl-C; `announce` is called once the viewer answers."""
    import uvicorn

    settings = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=SECONDS_TO_STOP,
    )
    server = uvicorn.Server(settings)

    def when_started() -> None:
        end = time.monotonic() + SECONDS_TO_START
        while not server.started and time.monotonic() < end:
            time.sleep(0.01)
        if server.started:
            announce(address)
            if opens_browser:
                _open_browser(address)

    threading.Thread(target=when_started, daemon=True).start()
    # uvicorn ends in order, then raises the signal again.
    with opened, suppress(KeyboardInterrupt):
        server.run(sockets=[opened])


def _open_browser(address: str) -> None:
    import webbrowser

    # The address was printed; a machine without a browser is common.
    with suppress(webbrowser.Error, OSError):
        webbrowser.open(address)
