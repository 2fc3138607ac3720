"""Asks a model for a judgment in JSON: `question -> judgment`.

If an answer breaks a rule, the model is asked once more, with the reason. If the second answer
breaks a rule too, the trajectory becomes a problem. Answers are never corrected, because a
corrected answer is not the model's choice.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from atlas.errors import ConfigError, DataError, EndpointError
from atlas.models.base import Completion, ModelClient, Sampling
from atlas.models.connect import connect
from atlas.models.endpoints.batches.ledger import ledger_folder
from atlas.models.endpoints.endpoint import Batching
from atlas.models.payments import payment_of
from atlas.records import CriticalStep, Message, Selection, Trajectory, Usage
from atlas.selection.costs import CHARS_PER_TOKEN
from atlas.selection.judging.answer import AnswerError
from atlas.selection.judging.judge_config import JudgeConfig
from atlas.selection.judging.prompt import JudgePrompt, JudgeQuestion
from atlas.selection.judging.rubric_file import read_rubric
from atlas.selection.judging.transcript import disarm_tokens
from atlas.selection.selectors.base import Concurrency, SelectorBase, SelectorContext
from atlas.selection.unusable_answers import LONGEST_KEPT, UnusableAnswer
from atlas.store.run_folders import Input, read_manifest

# The first answer, and a second one after an invalid first.
ATTEMPTS = 2
# Answers up to this length are read in the event loop, longer ones in a thread.
SHORT_ANSWER = 20_000

AnswerT = TypeVar("AnswerT")


class AsksJudge(SelectorBase[JudgeConfig], ABC, Generic[AnswerT]):
    """Base class of what asks a judge. It connects at the first question.

    Attributes:
        prompt: the fixed parts of the questions.

    Raises:
        ConfigError: `cache` is used together with `retry_problems_of`, or the rubric cannot be
            used.
    """

    prompt: JudgePrompt

    def __init__(self, config: JudgeConfig, context: SelectorContext) -> None:
        super().__init__(config, context)
        check_cache(config, context)
        self._rubric: Input | None = None
        if config.rubric is not None:
            text, self._rubric = read_rubric(Path(config.rubric), config.max_prompt_chars)
            self.prompt = self.prompt.with_rubric(text)
        self._client: ModelClient | None = None
        self._sampling = Sampling(
            temperature=config.temperature,
            max_tokens=config.max_tokens,
            response_schema=self.prompt.schema if config.structured else None,
        )
        self._pay: Callable[[Usage], None] = lambda usage: None
        self._keep: Callable[[UnusableAnswer], None] | None = None

    @classmethod
    def draws(cls, config: JudgeConfig) -> bool:
        """A model draws its answers, unless its temperature is 0."""
        return config.temperature != 0

    @property
    def _draw(self) -> str | None:
        """Names the draw, so that another seed never gets the answers of this one."""
        seed = self.context.seed
        return f"draw-{seed}" if seed and self.config.temperature != 0 else None

    @abstractmethod
    def read(self, text: str, question: JudgeQuestion) -> AnswerT:
        """Parse an answer to a question. Raises AnswerError if it breaks a rule."""

    def inputs(self, out: Path) -> dict[str, Input]:
        rubric = {} if self._rubric is None else {"rubric": self._rubric}
        return {"prompt": self.prompt.input, **rubric}

    @property
    def by_rubric(self) -> str:
        """Names the user's rubric for `sentence`; empty without one."""
        return "" if self._rubric is None else f", by the rubric {self._rubric.path}"

    def report_payments(self, pay: Callable[[Usage], None]) -> None:
        self._pay = pay

    def report_unusable(self, keep: Callable[[UnusableAnswer], None]) -> None:
        self._keep = keep

    def concurrency(self) -> Concurrency:
        # A batch takes up to a day; a later run can fetch it.
        if self.config.batch:
            return Concurrency(self.config.batch_size, keeps_answers=False)
        return Concurrency(self.config.endpoint.max_in_flight)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def ask(
        self, trajectory_id: str, question: JudgeQuestion
    ) -> tuple[AnswerT | None, str | None, Usage]:
        """The answer, or None and the problem; and the usage that was paid for."""
        if self._client is None:
            config, batching = self.config, self._batching()
            self._client = connect(
                config.model,
                config.endpoint,
                batching=batching,
                cache=config.cache,
                draw=self._draw,
            )
        messages = question.messages
        usage = Usage()
        complaint = ""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                completion = await self._client.complete(messages, self._sampling)
            except EndpointError as error:
                if error.paid is not None:
                    self._pay(error.paid)
                raise
            paid = payment_of(messages, completion)
            self._pay(paid)
            usage += paid.usage
            if completion.refusal is not None:
                return None, f"refused: {completion.refusal}", usage
            try:
                return await self._read(completion.text, question), None, usage
            except AnswerError as error:
                # An answer from the cache does not say what the token limit was.
                cut = completion.finish_reason == "length"
                complaint = "it was cut off at the limit of its length" if cut else str(error)
            self._keep_unusable(trajectory_id, question, attempt, complaint, completion)
            # What the answer quotes from the trajectory must not end the message either.
            said = Message(role="assistant", content=disarm_tokens(completion.text[:LONGEST_KEPT]))
            complained = self.prompt.complain(disarm_tokens(complaint), question)
            messages = (*question.messages, said, complained)
        kept = "" if self._keep is None else " (unusable.jsonl has them)"
        return None, f"{ATTEMPTS} unusable answers{kept}; the last: {complaint}", usage

    async def _read(self, text: str, question: JudgeQuestion) -> AnswerT:
        """What `read` returns. A long answer is read in a thread."""
        try:
            if len(text) <= SHORT_ANSWER:
                return self.read(text, question)
            return await asyncio.to_thread(self.read, text, question)
        except RecursionError:
            raise AnswerError("it is nested too deeply") from None

    def _keep_unusable(
        self,
        trajectory_id: str,
        question: JudgeQuestion,
        attempt: int,
        reason: str,
        completion: Completion,
    ) -> None:
        if self._keep is None:
            return
        # Lone surrogates cannot be saved.
        text = completion.text[:LONGEST_KEPT].encode("utf-8", "replace").decode("utf-8")
        self._keep(
            UnusableAnswer(
                trajectory_id=trajectory_id,
                first_step=question.steps[0],
                last_step=question.steps[-1],
                attempt=attempt,
                reason=reason.encode("utf-8", "replace").decode("utf-8"),
                answer=text,
                num_characters=len(completion.text),
                finish_reason=completion.finish_reason,
                model=completion.model,
            )
        )

    def _batching(self) -> Batching | None:
        if not self.config.batch:
            return None
        folder = None if self._draw is None else ledger_folder() / self._draw
        if (earlier := self.context.retry_problems_of) is not None:
            # The cache would return the answers that became problems, instead of asking again.
            digest = read_manifest(earlier, ("select",)).digest[:16]
            folder = (folder or ledger_folder()) / f"retry-{digest}"
        return Batching(self.config.batch_size, self.config.batch_poll_seconds, folder)


