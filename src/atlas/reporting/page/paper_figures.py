"""The success rates of the paper, and the arm of a report that corresponds to each.

From the tables of "ATLaS: Agent Tuning via Learning Critical Steps" (arXiv 2503.02197): averages
over tasks in percent, a single run each, without intervals. An arm is recognized by its selector,
the settings of its selection and its ratio, never by its label.
"""

from __future__ import annotations

from dataclasses import dataclass

from atlas.reporting.measures.training_method import TrainingMethod

PAPER = "arXiv 2503.02197"
LLAMA, MISTRAL, QWEN = (
    "Llama-3.1-8B-Instruct",
    "Mistral-7B-Instruct-v0.3",
    "Qwen2.5-7B-Instruct",
)
RATIO = 0.3


@dataclass(frozen=True, slots=True)
class PaperRow:
    """A row of the paper's tables.

    `selectors` are those that make such a selection. The ratio is None for all steps.
    """

    title: str
    model: str
    selectors: tuple[str, ...]
    ratio: float | None
    held_in: float
    held_out: float
    settings: tuple[tuple[str, str], ...] = ()

    def is_of(self, method: TrainingMethod) -> bool:
        """Whether an arm was trained on steps that were selected in the same way."""
        if method.selector not in self.selectors:
            return False
        if self.ratio is None:
            return True
        is_same = all(method.selection.get(name) == value for name, value in self.settings)
        return is_same and method.ratio is not None and abs(method.ratio - self.ratio) < 1e-9


ALL, CRITICAL = ("all",), ("oracle", "annotated")
HIGHEST = (("selector.band", "high"),)
PAPER_ROWS = (
    PaperRow("all steps", LLAMA, ALL, None, 60.52, 36.18),
    PaperRow("critical steps, 30 %", LLAMA, CRITICAL, RATIO, 65.91, 38.36),
    PaperRow("random 30 %", LLAMA, ("random",), RATIO, 59.90, 38.04),
    PaperRow("non-critical 30 %", LLAMA, ("complement",), RATIO, 56.17, 29.88),
    PaperRow("highest perplexity 30 %", LLAMA, ("perplexity",), RATIO, 53.21, 22.13, HIGHEST),
    PaperRow("all steps", MISTRAL, ALL, None, 57.83, 16.61),
    PaperRow("critical steps, 30 %", MISTRAL, CRITICAL, RATIO, 60.83, 21.07),
    PaperRow("all steps", QWEN, ALL, None, 56.20, 30.21),
    PaperRow("critical steps, 30 %", QWEN, CRITICAL, RATIO, 57.72, 30.86),
)
