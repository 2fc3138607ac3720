"""How results made elsewhere are read and compared."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from atlas.config import Config
from atlas.kinds import Choice
from atlas.reporting.results.base import RESULT_FORMAT

Tasks = Literal["same", "common"]
ResultsAre = Literal["repetitions", "trainings"]
# The scope of all benchmarks together.
ALL_BENCHMARKS = "all benchmarks"

# One text, or a list of them.
Texts = Annotated[
    tuple[str, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)
]


class ResultSettings(Config):
    """Settings for results made elsewhere."""

    format: Annotated[Choice, RESULT_FORMAT] | None = Field(
        default=None,
        description="how all result files are read; by default the content of each decides",
    )
    score: Texts = Field(
        default=(),
        description="the score of result files that counts; one for each benchmark, if they have "
        "different ones. If none, it is the only one, or that of the benchmark itself",
    )
    success_at: float | None = Field(
        default=None,
        description="from which score on an episode of a result file is a success; if none, as "
        "the benchmark says, else scores must be 0 or 1",
    )
    results_are: ResultsAre | None = Field(
        default=None,
        description="what several results of an arm on the same tasks are: repetitions of one "
        "model, which are averaged, or different trainings of one method",
    )
    tasks: Tasks = Field(
        default="same",
        description="same: result files of all arms must have the same tasks; common: compare on "
        "the tasks that all have",
    )
    together: bool = Field(
        default=False,
        description="give one verdict over all benchmarks of result files, not one on each",
    )
