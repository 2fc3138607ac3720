"""A connection whose reads all end by one moment, however few bytes arrive at a time.

The timeout of a socket is for one read, so a server that sends a header byte by byte outlasts it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any


class BoundedSocket(socket.socket):
    """A connected socket whose reads raise TimeoutError after a moment of the monotonic clock."""

    moment: Callable[[], float]

    def recv_into(self, *args: Any) -> int:
        left = self.moment() - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self.settimeout(left)
        return super().recv_into(*args)


def bounded_connection(moment: Callable[[], float]) -> Any:
    """The class of urllib3's connections with such sockets; `moment` gives the end of the request.

    It is for plain HTTP: TLS takes the socket over.
    """
    from urllib3.connection import HTTPConnection

    class BoundedConnection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            bounded = BoundedSocket(fileno=super()._new_conn().detach())
            bounded.moment = moment
            return bounded

    return BoundedConnection