def check_cache(config: JudgeConfig, context: SelectorContext, section: str = "") -> None:
    """Raises ConfigError if the cache would give the answers that are to be asked again."""
    if config.cache and context.retry_problems_of is not None:
        raise ConfigError(
            f"{section}cache=true would give the answers again that became problems; leave it out "
            "where retry_problems_of=… is given."
        )


class JudgingSelector(AsksJudge[AnswerT]):
    """Base class of selectors that ask a judge for critical steps.

    Attributes:
        tokens_per_answer, tokens_per_step: approximate length of an answer, for estimates.
    """

    tokens_per_answer: ClassVar[int] = 0
    tokens_per_step: ClassVar[int]

    @abstractmethod
    def choose(self, answers: Sequence[AnswerT], budget: int) -> tuple[list[CriticalStep], int]:
        """Choose steps from the answers; also returns the budget of the selection."""

    def asked_budget(self, trajectory: Trajectory, budget: int) -> int:
        """How many steps the model may name; if 0, nothing is asked."""
        return budget if trajectory.steps else 0

    def estimate(self, trajectory: Trajectory, budget: int) -> Usage:
        """Estimate requests and tokens, if every answer names as many steps as allowed."""
        try:
            questions = self._questions(trajectory, budget)
        except DataError:
            # This trajectory will be a problem, at no cost.
            return Usage()
        sent = sum(_num_tokens(question.messages) for question in questions)
        named = sum(question.budget for question in questions)
        received = self.tokens_per_answer * len(questions) + self.tokens_per_step * named
        return Usage(requests=len(questions), input_tokens=sent, output_tokens=received)

    async def select(self, trajectory: Trajectory, budget: int) -> Selection:
        """Ask all questions. If one has no valid answer, the trajectory becomes a problem.

        Raises:
            EndpointError: the endpoint gave no answer to one of the questions.
            ModelError: the endpoint refuses the model or the key.
        """
        asked_budget = self.asked_budget(trajectory, budget)
        if asked_budget == 0:
            return self.selection_of(trajectory, budget)
        usage = Usage()
        answers: list[AnswerT] = []
        problem = None
        try:
            questions = self._questions(trajectory, budget)
        except DataError as error:
            questions, problem = [], str(error)
        for question in questions:
            answer, problem, paid = await self.ask(trajectory.id, question)
            usage += paid
            if answer is None:
                answers = []
                break
            answers.append(answer)
        steps, budget = self.choose(answers, asked_budget)
        digest = self.prompt.digest
        return self.selection_of(
            trajectory, budget, steps, problem=problem, usage=usage, prompt_digest=digest
        )

    def _questions(self, trajectory: Trajectory, budget: int) -> list[JudgeQuestion]:
        asked_budget = self.asked_budget(trajectory, budget)
        if asked_budget == 0:
            return []
        return self.prompt.questions(trajectory, asked_budget, self.config.max_prompt_chars)


def _num_tokens(messages: tuple[Message, ...]) -> int:
    return -(-sum(len(message.content) for message in messages) // CHARS_PER_TOKEN)
