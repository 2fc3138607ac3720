"""One Java process with a py4j gateway on loopback, and the calls into it.

The packages of the worlds start a Java process for each environment. Here a process serves any
number of simulators. It ends when its standard input is closed: by `stop`, or because the Python
process died. The gateway asks for a token, so that other users of the machine cannot call it.
"""

from __future__ import annotations

import os
import queue
import re
import shutil
import subprocess
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from atlas.environments.processes import leave_process
from atlas.errors import DependencyError, EpisodeError, ProgramError

START_SECONDS = 60.0
TOKEN = r"[\w+/=-]{20,}"
# Java repeats the options of its environment variables at every start. They may explain that it
# does not start, but not that it ends later.
OPTIONS_NOTE = re.compile(r"(NOTE: )?Picked up \w*_OPTIONS: ")
STOP_SECONDS = 5.0
INSTALL_JAVA = (
    "Install a Java runtime, version 8 or later (on Debian: apt install default-jre-headless), "
    "or set JAVA_HOME to the folder of one."
)


@dataclass(frozen=True, slots=True)
class JavaProgram:
    """A simulator that a Python package ships.

    Attributes:
        package: the module that holds the archive.
        extra: the extra of atlas that installs it.
        archive: the name of the archive in the folder of the package.
        entry: the class of a simulator, with its Java package.
        options: more options of the Java program.
    """

    package: str
    extra: str
    archive: str
    entry: str
    options: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise if the package or Java is missing.

        Raises:
            DependencyError: a Python package is not installed.
            ProgramError: Java is missing.
        """
        for module in (self.package, "py4j"):
            if find_spec(module) is None:
                raise DependencyError(module.replace("_", "-"), self.extra)
        find_java()

    @property
    def folder(self) -> Path:
        """The folder of the Python package."""
        found = find_spec(self.package)
        if found is None or found.origin is None:
            raise DependencyError(self.package.replace("_", "-"), self.extra)
        return Path(found.origin).parent


def find_java() -> str:
    """The path of the program `java`.

    Raises:
        ProgramError: it is missing.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin") if home else None)
    if found is None:
        where = f"JAVA_HOME={home} holds no bin/java. " if home else ""
        raise ProgramError("java", where + INSTALL_JAVA)
    return found


