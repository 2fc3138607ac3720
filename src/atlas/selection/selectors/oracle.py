"""Asks a language model for the critical steps: the paper's selector (ATLaS §3.1).

A trajectory that is too long for one question is split into windows. The steps named for the
windows are merged under the trajectory's budget, the most confident first.
"""

from __future__ import annotations

from collections.abc import Sequence

from atlas.records import CriticalStep
from atlas.selection.judging.answer import merge_answers, read_answer
from atlas.selection.judging.judge import JudgingSelector
from atlas.selection.judging.judge_config import JudgeConfig
from atlas.selection.judging.oracle_prompt import ORACLE_PROMPT
from atlas.selection.judging.prompt import JudgeQuestion


class OracleConfig(JudgeConfig):
    """Settings of `oracle`: the model that names the critical steps."""


class OracleSelector(JudgingSelector[list[CriticalStep]]):
    """The steps that a language model names as critical after it reads the transcript.

    Each comes with its kind, a reason and the model's confidence (as `score`).
    """

    Config = OracleConfig
    prompt = ORACLE_PROMPT
    # Tokens for the plan, and for each step that is named.
    tokens_per_answer, tokens_per_step = 120, 60

    @property
    def sentence(self) -> str:
        model = f"a language model ({self.config.model})"
        return f"the steps that {model} named as critical after reading the transcript"

    def read(self, text: str, question: JudgeQuestion) -> list[CriticalStep]:
        return read_answer(text, question.steps, question.budget)

    def choose(
        self, answers: Sequence[list[CriticalStep]], budget: int
    ) -> tuple[list[CriticalStep], int]:
        return merge_answers(answers, budget), budget
