"""A language model names the critical steps: the paper's selector (ATLaS §3.1).

An answer that breaks a rule is sent back once with what was wrong; if the second breaks one too, the trajectory has a
problem and no critical step. Nothing is ever trimmed into shape, for a trimmed answer is not the model's choice.
"""

from __future__ import annotations

from collections.abc import Mapping

from atlas.errors import DataError, ModelError
from atlas.models.base import ModelClient, Sampling
from atlas.records import Message, Selection, Trajectory, Usage
from atlas.selection.config import SelectConfig
from atlas.selection.selectors.base import selection_of
from atlas.selection.selectors.oracle_answer import AnswerError, read_answer
from atlas.selection.selectors.oracle_prompt import ANSWER_SCHEMA, PROMPT_VERSION, complaint_message, oracle_messages, prompt_digest
from atlas.store import Input

ATTEMPTS = 2  # the answer, and one more after being told what was wrong
HOPELESS_AFTER = 20  # unusable answers from the start on: the model or the settings are at fault, not the trajectories


class OracleSelector:
    """Asks a model behind an OpenAI-compatible endpoint; connects at the first question."""

    def __init__(self, config: SelectConfig, other: Mapping[str, Selection], client: ModelClient | None = None) -> None:
        self._config = config
        self._client = client
        self._sampling = Sampling(
            temperature=config.temperature, max_tokens=config.max_tokens, response_schema=ANSWER_SCHEMA if config.structured else None
        )
        self._usable = 0
        self._unusable = 0

    def inputs(self) -> dict[str, Input]:
        return {"prompt": Input(path=f"atlas oracle prompt {PROMPT_VERSION}", digest=prompt_digest())}

    async def select(self, trajectory: Trajectory, budget: int) -> Selection:
        """At most `budget` steps with kind, reason and confidence (as `score`), or a problem.

        Raises:
            EndpointError: the endpoint gave no answer.
            ModelError: the endpoint refuses the model or the key, or the first 20 answers were all unusable.
        """
        if budget == 0:
            return selection_of(trajectory, self._config.selector, budget)
        selection = await self._ask(trajectory, budget)
        if selection.problem is None:
            self._usable += 1
        else:
            self._unusable += 1
            if self._usable == 0 and self._unusable >= HOPELESS_AFTER:
                raise ModelError(
                    f"model '{self._config.model}': the first {self._unusable} trajectories got no usable answer. "
                    f"The last: {selection.problem}. Choose another model or other settings, and another --out."
                )
        return selection

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _ask(self, trajectory: Trajectory, budget: int) -> Selection:
        name = self._config.selector
        client = self._connected()
        try:
            messages: tuple[Message, ...] = oracle_messages(trajectory, budget, self._config.max_prompt_chars)
        except DataError as error:
            return selection_of(trajectory, name, budget, problem=str(error))
        usage = Usage()
        complaint = ""
        for _ in range(ATTEMPTS):
            completion = await client.complete(messages, self._sampling)
            usage += completion.usage
            if completion.refusal is not None:
                return selection_of(trajectory, name, budget, problem=f"refused: {completion.refusal}", usage=usage)
            try:
                steps = read_answer(completion.text, len(trajectory.steps), budget)
                return selection_of(trajectory, name, budget, steps, usage=usage)
            except AnswerError as error:
                cut = completion.finish_reason == "length"
                complaint = f"it was cut off after {completion.usage.output_tokens} tokens" if cut else str(error)
            answer = Message(role="assistant", content=completion.text)
            messages = (*messages, answer, complaint_message(complaint, trajectory, budget))
        return selection_of(trajectory, name, budget, problem=f"{ATTEMPTS} unusable answers; the last: {complaint}", usage=usage)

    def _connected(self) -> ModelClient:
        if self._client is None:
            from atlas.models.openai_api import OpenAIClient

            self._client = OpenAIClient(
                self._config.model,
                base_url=self._config.base_url,
                api_key_variable=self._config.api_key_variable,
                timeout_seconds=self._config.timeout_seconds,
                max_retries=self._config.max_retries,
            )
        return self._client
