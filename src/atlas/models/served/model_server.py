"""A server of one model, in a separate process: `command -> address`, until it is stopped."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, NoReturn

from atlas.errors import ModelError
from atlas.models.fetch import fetch
from atlas.models.served import guard
from atlas.terminal.progress import show_progress
from atlas.terminal.visible_text import one_line, visible

POLL_SECONDS = 0.2
LIST_SECONDS = 10.0
# The first answer of a server may come from code that is compiled for it.
FIRST_ANSWER_SECONDS = 120.0
# The guard itself waits CLOSING_SECONDS for the server.
STOPPING_SECONDS = guard.CLOSING_SECONDS + 5.0
# How much of what a server has printed is read for a message.
LOG_BYTES = 20_000
LOG_LINES = 25
LOG_COLUMNS = 300
# What a server says that does not let in.
REFUSES = (401, 403)


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class ModelServer:
    """A running server with OpenAI's protocol. It ends with this process, whatever ends that.

    Args:
        command: the program and its arguments. It must stay in the foreground.
        model: the model's name, for messages.
        name: the model's name at the server, which no other server has.
        port: where the server is to listen.
        key: what the server asks for; None: nothing.
        start_seconds: how long it may take until it answers a question.

    Raises:
        ModelError: it ended, or did not answer in time. The message has the end of its output.
    """

    def __init__(
        self,
        command: Sequence[str],
        model: str,
        name: str,
        port: int,
        key: str | None,
        start_seconds: float,
    ) -> None:
        self.address, self.name = f"http://127.0.0.1:{port}/v1", name
        self._model, self._key = model, key
        # A proxy would look for the server on its own machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        # It is open as long as the server runs.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._guard = subprocess.Popen(
            [sys.executable, "-I", str(Path(guard.__file__)), *command],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            # An interrupt from the keyboard ends atlas, which then ends the server.
            start_new_session=True,
        )
        try:
            self._wait(start_seconds)
        except BaseException:
            self.stop()
            raise

    def require_alive(self, patience: float = 0.0) -> None:
        """Raise ModelError if the server has ended, or ends within `patience` seconds."""
        try:
            status = self._guard.wait(patience)
        except subprocess.TimeoutExpired:
            return
        self._fail(f"ended with status {status}")

    def require_answering(self, patience: float) -> None:
        """Raise ModelError if the server has ended, also behind a program that still runs."""
        self.require_alive(patience)
        if not self._lists_its_model():
            self._fail(f"no longer answers at {self.address}")

    def stop(self) -> None:
        """End the server and its processes; a second call does nothing."""
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.terminate()
        try:
            self._guard.wait(STOPPING_SECONDS)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()
        self._log.close()

    def _fail(self, what: str) -> NoReturn:
        raise ModelError(
            f"the server of {self._model} {what}. It printed last:\n{self._last_lines()}\n"
            "Finished episodes are kept. Run again with other player.options, which may change at "
            "any time, or with another player.command into another run folder."
        )

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with show_progress(f"starting a server of {self._model}") as bar:
            # A server may list a model that it is still loading.
            while not self._is_ready(deadline):
                self.require_alive()
                if time.monotonic() > deadline:
                    self._fail(
                        f"does not answer at {self.address} as '{self.name}' after {seconds:,.0f} "
                        "seconds (player.start_seconds)"
                    )
                bar.tell(one_line(self._last_lines(1)))
                time.sleep(POLL_SECONDS)
        self.require_alive()

    def _is_ready(self, deadline: float) -> bool:
        """Whether it lists the model and answers a question before this moment."""
        if not self._lists_its_model(_until(deadline, LIST_SECONDS)):
            return False
        message = {"role": "user", "content": "Hello"}
        body = {"model": self.name, "messages": [message], "max_tokens": 1}
        seconds = _until(deadline, FIRST_ANSWER_SECONDS)
        return self._ask("/chat/completions", body, seconds) is not None

    def _lists_its_model(self, seconds: float = LIST_SECONDS) -> bool:
        told = self._ask("/models", None, seconds)
        try:
            return any(each["id"] == self.name for each in told["data"])
        except (KeyError, TypeError):
            return False

    def _ask(self, path: str, body: Any, seconds: float) -> Any:
        """The answer of the server as JSON; None: it has none yet.

        Raises:
            ModelError: it asks for a key.
        """
        headers = {"Content-Type": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, headers)
        try:
            return json.loads(fetch(self._opener, request, seconds))
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in REFUSES:
                self._fail(
                    f"refuses the question with status {error.code}. If it asks for a key, name "
                    "the environment variable that holds it by player.endpoint.api_key_variable"
                )
            # It understood the question, and this one does not suit it.
            return {} if error.code in (400, 422) else None
        except (OSError, HTTPException, ValueError):
            return None

    def _last_lines(self, count: int = LOG_LINES) -> str:
        # The server writes at the offset of this file, which reading must not move.
        number = self._log.fileno()
        start = max(0, os.fstat(number).st_size - LOG_BYTES)
        text = os.pread(number, LOG_BYTES, start).decode(errors="replace")
        # A bar is printed over itself.
        lines = [visible(line) for line in re.split(r"[\r\n]+", text) if line.strip()]
        return "\n".join(line[-LOG_COLUMNS:] for line in lines[-count:]) or "(nothing)"


def _until(deadline: float, seconds: float) -> float:
    """The seconds to a moment, at most so many."""
    return min(seconds, max(POLL_SECONDS, deadline - time.monotonic()))
