"""A remote model as a player. It returns each answer as soon as it arrives."""

from __future__ import annotations

import asyncio
import re
import threading
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Annotated, Any

from pydantic import Field

from atlas.config import SPEED_ONLY, Config
from atlas.errors import EndpointError
from atlas.models.base import Completion, Sampling
from atlas.models.connect import connect
from atlas.models.endpoints.endpoint import Endpoint
from atlas.models.payments import Payment, payment_of
from atlas.models.players import Finish, PlayerAnswer
from atlas.records import Message, Usage
from atlas.store.run_folders import Input

# Phrases of servers for a request that is too long.
TOO_LONG = re.compile(
    r"context[ _]?(length|window|size)|too (long|large|many tokens)|maximum.{0,40}tokens", re.I
)
CLOSING_SECONDS = 10.0


class AnswersConfig(Config):
    """How a remote model is asked for its answers."""

    endpoint: Endpoint = Field(default=Endpoint(), description="the server and how it is asked")
    temperature: float | None = Field(
        default=0.0,
        ge=0,
        description="sampling temperature; 0 is greedy decoding; if none, the model's own default",
    )
    max_tokens: int | None = Field(
        default=1024,
        ge=1,
        description="maximum tokens of one answer; if none, the model's own limit",
    )
    send_reasoning: bool = Field(
        default=False,
        description="send the thoughts of earlier answers back, for servers whose chat template "
        "decides which of them the model reads (vLLM, SGLang)",
    )


class EndpointPlayerConfig(AnswersConfig):
    """Settings of a remote model as a player."""

    prices: Annotated[str | None, SPEED_ONLY] = Field(
        default=None,
        description="a YAML or JSON file of prices in USD per million tokens: model: "
        "{input: …, output: …}; if none, known prices of providers",
    )

    def needed_extras(self) -> tuple[str, ...]:
        return ("endpoint",) if self.endpoint.base_url is not None else ("providers",)


@dataclass(frozen=True, slots=True)
class _Answered:
    """The answer in a conversation, which `history` identifies."""

    name: str
    history: list[Message]
    answer: PlayerAnswer


class EndpointPlayer:
    """A remote model: of a provider (openai/gpt-4o), or on a server at endpoint.base_url.

    Raises:
        ConfigError: the provider is unknown, or its package or its key is missing.
    """

    Config = EndpointPlayerConfig

    def __init__(self, config: AnswersConfig, model: str, seed: int) -> None:
        self._config = config
        self._seed = seed
        self._client = connect(model, config.endpoint)
        self._places = asyncio.Semaphore(config.endpoint.max_in_flight)
        self._histories: dict[str, list[Message]] = {}
        self._asking: dict[str, Future[None]] = {}
        self._answers: SimpleQueue[_Answered | Exception | None] = SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    @staticmethod
    def describe_model(model: str, out: Path) -> Input:
        """The model as an input of the run at `out`. Only its name is known."""
        return Input(path=model)

    def submit(
        self, name: str, new_messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Send the request for the next answer in conversation `name` at once."""
        history = self._histories.setdefault(name, [])
        history += new_messages
        # Each turn of each conversation has its own seed, so that rollouts differ.
        turn = f"{self._seed} {name} {len(history)}"
        seed = zlib.crc32(turn.encode()) % 2**31 if self._config.temperature else None
        sampling = Sampling(
            self._config.temperature,
            self._config.max_tokens,
            seed=seed,
            tools=tuple(map(dict, tools)),
        )
        sent = tuple(history if self._config.send_reasoning else map(_without_reasoning, history))
        asking = self._ask(name, history, sent, sampling)
        self._asking[name] = asyncio.run_coroutine_threadsafe(asking, self._loop)

    def next_answers(self, timeout: float | None = None) -> dict[str, PlayerAnswer]:
        """The answers that are ready: at least one, unless `timeout` passes or `wake` is called."""
        answers: dict[str, PlayerAnswer] = {}
        with suppress(Empty):
            found = self._answers.get(timeout=timeout)
            while True:
                if isinstance(found, Exception):
                    raise found
                # The conversation may have been closed, and opened again, since it was asked.
                if found is not None and self._histories.get(found.name) is found.history:
                    answers[found.name] = found.answer
                    found.history.append(found.answer.message)
                found = self._answers.get_nowait()
        return answers

    def wake(self) -> None:
        """Let `next_answers` return now, or at its next call."""
        self._answers.put(None)

    def close(self, name: str) -> None:
        """Forget a conversation, and stop waiting for its answer."""
        self._histories.pop(name, None)
        if (asking := self._asking.pop(name, None)) is not None:
            asking.cancel()

    def end(self) -> None:
        """Stop asking and close the connections."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop)
        self._thread.join(CLOSING_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()

    async def _ask(
        self,
        name: str,
        history: list[Message],
        messages: tuple[Message, ...],
        sampling: Sampling,
    ) -> None:
        try:
            async with self._places:
                answer = await self._client.complete(messages, sampling)
            said = _read(answer, payment_of(messages, answer))
            self._answers.put(_Answered(name, history, said))
        except EndpointError as error:
            paid = Payment() + (error.paid or Usage())
            broken = PlayerAnswer(Message(role="assistant"), "broken", str(error), usage=paid)
            self._answers.put(_Answered(name, history, broken))
        except Exception as error:
            # An error that affects every request (unknown model, refused key) ends the run.
            self._answers.put(error)

    async def _stop(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        with suppress(Exception):
            await self._client.close()
        self._loop.stop()


def _without_reasoning(message: Message) -> Message:
    if message.reasoning is None:
        return message
    return message.model_copy(update={"reasoning": None})


def _read(answer: Completion, paid: Payment) -> PlayerAnswer:
    message = Message(
        role="assistant",
        content=answer.text,
        reasoning=answer.reasoning,
        tool_calls=answer.tool_calls,
    )
    finish: Finish = "length" if answer.finish_reason == "length" else "stop"
    reason = None
    if answer.refusal is not None:
        is_too_long = answer.finish_reason == "rejected" and TOO_LONG.search(answer.refusal)
        finish = "no_room" if is_too_long else "refused"
        reason = f"the endpoint declined to answer: {answer.refusal}"
    return PlayerAnswer(message, finish, reason, usage=paid)
