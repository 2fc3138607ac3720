"""Asks a language model for the critical steps: the paper's selector (ATLaS §3.1).

A trajectory that is too long for one question is split into windows. The steps named for the
windows are merged under the trajectory's budget, the most confident first.

With `small`, a cheaper model is asked first, and its selection counts where a selection that costs
nothing agrees with it. `atlas.selection.layers` runs the layers one after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from atlas.config import BY_CONTENT
from atlas.kinds import NoConfig
from atlas.records import CriticalStep, Selection, Trajectory
from atlas.selection.judging.answer import merge_answers, read_answer
from atlas.selection.judging.judge import JudgingSelector, check_cache
from atlas.selection.judging.judge_config import JudgeConfig
from atlas.selection.judging.oracle_prompt import ORACLE_PROMPT
from atlas.selection.judging.prompt import JudgeQuestion
from atlas.selection.judging.rubric_file import read_rubric
from atlas.selection.other_selection import NAMES_SELECTIONS, OtherSelection
from atlas.selection.selectors.base import SelectorContext
from atlas.selection.selectors.rules import RulesSelector
from atlas.store.run_folders import Input

CHECKED_BY_RULES = "rules"
AGREEMENT = 0.5


class SmallJudgeConfig(JudgeConfig):
    """The cheaper model of `oracle`. Its rubric, prices and cost limit default to the oracle's."""

    model: str = Field(
        min_length=1, description="the cheaper model, which is asked about every trajectory"
    )


class OracleConfig(JudgeConfig):
    """Settings of `oracle`: the model that names the critical steps, and the layers before it."""

    small: SmallJudgeConfig | None = Field(
        default=None,
        description="a cheaper model that is asked first (small.model=…); `model` is asked only "
        "about trajectories where the cheaper model and the check disagree",
    )
    agreement: float = Field(
        default=AGREEMENT,
        gt=0,
        le=1,
        description="with small: least overlap (steps that both chose / steps that either chose) "
        "at which the selection of the cheaper model counts",
    )
    checked_by: Annotated[str | None, BY_CONTENT, NAMES_SELECTIONS] = Field(
        default=None,
        description="with small: a selection run of the same trajectories that checks the cheaper "
        "model, at the same budget; if none, `rules` does",
    )

    @model_validator(mode="after")
    def _layers_need_a_small_judge(self) -> OracleConfig:
        if self.small is None and (self.checked_by is not None or self.agreement != AGREEMENT):
            raise ValueError(
                "agreement and checked_by say when a cheaper model's selection counts, and none is "
                "given. Give small.model=…, or leave them out"
            )
        return self

    def needed_extras(self) -> tuple[str, ...]:
        return tuple(
            dict.fromkeys(
                (*super().needed_extras(), *(self.small.needed_extras() if self.small else ()))
            )
        )


class OracleSelector(JudgingSelector[list[CriticalStep]]):
    """The steps that a language model names as critical after it reads the transcript.

    Each comes with its kind, a reason and the model's confidence (as `score`).
    """

    Config = OracleConfig
    config: OracleConfig
    prompt = ORACLE_PROMPT
    # Tokens for the plan, and for each step that is named.
    tokens_per_answer, tokens_per_step = 120, 60

    def __init__(self, config: OracleConfig, context: SelectorContext) -> None:
        super().__init__(config, context)
        self._small_rubric: Input | None = None
        if (small := config.small) is not None:
            check_cache(small, context, "small.")
            if small.rubric is not None:
                _, self._small_rubric = read_rubric(Path(small.rubric), small.max_prompt_chars)
        checked_by = config.checked_by
        self._check = (
            None if checked_by is None else OtherSelection(checked_by, context.trajectories)
        )

    @classmethod
    def draws(cls, config: JudgeConfig) -> bool:
        small = getattr(config, "small", None)
        return super().draws(config) or (small is not None and super().draws(small))

    @property
    def sentence(self) -> str:
        model = f"a language model ({self.config.model})"
        chosen = f"the steps that {model} named as critical after reading the transcript"
        if self.config.small is not None:
            chosen += (
                f"; where the smaller model {self.config.small.model} and {self.checker} agreed, "
                "the steps that the smaller model named"
            )
            if self._small_rubric is not None:
                chosen += f" by the rubric {self._small_rubric.path}"
        return chosen + self.by_rubric

    def read(self, text: str, question: JudgeQuestion) -> list[CriticalStep]:
        return read_answer(text, question.steps, question.budget)

    def choose(
        self, answers: Sequence[list[CriticalStep]], budget: int
    ) -> tuple[list[CriticalStep], int]:
        return merge_answers(answers, budget), budget

    def inputs(self, out: Path) -> dict[str, Input]:
        inputs = super().inputs(out)
        if self._check is not None:
            inputs["checked_by"] = self._check.input(out)
        if self._small_rubric is not None:
            inputs["small_rubric"] = self._small_rubric
        return inputs

    def small_judge(self) -> OracleConfig | None:
        small, own = self.config.small, self.config
        if small is None:
            return None
        limits = [one for one in (small.max_cost_usd, own.max_cost_usd) if one is not None]
        values = small.model_dump() | {
            "rubric": small.rubric or own.rubric,
            "prices": small.prices or own.prices,
            "max_cost_usd": min(limits, default=None),
        }
        return OracleConfig(**values)

    @property
    def checker(self) -> str:
        return CHECKED_BY_RULES if self._check is None else self._check.selector

    def overlap(self, trajectory: Trajectory, found: Selection) -> float:
        """Steps that both chose / steps that either chose; 1 if neither chose a step."""
        if self._check is None:
            checked = self._rules.select(trajectory, found.budget)
        else:
            checked = self._check.find(trajectory)
        if found.problem is not None or checked.problem is not None:
            return 0.0
        either = found.indices | checked.indices
        return len(found.indices & checked.indices) / len(either) if either else 1.0

    def is_settled(self, overlap: float) -> bool:
        return overlap >= self.config.agreement

    @cached_property
    def _rules(self) -> RulesSelector:
        context = SelectorContext(CHECKED_BY_RULES, self.context.seed, self.context.trajectories)
        return RulesSelector(NoConfig(), context)
