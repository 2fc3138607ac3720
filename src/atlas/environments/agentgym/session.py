"""One world at a server: created once, reset for each task, and created again if it was lost.

A server that was restarted numbers its worlds from 0 again, so an old id may become the id of
another session's world. No request of the old session may reach that world: see `_hold`.

The reply to a request is checked field by field. A reply without the expected fields, or with an
error that is not about the action, raises EpisodeError: the episode is played again in a new world.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal
from weakref import WeakValueDictionary

from atlas.environments.agentgym.client import GymClient, GymReply
from atlas.environments.agentgym.servers import TOOL_OUTAGE, UNKNOWN_ID, GymServer
from atlas.errors import ConfigError, EpisodeError

MAX_QUOTED = 200
# So often a world is created until it has its own number.
MAX_TRIES = 20
FAILED_ACTION = "The action could not be carried out"
# Which session holds which world of a server, in this process.
_HOLDERS: WeakValueDictionary[tuple[str, int], GymSession] = WeakValueDictionary()
_HOLDERS_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class GymTurn:
    """What a server says after an action.

    Attributes:
        is_refused: the server answered the action with an error; the world goes on.
    """

    text: str
    reward: float = 0.0
    done: bool = False
    is_refused: bool = False


class GymSession:
    """A world at a server."""

    def __init__(self, server: GymServer, client: GymClient) -> None:
        self._server = server
        self._client = client
        self._id: int | None = None
        # The worlds of Maze and Wordle are numbered apart, at one address.
        self._url = f"{client.url}{server.path}"
        self._words: list[str] = []
        self._is_asking = False
        self.is_lost = False

    def first_text(self, item: int, rules: str) -> str:
        """Start the task with number `item`, and return what the agent reads first.

        Args:
            rules: the text that precedes the first observation in some worlds; `{words}` in it
                stands for the words of a Wordle server.
        """
        reply = self._reset(item)
        match self._server.first_turn:
            case "description":
                return f"{self._text(reply, 'task_description')}\n{self._text(reply)}"
            case "actions":
                actions = reply.get("available_actions") if isinstance(reply, Mapping) else None
                if not isinstance(actions, list) or not all(isinstance(a, str) for a in actions):
                    raise self._malformed("/reset", reply, "a list 'available_actions'")
                return f"{self._text(reply)}\nAVAILABLE ACTIONS: {','.join(actions)}"
            case "rules":
                return f"{rules}\n{self._text(reply)}"
            case "words":
                return rules.replace("{words}", "\n".join(self._words))
            case "asked":
                return self._text(self._observed())
        return self._text(reply)

    def step(self, action: str) -> GymTurn:
        """Carry out an action.

        Raises:
            EpisodeError: the world does not exist any more, or its server is broken.
        """
        reply = self._guarded("POST", "/step", {"action": action})
        if (fault := _fault_of(reply)) is not None:
            return self._refused(fault)
        value = reply.value
        if not isinstance(value, Mapping):
            raise self._malformed("/step", value, "an object")
        done = value.get(self._server.done)
        if not isinstance(done, bool):
            raise self._malformed("/step", value, f"true or false in '{self._server.done}'")
        text = self._text(value, self._server.text)
        if TOOL_OUTAGE.match(text):
            raise EpisodeError(self._lost(f"its tools are out of order: {_quote(text)}"))
        done = done or value.get("truncated") is True
        return GymTurn(text, self._number(value, self._server.reward), done)

    def close(self) -> None:
        """Give the world back, where the server can close one."""
        if self._id is not None and self._server.can_close:
            self._client.hurry()
            with suppress(EpisodeError):
                self._guarded("POST", "/close")
        self._forget()
        self._client.close()

    def _reset(self, item: int) -> Any:
        is_reused = self._id is not None and not self.is_lost
        body = {self._server.item: item, **self._server.reset_body}
        try:
            if not is_reused:
                self._create()
            reply = self._guarded("POST", "/reset", body)
            fault = _fault_of(reply)
            if fault is not None and not (reply.status != 200 or UNKNOWN_ID.search(fault)):
                is_reused = False
        except EpisodeError as error:
            if not is_reused:
                raise
            fault = str(error)
        if fault is not None and (is_reused or UNKNOWN_ID.search(fault)):
            # The server was restarted since the last task, or just after it made the world.
            self._create()
            reply = self._guarded("POST", "/reset", body)
            fault = _fault_of(reply)
        if fault is not None:
            raise EpisodeError(self._lost(f"/reset of task {item}: {fault}"))
        value = reply.value
        if value == "TimeoutError" or (
            isinstance(value, Mapping) and value.get("observation") == "TimeoutError"
        ):
            raise EpisodeError(self._lost(f"/reset of task {item}: TimeoutError"))
        if self._server.key == "id":
            if not isinstance(value, Mapping):
                raise self._malformed("/reset", value, "an object")
            return value
        return value[0] if isinstance(value, list) and value else value

    def _create(self) -> None:
        self._forget()
        tries, started = 0, time.monotonic()
        while True:
            reply = self._client.post(
                f"{self._server.path}/create", self._server.create_body, repeat=True
            )
            if (fault := _fault_of(reply)) is not None:
                raise EpisodeError(self._lost(f"/create: {fault}"))
            value = reply.value
            found = value.get(self._server.key) if isinstance(value, Mapping) else value
            if not isinstance(found, int) or isinstance(found, bool):
                raise self._malformed("/create", value, f"a whole number as '{self._server.key}'")
            if self._hold(found):
                break
            most = self._server.max_worlds
            tries += 1
            if most is None:
                self._give_up(found, tries)
                continue
            if tries < most:
                continue
            if time.monotonic() - started > self._client.restart_seconds:
                raise ConfigError(
                    f"agentgym: the server at {self._client.url} has {most} worlds, and all of "
                    f"them are in use. Set worlds={most} or less."
                )
            # A world that hung is given back when its request ends.
            time.sleep(0.05)
        if self._server.first_turn == "words":
            words = self._observed("/filtered_vocab")
            if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                raise self._malformed("/filtered_vocab", words, "a list of words")
            self._words = words

    def _give_up(self, found: int, tries: int) -> None:
        """Leave a new world as it is because requests to its number are under way."""
        if tries > MAX_TRIES:
            raise EpisodeError(self._lost(f"/create gave the id {found} to two episodes"))
        if self._server.can_close:
            self._client.post(
                f"{self._server.path}/close", {str(self._server.key): found}, repeat=False
            )

    def _hold(self, found: int) -> bool:
        """Take the world with id `found`; False if a request of an earlier holder may reach it.

        A server with few worlds gives those in use again. Others do so only after a restart.
        """
        with _HOLDERS_LOCK:
            earlier = _HOLDERS.get((self._url, found))
            if earlier is not None and self._server.max_worlds is not None:
                return False
            if earlier is not None:
                earlier.is_lost = True
                if earlier._is_asking:
                    return False
            self._id = found
            self.is_lost = False
            _HOLDERS[self._url, found] = self
            return True

    def _guarded(
        self, method: Literal["GET", "POST"], route: str, body: Mapping[str, Any] | None = None
    ) -> GymReply:
        """The reply to a request with the id of the world; it is void if the id was given away."""
        with _HOLDERS_LOCK:
            self._is_asking = not self.is_lost and self._id is not None
        try:
            if self._is_asking:
                where, given = f"{self._server.path}{route}", {str(self._server.key): self._id}
                if method == "GET":
                    reply = self._client.get(where, given)
                else:
                    reply = self._client.post(where, {**given, **(body or {})}, repeat=False)
        finally:
            with _HOLDERS_LOCK:
                was_asked, self._is_asking = self._is_asking, False
        if self.is_lost or not was_asked:
            raise EpisodeError(self._lost("the server was restarted, and the world is lost"))
        return reply

    def _forget(self) -> None:
        with _HOLDERS_LOCK:
            if self._id is not None and _HOLDERS.get((self._url, self._id)) is self:
                del _HOLDERS[self._url, self._id]
            self._id = None

    def _refused(self, fault: str) -> GymTurn:
        """The turn of an action that the server could not carry out, if the world still lives.

        An action that breaks the server's code is a bad action of the agent: an episode that could
        be left in this way would be in no success rate.
        """
        reply = self._guarded("GET", self._server.probe)
        if (deeper := _fault_of(reply)) is not None:
            raise EpisodeError(self._lost(f"{fault}; afterwards {deeper}"))
        return GymTurn(f"{FAILED_ACTION}: {fault}", is_refused=True)

    def _observed(self, route: str = "/observation") -> Any:
        reply = self._guarded("GET", route)
        if (fault := _fault_of(reply)) is not None:
            raise EpisodeError(self._lost(f"{route}: {fault}"))
        return reply.value

    def _text(self, value: Any, name: str = "observation") -> str:
        found = value.get(name) if isinstance(value, Mapping) else value
        if not isinstance(found, str):
            raise self._malformed("", value, f"a text as '{name}'")
        return found

    def _number(self, value: Mapping[str, Any], name: str) -> float:
        found = value.get(name)
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise self._malformed("/step", value, f"a number as '{name}'")
        if not math.isfinite(float(found)):
            raise self._malformed("/step", value, f"a finite number as '{name}'")
        return float(found)

    def _malformed(self, route: str, value: Any, expected: str) -> EpisodeError:
        """An error that names types only: a reply may hold the answer of the task."""
        shape = type(value).__name__
        if isinstance(value, Mapping):
            fields = (f"{key!s:.40}: {type(found).__name__}" for key, found in value.items())
            shape = f"an object with {', '.join(sorted(fields)[:10]) or 'no fields'}"
        return EpisodeError(self._lost(f"{route} returned {shape}, expected {expected}"))

    def _lost(self, what: str) -> str:
        return f"agentgym: {self._url}: {what}"


def _fault_of(reply: GymReply) -> str | None:
    """The error in a reply: of its status, or hidden in HTTP 200; None if there is none."""
    value = reply.value
    if reply.status != 200:
        detail = value.get("detail") if isinstance(value, Mapping) else None
        return f"HTTP {reply.status}" + (f": {_quote(str(detail))}" if detail else "")
    if isinstance(value, Mapping) and "error" in value:
        return _quote(str(value["error"])) or "an error without a text"
    return None


def _quote(text: str) -> str:
    return text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}…"
