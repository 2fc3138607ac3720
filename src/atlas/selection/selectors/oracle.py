"""A language model names the critical steps: the paper's selector (ATLaS §3.1).

A trajectory too long for one question is asked about window by window; what the windows named is merged under the
trajectory's budget, the surest first.
"""

from __future__ import annotations

from collections.abc import Callable

from atlas.models.base import ModelClient
from atlas.records import Selection, Trajectory, Usage
from atlas.selection.config import SelectConfig
from atlas.selection.selectors.base import Others, selection_of
from atlas.selection.selectors.oracle_answer import merge_answers, read_answer
from atlas.selection.selectors.oracle_judge import Judge, forecast_usage
from atlas.selection.selectors.oracle_prompt import (
    ANSWER_SCHEMA,
    PROMPT_VERSION,
    complaint_message,
    oracle_questions,
    prompt_digest,
)
from atlas.store.run_folders import Input

TOKENS_OF_A_PLAN, TOKENS_OF_A_STEP = 120, 60  # of an answer, for forecasts


class OracleSelector:
    """Asks a model for at most the budget's number of steps, with kind, reason and confidence (as `score`)."""

    def __init__(
        self, config: SelectConfig, others: Others, client: ModelClient | None = None
    ) -> None:
        self._name = config.selector
        self._max_chars = config.max_prompt_chars
        self._judge = Judge(
            config,
            ANSWER_SCHEMA,
            lambda text, question: read_answer(text, question.steps, question.budget),
            complaint_message,
            client,
        )
        self._digest = prompt_digest()

    def inputs(self) -> dict[str, Input]:
        return {"prompt": Input(path=f"atlas oracle prompt {PROMPT_VERSION}", digest=self._digest)}

    def estimate(self, trajectory: Trajectory, budget: int) -> Usage:
        if budget == 0 or not trajectory.steps:
            return Usage()
        return forecast_usage(
            lambda: oracle_questions(trajectory, budget, self._max_chars),
            lambda question: TOKENS_OF_A_PLAN + TOKENS_OF_A_STEP * question.budget,
        )

    async def select(self, trajectory: Trajectory, budget: int) -> Selection:
        """At most `budget` steps, or a problem.

        Raises:
            EndpointError: the endpoint gave no answer.
            ModelError: the endpoint refuses the model or the key.
        """
        if budget == 0 or not trajectory.steps:
            return selection_of(trajectory, self._name, budget)
        verdict = await self._judge.ask(
            lambda: oracle_questions(trajectory, budget, self._max_chars)
        )
        steps = merge_answers(verdict.answers, budget) if verdict.problem is None else []
        return selection_of(
            trajectory,
            self._name,
            budget,
            steps,
            problem=verdict.problem,
            usage=verdict.usage,
            prompt_digest=self._digest,
        )

    def tell_payments(self, pay: Callable[[Usage], None]) -> None:
        self._judge.pay = pay

    async def close(self) -> None:
        await self._judge.close()
