"""One episode of ScienceWorld in the shared Java process.

The simulator keeps static state: a random generator, a counter of objects and the simplifications.
Each call is therefore made while no other world of the process is in Java, and with the state that
belongs to its own world. The hash codes of objects are made constant, because the order of things
in texts depends on them: the same actions then give the same text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from atlas.environments.java.process import JavaProgram
from atlas.environments.java.simulators import Simulator
from atlas.environments.scienceworld.config import is_electrical
from atlas.errors import EpisodeError

PROGRAM = JavaProgram(
    package="scienceworld",
    extra="scienceworld",
    archive="scienceworld.jar",
    entry="scienceworld.runtime.pythonapi.PythonInterface",
    options=(
        "-XX:+IgnoreUnrecognizedVMOptions",
        "-XX:+UnlockExperimentalVMOptions",
        "-XX:hashCode=2",
    ),
)
# Static state of the simulator.
PROCESSOR = "main.scala.scienceworld.runtime.SimplifierProcessor$"
RANDOM = "scala.util.Random$"
COUNTER = "util.UniqueIdentifier$"
# What `easy` stands for, without and with electricity.
EASY = "teleportAction,noElectricalAction,openDoors,selfWateringFlowerPots"
EASY_ELECTRICAL = "teleportAction,openDoors,selfWateringFlowerPots"
AMBIGUOUS = "Ambiguous request"
INVALID = re.compile(r"No known action matches|Unknown action|I'm not sure|It'?s not clear")
# The whole answer to an action that is understood, but not possible here and now.
REFUSED = re.compile(
    r".+ is already (?:activated|deactivated|open|closed|connected, and must be disconnected .+)\.?"
    r"|.+ is not (?:a container|closeable|openable|edible|moveable|open|currently passable|"
    r"something that can be activated)\."
    r"|.+ (?:isn't open|is in is not movable|aren't able to move)\."
    r"|.+ isn't open, so you can't see inside\."
    r"|.+ can't be (?:poured out|activated or deactivated).*"
    r"|(?:Something|You|That) can't .+"
    r"|.+ is empty, so there's nothing to pour\."
    r"|.+ does not contain any liquids to dunk into\."
    r"|(?:Connections must specify|You must disconnect) .+"
    r"|That is already flushing\."
    r"|That object (?:already appears|does not appear) to be in the inventory\."
    r"|The door doesn't appear to go anywhere\."
)
FAULT = re.compile(r"(?:java|scala)\.[\w.]+(?:Exception|Error)")


@dataclass(frozen=True, slots=True)
class ScienceState:
    """What the simulator answers; `score` is -100 to 100."""

    text: str
    score: int
    is_over: bool
    is_invalid: bool = False


class ScienceGame:
    """An episode at a time, in a simulator of the shared process."""

    def __init__(self) -> None:
        self._simulator = Simulator(PROGRAM)
        self._name = ""
        self._simplifications = ""
        self._num_calls = 0
        self._num_objects = 0
        self.task = ""

    @property
    def is_alive(self) -> bool:
        """Whether the Java process is running."""
        return self._simulator.is_alive

    def start(self, kind: str, variation: int, simplifications: str) -> ScienceState:
        """Start an episode, and look around."""
        self._load(kind, variation, simplifications, with_path=False)
        with self._own_state():
            self.task = str(self._simulator.call("getTaskDescription"))
        return self.act("look around")

    def act(self, action: str) -> ScienceState:
        """The state after an action."""
        # Half of a surrogate pair cannot be sent.
        sent = action.encode("utf-8", "replace").decode("utf-8")
        with self._own_state():
            text = str(self._simulator.call("step", sent))
            score = round(100 * float(self._simulator.call("getScore")))
            is_over = bool(self._simulator.call("getCompleted"))
        if FAULT.match(text):
            raise EpisodeError(f"scienceworld: the simulator broke: {text[:200]}")
        is_invalid = bool(INVALID.match(text) or REFUSED.fullmatch(text.strip()))
        return ScienceState(text, score, is_over or score < 0, is_invalid)

    def find_path(self, kind: str, variation: int, simplifications: str) -> list[str]:
        """The actions of the package's own solution. It takes seconds."""
        self._load(kind, variation, simplifications, with_path=True)
        with self._own_state():
            return [str(action) for action in self._simulator.call("getGoldActionSequence")]

    def close(self) -> None:
        """Free the simulator."""
        self._simulator.close()

    def _load(self, kind: str, variation: int, simplifications: str, *, with_path: bool) -> None:
        self._name = f"{kind} {variation}"
        self._simplifications = _resolved(kind, simplifications)
        self._num_calls = 0
        with self._simulator.exclusively() as statics:
            called = ("load", kind, variation, self._simplifications, with_path)
            if error := self._simulator.call(*called):
                raise EpisodeError(f"scienceworld: {self._name}: {error}")
            statics["simplifications"] = self._simplifications
            self._num_objects = int(self._simulator.call_static(COUNTER, "count"))

    @contextmanager
    def _own_state(self) -> Iterator[None]:
        """Only this world is in Java, with its own static state."""
        call = self._simulator.call_static
        with self._simulator.exclusively() as statics:
            if statics.get("simplifications") != self._simplifications:
                statics["simplifications"] = None
                call(PROCESSOR, "parseSimplificationStr", self._simplifications)
                statics["simplifications"] = self._simplifications
            self._num_calls += 1
            call(RANDOM, "setSeed", _number(f"{self._name} {self._num_calls}"))
            call(COUNTER, "count_$eq", self._num_objects)
            yield
            self._num_objects = int(call(COUNTER, "count"))


def _resolved(kind: str, simplifications: str) -> str:
    if simplifications == "easy":
        return EASY_ELECTRICAL if is_electrical(kind) else EASY
    return simplifications


def _number(name: str) -> int:
    """A seed of 47 bits."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") >> 1
