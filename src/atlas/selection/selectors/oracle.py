"""A language model names the critical steps: the paper's selector (ATLaS §3.1).

A trajectory too long for one question is asked about window by window; what the windows named is
merged under the trajectory's budget, the most confident first.
"""

from __future__ import annotations

from atlas.records import CriticalStep, Message, Selection, Trajectory, Usage
from atlas.selection.judging.answer import merge_answers, read_answer
from atlas.selection.judging.judge import JudgingSelector, forecast_usage
from atlas.selection.judging.judge_config import JudgeConfig
from atlas.selection.judging.oracle_prompt import (
    ANSWER_SCHEMA,
    PROMPT_VERSION,
    JudgeQuestion,
    complaint_message,
    oracle_questions,
    prompt_digest,
)
from atlas.selection.selectors.base import selection_of
from atlas.store.run_folders import Input

# Tokens of an answer, for forecasts.
TOKENS_OF_A_PLAN, TOKENS_OF_A_STEP = 120, 60


class OracleConfig(JudgeConfig):
    """Settings of `oracle`: the model that names the critical steps."""


class OracleSelector(JudgingSelector[list[CriticalStep]]):
    """The steps that a language model names as critical after it reads the transcript.

    Each comes with its kind, a reason and the model's confidence (as `score`).
    """

    Config = OracleConfig
    schema = ANSWER_SCHEMA

    @property
    def sentence(self) -> str:
        return (
            f"the steps that a language model ({self.config.model}) named as critical after "
            "reading the transcript"
        )

    def prompt(self) -> Input:
        return Input(path=f"atlas oracle prompt {PROMPT_VERSION}", digest=prompt_digest())

    def read(self, text: str, question: JudgeQuestion) -> list[CriticalStep]:
        return read_answer(text, question.steps, question.budget)

    def complain(self, complaint: str, question: JudgeQuestion) -> Message:
        return complaint_message(complaint, question)

    def estimate(self, trajectory: Trajectory, budget: int) -> Usage:
        if budget == 0 or not trajectory.steps:
            return Usage()
        return forecast_usage(
            lambda: oracle_questions(trajectory, budget, self.config.max_prompt_chars),
            lambda question: TOKENS_OF_A_PLAN + TOKENS_OF_A_STEP * question.budget,
        )

    async def select(self, trajectory: Trajectory, budget: int) -> Selection:
        """At most `budget` steps, or a problem.

        Raises:
            EndpointError: the endpoint gave no answer.
            ModelError: the endpoint refuses the model or the key.
        """
        if budget == 0 or not trajectory.steps:
            return selection_of(trajectory, self._context.name, budget)
        judgment = await self.ask(
            lambda: oracle_questions(trajectory, budget, self.config.max_prompt_chars)
        )
        return selection_of(
            trajectory,
            self._context.name,
            budget,
            merge_answers(judgment.answers, budget),
            problem=judgment.problem,
            usage=judgment.usage,
            prompt_digest=self.prompt().digest,
        )
