"""A model that is asked for a judgement in JSON: `question -> verdict`. The client, the second chance and giving up are here alone.

An answer that breaks a rule is sent back once with what was wrong; if the second breaks one too, there is a problem and no
answer. Nothing is ever trimmed into shape, for a trimmed answer is not the model's choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from atlas.errors import DataError
from atlas.models.base import ModelClient, Sampling
from atlas.models.connect import connect
from atlas.models.endpoints.batches.ledger import ledger_folder
from atlas.models.endpoints.endpoint import Batching, Endpoint
from atlas.records import Message, Usage
from atlas.selection.config import SelectConfig
from atlas.selection.selectors.oracle_answer import AnswerError
from atlas.selection.selectors.oracle_prompt import Question
from atlas.store.run_folders import read_manifest

ATTEMPTS = 2  # the answer, and one more after being told what was wrong
LONGEST_SAID = 20_000  # characters of a wrong answer that are sent back; nobody wants to pay for a runaway one twice
CHARS_PER_TOKEN = (
    4  # about right for English in every tokenizer of today; forecasts use it, bills do not
)

AnswerT = TypeVar("AnswerT")
Questions = Callable[[], Iterable[Question]]  # raises DataError where a trajectory fits no question


@dataclass(frozen=True, slots=True)
class Verdict(Generic[AnswerT]):
    """The answers, each by the rules, or the problem; and what they cost."""

    answers: tuple[AnswerT, ...]
    problem: str | None
    usage: Usage


class Judge(Generic[AnswerT]):
    """Asks a model over a network; connects at the first question.

    Args:
        schema: the JSON schema of an answer.
        read: what an answer to a question says; raises AnswerError where it breaks a rule.
        complain: what the model then hears, once.
    """

    def __init__(
        self,
        config: SelectConfig,
        schema: dict[str, Any],
        read: Callable[[str, Question], AnswerT],
        complain: Callable[[str, Question], Message],
        client: ModelClient | None = None,
    ) -> None:
        self._config = config
        self._read = read
        self._complain = complain
        self._client = client
        self._sampling = Sampling(
            temperature=config.temperature,
            max_tokens=config.max_tokens,
            response_schema=schema if config.structured else None,
        )
        self.pay: Callable[[Usage], None] = lambda usage: None  # told of every answer as it comes

    async def ask(self, questions: Questions) -> Verdict[AnswerT]:
        """One answer a question, in their order; the first without one is the problem of all.

        Raises:
            EndpointError: the endpoint gave no answer, though perhaps to an earlier question of these.
            ModelError: the endpoint refuses the model or the key.
        """
        usage = Usage()
        answers: list[AnswerT] = []
        try:
            for question in questions():
                verdict = await self._ask(question)
                usage += verdict.usage
                if verdict.problem is not None:
                    return Verdict((), verdict.problem, usage)
                answers += verdict.answers
        except DataError as error:
            return Verdict((), str(error), usage)
        return Verdict(tuple(answers), None, usage)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _ask(self, question: Question) -> Verdict[AnswerT]:
        client = self._connected()
        messages = question.messages
        usage = Usage()
        complaint = ""
        for _ in range(ATTEMPTS):
            completion = await client.complete(messages, self._sampling)
            self.pay(completion.usage)
            usage += completion.usage
            if completion.refusal is not None:
                return Verdict((), f"refused: {completion.refusal}", usage)
            try:
                return Verdict((self._read(completion.text, question),), None, usage)
            except AnswerError as error:
                cut = (
                    completion.finish_reason == "length"
                )  # after how many tokens an answer from the cache could not tell
                complaint = "it was cut off at the limit of its length" if cut else str(error)
            said = Message(role="assistant", content=completion.text[:LONGEST_SAID])
            messages = (*messages, said, self._complain(complaint, question))
        return Verdict((), f"{ATTEMPTS} unusable answers; the last: {complaint}", usage)

    def _batching(self) -> Batching | None:
        if not self._config.batch:
            return None
        folder = None
        if (
            self._config.retry_problems_of is not None
        ):  # what became a problem there is to be answered anew, not found again
            folder = (
                ledger_folder()
                / f"retry-{read_manifest(Path(self._config.retry_problems_of), ('select',)).digest[:16]}"
            )
        return Batching(self._config.batch_size, self._config.batch_poll_seconds, folder)

    def _connected(self) -> ModelClient:
        if self._client is None:
            config = self._config
            self._client = connect(
                config.model,
                Endpoint(
                    base_url=config.base_url,
                    api_key_variable=config.api_key_variable,
                    timeout_seconds=config.timeout_seconds,
                    max_retries=config.max_retries,
                ),
                batching=self._batching(),
                cache=config.cache,
            )
        return self._client


def forecast_usage(questions: Questions, answer_tokens: Callable[[Question], int]) -> Usage:
    """About what asking takes, before anything is sent; `answer_tokens` is about what an answer takes."""
    try:
        asked = list(questions())
    except DataError:  # a problem, and free
        return Usage()
    return Usage(
        requests=len(asked),
        input_tokens=sum(_num_tokens(question.messages) for question in asked),
        output_tokens=sum(map(answer_tokens, asked)),
    )


def _num_tokens(messages: tuple[Message, ...]) -> int:
    """About how many tokens these messages are."""
    return -(-sum(len(message.content) for message in messages) // CHARS_PER_TOKEN)
