"""A reply is waited for with one time limit, also if its bytes arrive one by one."""

from __future__ import annotations

import re
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import atlas
from atlas.models.fetch import fetch

HEADER = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n"


@pytest.fixture
def dripping(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that sends its parameter at once, then one byte after the other."""
    listener = socket.create_server(("127.0.0.1", 0))
    stopped = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(request.param)
            while not stopped.wait(0.05):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    stopped.set()
    thread.join()
    listener.close()


@pytest.mark.parametrize(
    "dripping", [b"", HEADER, HEADER + b"\r\n"], ids=["status", "header", "body"], indirect=True
)
def test_a_reply_of_single_bytes_ends_with_the_time_limit(dripping: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"no whole reply after 0\.5 s"):
        fetch(opener, urllib.request.Request(dripping), 0.5)
    assert time.monotonic() - began < 5


def test_servers_are_asked_by_urllib_in_one_place() -> None:
    asking = re.compile(r"request\.urlopen\(|opener\.open\(|http\.client\.HTTPS?Connection")
    source = Path(atlas.__file__).parent
    found = {file.name for file in source.rglob("*.py") if asking.search(file.read_text())}
    assert found == {"fetch.py"}
