"""One rollout of verifiers whose model is asked from outside: its `Client` waits for an answer.

The rollout is verifiers' own, with its stop conditions and its rubric. It runs in an event loop in
a thread; `next_turn` returns what the model is asked, `answer` gives its response.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from atlas.environments.verifiers.rewards import score_rollout
from atlas.errors import EpisodeError

CLOSING_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Asked:
    """The model is asked to answer these messages."""

    prompt: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """The rollout is over and scored, or raised an error."""

    state: Any
    error: BaseException | None = None


class LoopThread:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Start a coroutine; its future."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def close(self, last: Coroutine[Any, Any, Any]) -> None:
        """Cancel what runs, do the last work, and end the thread."""
        for work in (self._cancel_all(), last):
            with suppress(Exception):
                self.start(work).result(CLOSING_SECONDS)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(CLOSING_SECONDS)
        if not self._thread.is_alive():
            self.loop.close()

    async def _cancel_all(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class Rollout:
    """A rollout of one row of the environment's data."""

    def __init__(self, environment: Any, row: dict[str, Any], thread: LoopThread) -> None:
        self._events: SimpleQueue[Asked | Ended] = SimpleQueue()
        self._waiting: asyncio.Future[Any] | None = None
        self._thread = thread
        self._work = thread.start(self._run(environment, row))

    def next_turn(self) -> Asked | Ended:
        """What happens next: the model is asked, or the rollout is over."""
        return self._events.get()

    def answer(self, response: Any) -> None:
        """Give the model's answer."""
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            raise EpisodeError("the rollout does not wait for an answer")
        self._thread.loop.call_soon_threadsafe(waiting.set_result, response)

    def cancel(self) -> None:
        """Leave the rollout."""
        self._work.cancel()

    async def ask(self, prompt: Sequence[Any]) -> Any:
        """Called in the loop by the client: wait for an answer."""
        self._waiting = asyncio.get_running_loop().create_future()
        waiting = self._waiting
        self._events.put(Asked(list(prompt)))
        return await waiting

    async def _run(self, environment: Any, row: dict[str, Any]) -> None:
        try:
            state = await environment.rollout(row, make_client(self.ask), "atlas", {})
            await score_rollout(environment.rubric, state)
        except BaseException as error:
            # Also a cancellation or an exit of the environment: the other side waits.
            self._events.put(Ended(None, error))
        else:
            self._events.put(Ended(state, state.get("error")))


def make_client(ask: Any) -> Any:
    """A client of verifiers whose answers come from `ask(prompt)`."""
    from verifiers.legacy.clients import Client

    class AskingClient(Client):
        """Passes prompts on and returns answers; nothing is converted."""

        def setup_client(self, config: Any) -> Any:
            return None

        async def to_native_tool(self, tool: Any) -> Any:
            return tool

        async def to_native_prompt(self, messages: Any) -> Any:
            return messages, {}

        async def get_native_response(self, prompt: Any, *rest: Any, **more: Any) -> Any:
            return await ask(prompt)

        async def raise_from_native_response(self, response: Any) -> None:
            return None

        async def from_native_response(self, response: Any) -> Any:
            return response

        async def close(self) -> None:
            return None

    return AskingClient(None)