class JavaProcess:
    """A running Java process. Any number of threads may call into it at the same time."""

    def __init__(self, program: JavaProgram) -> None:
        from py4j.java_gateway import find_jar_path

        from atlas.environments.java.gateway import Gateway

        self.program = program
        self.num_users = 0
        # For programs whose simulators share static state: held during calls that belong together,
        # and what is known of that state.
        self.lock = threading.RLock()
        self.num_turns = 0
        self.statics: dict[str, Any] = {}
        self._is_left = False
        self._gateway: Any = None
        self._classes: dict[str, Any] = {}
        classpath = os.pathsep.join((find_jar_path(), str(program.folder / program.archive)))
        options = ("-XX:+UseSerialGC", "-Djava.awt.headless=true", *program.options)
        server = ("py4j.GatewayServer", "--die-on-broken-pipe", "--enable-auth", "0")
        java = find_java()
        try:
            self._process = subprocess.Popen(
                [java, *options, "-classpath", classpath, *server],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=program.folder,
                # An interrupt from the keyboard ends Python, which then ends Java.
                start_new_session=True,
            )
        except OSError as error:
            said = f"{java} cannot be started: {error.strerror}. {INSTALL_JAVA}"
            raise EpisodeError(f"{program.package}: {said}") from None
        self._first_lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._last_lines: deque[str] = deque(maxlen=5)
        # What Java prints has to be read, or it would wait at a full pipe.
        self._reader = threading.Thread(target=self._read, daemon=True, name="java output")
        self._reader.start()
        try:
            port = int(self._first(r"\d+"))
            token = self._first(TOKEN)
        except queue.Empty:
            self.stop()
            status = self._process.returncode
            raise EpisodeError(
                f"{program.package}: {java} did not start (status {status}).{self._said}"
            ) from None
        self._gateway = Gateway(port, token)
        # Some simulators print every text, which takes longer than the step itself.
        system = self._gateway.jvm.java.lang.System
        system.setOut(self._gateway.jvm.java.io.PrintStream(os.devnull))

    @property
    def is_alive(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    def make(self) -> Any:
        """A new simulator in this process."""
        package, _, name = self.program.entry.rpartition(".")
        return self.call(getattr(self._gateway.jvm, package), name)

    def call(self, target: Any, method: str, *arguments: Any) -> Any:
        """The result of a method of a Java object; lists and sets are copied.

        Args:
            target: the object, or the name of a class for its static methods; of an object of
                Scala (`package.Name$`), its one instance is called.

        Raises:
            EpisodeError: the process ended, or the Java code raised an exception.
        """
        from py4j.java_collections import JavaArray, JavaList, JavaSet
        from py4j.protocol import Py4JError, Py4JJavaError, Py4JNetworkError

        if not self.is_alive:
            raise self._ended("")
        try:
            found = self._class(target) if isinstance(target, str) else target
            result = getattr(found, method)(*arguments)
            return list(result) if isinstance(result, JavaArray | JavaList | JavaSet) else result
        except Py4JJavaError as error:
            # The text of py4j's error holds the whole stack.
            raise EpisodeError(f"{self.program.package}: Java raised {_reason(error)}.") from None
        except (Py4JNetworkError, OSError) as error:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=1.0)
            raise self._ended(f": {error}") from None
        except Py4JError as error:
            raise EpisodeError(f"{self.program.package}: {str(error)[:200]}") from None

    def forget(self, simulator: Any) -> None:
        """Let Java free a simulator."""
        if self.is_alive:
            with suppress(Exception):
                self._gateway.detach(simulator)

    def kill(self) -> None:
        """End the process at once: it hangs. Calls that wait for it then raise EpisodeError."""
        self._process.kill()

    def stop(self) -> None:
        """End the process. Nothing is printed, and nothing is raised."""
        if self._is_left:
            return
        if self._gateway is not None:
            self._gateway._gateway_client.hang_up()
        with suppress(OSError, ValueError):
            self._process.stdin.close()  # type: ignore[union-attr]
        try:
            self._process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(timeout=STOP_SECONDS)
        with suppress(OSError, ValueError):
            self._process.stdout.close()  # type: ignore[union-attr]

    def leave(self) -> None:
        """Give up the process in a forked child.

        With the child's copies of the pipes, Java would live until the child ends.
        """
        if self._gateway is not None:
            self._gateway._gateway_client.is_connected = False
        leave_process(self._process)
        self._is_left = True

    def _class(self, name: str) -> Any:
        if name not in self._classes:
            package, _, last = name.rpartition(".")
            found = getattr(getattr(self._gateway.jvm, package), last)
            self._classes[name] = getattr(found, "MODULE$") if last.endswith("$") else found
        return self._classes[name]

    def _ended(self, reason: str) -> EpisodeError:
        status = self._process.poll()
        how = f"ended with status {status}" if status is not None else f"gave no answer{reason}"
        return EpisodeError(f"{self.program.package}: the Java process {how}.{self._said}")

    @property
    def _said(self) -> str:
        lines = [line for line in list(self._last_lines) if line]
        if self._gateway is not None:
            lines = [line for line in lines if not OPTIONS_NOTE.match(line)]
        return f" Its last words: {' / '.join(lines)[-300:]}" if lines else ""

    def _first(self, pattern: str) -> str:
        while True:
            line = self._first_lines.get(timeout=START_SECONDS)
            if re.fullmatch(pattern, line):
                return line
            if line == "\0":
                raise queue.Empty

    def _read(self) -> None:
        num_lines = 0
        with suppress(OSError, ValueError):
            for raw in self._process.stdout or ():
                line = raw.decode("utf-8", "replace").strip()
                # The port and the token are among the first lines.
                if num_lines < 20:
                    self._first_lines.put(line)
                # The port and the token are not repeated in a message.
                if not (num_lines < 20 and re.fullmatch(rf"\d+|{TOKEN}", line)):
                    self._last_lines.append(line)
                num_lines += 1
        self._first_lines.put("\0")


def _reason(error: Any) -> str:
    """The Java exception of a py4j error, in one line."""
    with suppress(Exception):
        return str(error.java_exception.toString())[:200]
    return "an exception"
