"""Asks a server with a time limit for the whole reply, however slowly its bytes arrive."""

from __future__ import annotations

import queue
import threading
import urllib.request

LARGEST_REPLY = 4 << 20


def fetch(
    opener: urllib.request.OpenerDirector, request: urllib.request.Request, seconds: float
) -> bytes:
    """The body of the reply, at most 4 MiB of it.

    The time limit of a socket is for one read, so a server that sends byte by byte outlasts it.

    Raises:
        TimeoutError: the reply is not whole after `seconds`.
        OSError, HTTPException: what `opener` raises.
    """
    replies: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            with opener.open(request, timeout=seconds) as reply:
                replies.put(reply.read(LARGEST_REPLY))
        except Exception as error:
            replies.put(error)

    # If the time is over, it ends with the connection, or with this process.
    threading.Thread(target=ask, daemon=True).start()
    try:
        found = replies.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no whole reply after {seconds:g} s") from None
    if isinstance(found, Exception):
        raise found
    return found
