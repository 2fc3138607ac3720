"""A viewer in a process of its own, and forms as a browser without scripts sends them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlencode, urlsplit

ADDRESS = re.compile(r"http://\S+/")


@dataclass(frozen=True, slots=True)
class Answered:
    status: int
    headers: dict[str, str]
    text: str


@dataclass(frozen=True, slots=True)
class Viewer:
    """A running `atlas view`."""

    address: str
    process: subprocess.Popen[str]

    def get(self, path: str, cookie: str = "", **parameters: object) -> Answered:
        query = f"?{urlencode(parameters)}" if parameters else ""
        return self._send("GET", path + query, {"cookie": cookie} if cookie else {})

    def post(self, path: str, *, cookie: str = "", htmx: bool = False, **form: object) -> Answered:
        headers = {
            "content-type": "application/x-www-form-urlencoded",
            "origin": self.address.rstrip("/"),
            **({"cookie": cookie} if cookie else {}),
            **({"hx-request": "true"} if htmx else {}),
        }
        return self._send("POST", path, headers, urlencode(form))

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _send(
        self, method: str, path: str, headers: dict[str, str], body: str | None = None
    ) -> Answered:
        connection = HTTPConnection(urlsplit(self.address).netloc, timeout=60)
        connection.request(method, path, body, headers)
        response: HTTPResponse = connection.getresponse()
        text = response.read().decode()
        connection.close()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answered(response.status, found, text)


@contextmanager
def open_viewer(*given: object, cache: Path) -> Iterator[Viewer]:
    """Start `atlas view` on a free port."""
    command = [sys.executable, "-m", "atlas", "view", *map(str, given), "--port", "0", "--no-open"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(cache), "COLUMNS": "200"},
    )
    assert process.stdout is not None
    try:
        said = ""
        for line in process.stdout:
            said += line
            if (found := ADDRESS.search(line)) is not None:
                break
        else:
            raise AssertionError(f"atlas view ended: {said}")
        yield Viewer(found[0], process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(30)
        process.stdout.close()
