"""One Chromium, driven over a pipe: no port, no driver program, and no network.

Chromium ends when its end of the pipe closes, so it also ends with a process that is killed. The
shell between the two waits for that and removes the profile.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

from atlas.environments.processes import leave_process
from atlas.errors import ConfigError, EpisodeError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ANSWER_SECONDS = 60.0
CLOSING_SECONDS = 5.0
# The pipes of Chromium are its file descriptors 3 and 4.
LAUNCH = '"$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1; rm -rf "$ATLAS_PROFILE"'
FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--password-store=basic",
    "--window-size=500,400",
    # No name resolves, so no page reaches a network.
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


def find_browser(given: str | None) -> str:
    """The path of Chromium: the one that was given, or the first on PATH.

    Raises:
        ConfigError: there is none.
    """
    if given is not None:
        found = shutil.which(given)
        if found is None:
            raise ConfigError(
                f"browser={given}: no such program. Expected Chromium or Chrome; leave it out to "
                "search PATH."
            )
        return found
    for name in NAMES:
        if (found := shutil.which(name)) is not None:
            return found
    raise ConfigError(
        f"miniwob: no browser on PATH (looked for {', '.join(NAMES)}). Install one, for example "
        "with: apt-get install chromium. Or give its path with browser=."
    )


# Those of this process.
_opened: weakref.WeakSet[Browser] = weakref.WeakSet()


class Browser:
    """A browser with one page."""

    def __init__(self, program: str) -> None:
        self._profile = tempfile.mkdtemp(prefix="atlas-browser-")
        flags = [*FLAGS, f"--user-data-dir={self._profile}"]
        if os.geteuid() == 0:
            # Chromium refuses to run its sandbox as root.
            flags.append("--no-sandbox")
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", LAUNCH, "sh", program, *flags, "about:blank"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "ATLAS_PROFILE": self._profile},
            start_new_session=True,
        )
        _opened.add(self)
        self._buffer = b""
        self._num_sent = 0
        self._session: str | None = None
        self._has_loaded = False
        try:
            target = self._call("Target.createTarget", url="about:blank")["targetId"]
            attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
            self._session = attached["sessionId"]
            self._call("Page.enable")
            self._call("Emulation.setFocusEmulationEnabled", enabled=True)
        except BaseException:
            self.close()
            raise

    @property
    def is_alive(self) -> bool:
        """Whether the browser is running."""
        return self._process.poll() is None

    def open(self, page: Path) -> None:
        """Load a page from a file, and wait until it is there."""
        self._has_loaded = False
        self._call("Page.navigate", url=page.as_uri())
        while not self._has_loaded:
            self._receive()

    def run(self, script: str) -> Any:
        """The value of an expression in JavaScript."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            said = details.get("exception", {}).get("description") or details.get("text")
            raise EpisodeError(f"the page raised an error: {said:.300}")
        return answer["result"].get("value")

    def write(self, text: str) -> None:
        """Write text into the element that has the focus."""
        self._call("Input.insertText", text=text)

    def close(self) -> None:
        """End the browser, and remove its profile."""
        process = self._process
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        try:
            process.wait(CLOSING_SECONDS)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if self._profile:
            shutil.rmtree(self._profile, ignore_errors=True)

    def leave(self) -> None:
        """Give up the browser in a forked child: with its copies of the pipes, it would live on."""
        leave_process(self._process)
        self._profile = ""

    def _call(self, method: str, **parameters: Any) -> Any:
        """The result of a command of the DevTools protocol."""
        self._num_sent += 1
        message = {"id": self._num_sent, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\0")
            self._process.stdin.flush()
        except (OSError, ValueError):
            raise EpisodeError("the browser has ended") from None
        while True:
            answer = self._receive()
            if answer.get("id") == self._num_sent:
                break
        if "error" in answer:
            raise EpisodeError(f"the browser refused {method}: {answer['error'].get('message')}")
        return answer["result"]

    def _receive(self) -> dict[str, Any]:
        """The next message of the browser; a loaded page is noted."""
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        end = time.monotonic() + ANSWER_SECONDS
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([pipe], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise EpisodeError(f"the browser did not answer within {ANSWER_SECONDS:g} s")
            received = os.read(pipe, 1 << 16)
            if not received:
                raise EpisodeError("the browser has ended. Does it start from a command line?")
            self._buffer += received
        message, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        if found.get("method") == "Page.loadEventFired":
            self._has_loaded = True
        return found


def _leave_all() -> None:
    """In a forked child: the browsers belong to the parent."""
    for browser in list(_opened):
        browser.leave()
    _opened.clear()


os.register_at_fork(after_in_child=_leave_all)
