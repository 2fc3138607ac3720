"""What a model reads once for all rows of the benchmark `selector_agreement` that score with it.

Perplexity, entropy in all its bands, and hindsight need the same tokens, so each text is read once
and kept in WORK. The scores are computed from them by the selectors themselves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from atlas.config import check_config
from atlas.errors import DataError
from atlas.kinds import Choice
from atlas.models.local.log_probabilities import LocalScorer, load_scorer
from atlas.models.local.precision import Precision
from atlas.models.local.step_tokens import StepTokens
from atlas.records import Trajectory
from atlas.selection.select_steps import SelectConfig
from atlas.selection.selectors.base import SELECTOR, Scores, SelectorContext


class Readings:
    """The tokens of texts under a model on this machine, kept in a folder."""

    def __init__(self, model: Path, precision: Precision, folder: Path) -> None:
        self.model = model
        self.precision = precision
        self.folder = folder / f"{model.name}-{precision}"
        self.folder.mkdir(parents=True, exist_ok=True)

    @cached_property
    def scorer(self) -> LocalScorer:
        return load_scorer(str(self.model), self.precision)

    def scores(
        self, selector: str, settings: Mapping[str, Any], trajectories: Iterable[Trajectory]
    ) -> dict[str, Scores]:
        """The scores of a selector, by trajectory id; what it cannot score is left out."""
        own = {"name": selector, "model": str(self.model), "precision": self.precision, **settings}
        choice: Choice = check_config(SelectConfig, {"selector": own}, selector).selector
        context = SelectorContext(name=selector, seed=0, trajectories=Path())
        one = SELECTOR.make(choice, context)
        found = {}
        for trajectory in trajectories:
            try:
                read = [self.read(text) for text in one.texts(trajectory)]
                found[trajectory.id] = one.rate(*read)
            except DataError:
                continue
        return found

    def read(self, text: Trajectory) -> Sequence[StepTokens]:
        digest = hashlib.sha256(text.model_dump_json().encode()).hexdigest()[:24]
        kept = self.folder / f"{digest}.npz"
        if not kept.exists():
            steps = self.scorer.read(text)
            unfinished = kept.with_suffix(".partial.npz")
            np.savez(
                unfinished,
                lengths=[len(step.log_probs) for step in steps],
                log_probs=np.concatenate([step.log_probs for step in steps]),
                entropies=np.concatenate([step.entropies for step in steps]),
            )
            unfinished.rename(kept)
        with np.load(kept) as found:
            ends = np.cumsum(found["lengths"])[:-1]
            parts = (np.split(found[name], ends) for name in ("log_probs", "entropies"))
            return [StepTokens(*step) for step in zip(*parts, strict=True)]
