"""A server of one model, as a process of its own: `command -> address`, until it is stopped."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from atlas.errors import ModelError
from atlas.models.served import guard
from atlas.terminal.progress import show_progress
from atlas.terminal.visible_text import one_line, visible

POLL_SECONDS = 0.2
# The guard itself waits CLOSING_SECONDS for the server.
STOPPING_SECONDS = guard.CLOSING_SECONDS + 5.0
# How much of what a server has printed is read for a message.
LOG_BYTES = 20_000
LOG_LINES = 25


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class ModelServer:
    """A running server with OpenAI's protocol. It ends with this process, whatever ends that.

    Args:
        command: the program and its arguments.
        model: the model's name, for messages.
        port: where the server is to listen.
        start_seconds: how long it may take until it answers.

    Raises:
        ModelError: it ended, or did not answer in time. The message has the end of its output.
    """

    def __init__(self, command: Sequence[str], model: str, port: int, start_seconds: float) -> None:
        self.address = f"http://127.0.0.1:{port}/v1"
        self._model = model
        self._program = command[0]
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
        raise ModelError(
            f"the server of {self._model} ended with status {status}. It printed last:\n"
            f"{self._last_lines()}\nFinished episodes are kept. Change the command of the server "
            "(player.command, player.options), and run again."
        )

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

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with show_progress(f"starting a server of {self._model}") as bar:
            while not self._answers():
                self.require_alive()
                if time.monotonic() > deadline:
                    raise ModelError(
                        f"the server of {self._model} ({self._program}) does not answer at "
                        f"{self.address} after {seconds:,.0f} seconds. It printed last:\n"
                        f"{self._last_lines()}\nThe command must listen at {{port}}. If it needs "
                        "more time, set player.start_seconds."
                    )
                bar.tell(one_line(self._last_lines(1)))
                time.sleep(POLL_SECONDS)
        # Another program may have taken the port.
        self.require_alive()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/models", timeout=5.0) as reply:
                return bool(reply.status == 200)
        except (OSError, ValueError):
            return False

    def _last_lines(self, count: int = LOG_LINES) -> str:
        size = self._log.seek(0, 2)
        self._log.seek(max(0, size - LOG_BYTES))
        text = visible(self._log.read().decode(errors="replace")).rstrip()
        return "\n".join(text.splitlines()[-count:]) or "(nothing)"
