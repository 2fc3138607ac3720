"""A language model names the critical steps: the paper's selector (ATLaS §3.1).

A trajectory too long for one question is asked about window by window; what the windows named is
merged under the trajectory's budget, the most confident first.
"""

from __future__ import annotations

from atlas.records import CriticalStep, Selection, Trajectory, Usage
from atlas.selection.judging.answer import merge_answers, read_answer
from atlas.selection.judging.judge import JudgingSelector
from atlas.selection.judging.judge_config import JudgeConfig
from atlas.selection.judging.oracle_prompt import ORACLE_PROMPT
from atlas.selection.judging.prompt import JudgeQuestion

# Tokens of an answer, for estimates.
TOKENS_OF_A_PLAN, TOKENS_OF_A_STEP = 120, 60


class OracleConfig(JudgeConfig):
    """Settings of `oracle`: the model that names the critical steps."""


class OracleSelector(JudgingSelector[list[CriticalStep]]):
    """The steps that a language model names as critical after it reads the transcript.

    Each comes with its kind, a reason and the model's confidence (as `score`).
    """

    Config = OracleConfig
    prompt = ORACLE_PROMPT

    @property
    def sentence(self) -> str:
        model = f"a language model ({self.config.model})"
        return f"the steps that {model} named as critical after reading the transcript"

    def read(self, text: str, question: JudgeQuestion) -> list[CriticalStep]:
        return read_answer(text, question.steps, question.budget)

    def estimate(self, trajectory: Trajectory, budget: int) -> Usage:
        if budget == 0 or not trajectory.steps:
            return Usage()
        return self.expect_usage(trajectory, budget, TOKENS_OF_A_PLAN, TOKENS_OF_A_STEP)

    async def select(self, trajectory: Trajectory, budget: int) -> Selection:
        if budget == 0 or not trajectory.steps:
            return self.selection_of(trajectory, budget)
        judgment = await self.ask(trajectory, budget)
        return self.judged(trajectory, budget, merge_answers(judgment.answers, budget), judgment)
