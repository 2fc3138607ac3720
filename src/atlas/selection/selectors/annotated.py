"""Selects the steps that people or the source of the data marked as critical.

The marks are either in a file of labels, or annotations of an expert in the trajectories.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from atlas.config import BY_CONTENT, Config
from atlas.errors import ConfigError, DataError
from atlas.lookup import nearest
from atlas.records import CRITICAL_KINDS, CriticalStep, Label, Problem, Selection, Trajectory
from atlas.selection.selectors.base import SelectorBase, SelectorContext, take_best
from atlas.store.labels import LabelFile, read_labels
from atlas.store.record_files import file_digest
from atlas.store.run_folders import Input


class AnnotatedConfig(Config):
    """Settings of `annotated`: whose labels are used."""

    labels: Annotated[str | None, BY_CONTENT] = Field(
        default=None,
        description="a file of people's labels (.jsonl or .csv); if none, the annotations "
        "in the source data are used",
    )
    annotator: str | None = Field(
        default=None,
        description="use only the labels of this annotator; if none, a step needs the "
        "majority of those who labeled its trajectory",
    )

    @model_validator(mode="after")
    def _annotators_have_labels(self) -> AnnotatedConfig:
        if self.annotator is not None and self.labels is None:
            raise ValueError(
                f"annotator='{self.annotator}' picks from a file of labels, and none is given; "
                "add labels=FILE"
            )
        return self


class AnnotatedSelector(SelectorBase[AnnotatedConfig]):
    """The steps that people's labels or the source's own annotations mark as critical.

    Takes the steps with the highest scores; of equals the earlier. With a file of labels, the score
    of a step is the share of the trajectory's annotators that call it critical. Without
    `annotator`, a step needs more than half of them.

    Raises:
        ConfigError: the file of labels does not exist, or has no label by `annotator`.
        DataError: the file has no usable label.
    """

    Config = AnnotatedConfig

    def __init__(self, config: AnnotatedConfig, context: SelectorContext) -> None:
        super().__init__(config, context)
        path = config.labels
        self._people = None if path is None else PeoplesLabels(Path(path), config.annotator)

    @property
    def sentence(self) -> str:
        if self._people is None:
            return (
                "the steps that their source marks: annotations of an expert, written while it "
                "acted with knowledge of the inside of the environment, or training flags of a file"
            )
        return (
            f"the steps that people's labels (by {self._people.whose}) call critical, written by "
            "people who read the trajectories"
        )

    def inputs(self, out: Path) -> dict[str, Input]:
        return {} if self._people is None else {"labels": self._people.input}

    def check(self, num_steps: Mapping[str, int]) -> Sequence[Problem]:
        return () if self._people is None else self._people.check(num_steps)

    def select(self, trajectory: Trajectory, budget: int) -> Selection:
        marked = self._people.marked if self._people is not None else _marked_by_source
        steps = marked(trajectory)
        if isinstance(steps, str):
            return self.selection_of(trajectory, budget, problem=steps)
        return self.selection_of(trajectory, budget, take_best(steps, budget))


def _marked_by_source(trajectory: Trajectory) -> list[CriticalStep] | str:
    notes = [
        (index, step.annotation)
        for index, step in enumerate(trajectory.steps)
        if step.annotation is not None
    ]
    if trajectory.steps and not notes:
        return (
            "no step is annotated by its source; give people's labels (labels=FILE), or choose "
            "another selector"
        )
    return [
        CriticalStep(index=index, kinds=note.kinds, score=note.score)
        for index, note in notes
        if note.is_marked
    ]


class PeoplesLabels:
    """A file of labels, of one annotator or of all."""

    def __init__(self, path: Path, annotator: str | None) -> None:
        self._file: LabelFile = read_labels(path)
        self._name = path.name
        self.input = Input(path=path.name, digest=file_digest(path))
        self.whose = annotator or "anyone"
        annotators = {placed.label.annotator for placed in self._file.labels}
        if not annotators:
            first = "it is empty"
            for problem in self._file.problems[:1]:
                first = f"the first problem: {problem.where}: {problem.reason}"
            raise DataError(
                f"labels {path} has no label that can be used; {first}. docs/formats.md says what "
                "such a file holds."
            )
        if annotator is not None and annotator not in annotators:
            raise ConfigError(
                f"annotator='{annotator}' has no label in {path}. {nearest(annotator, annotators)}"
            )
        self._of_trajectory: dict[str, list[Label]] = {}
        for placed in self._file.labels:
            if annotator in (None, placed.label.annotator):
                self._of_trajectory.setdefault(placed.label.trajectory_id, []).append(placed.label)

    def check(self, num_steps: Mapping[str, int]) -> list[Problem]:
        """Problems of the file: invalid lines, and labels of steps that do not exist."""
        problems = list(self._file.problems)
        for placed in self._file.labels:
            id_, step = placed.label.trajectory_id, placed.label.step
            if id_ not in num_steps:
                reason = (
                    f"trajectory '{id_}' is not among those that are selected from "
                    "('atlas show' lists their ids)"
                )
            elif step >= num_steps[id_]:
                known = f"steps 0 to {num_steps[id_] - 1}" if num_steps[id_] else "no step"
                reason = (
                    f"step {step} of a trajectory with {known} (turns of the prompt, such as a "
                    "canned 'OK.', are not steps)"
                )
            else:
                continue
            problems.append(Problem(where=placed.where, reason=reason, item=id_))
        return problems

    def marked(self, trajectory: Trajectory) -> list[CriticalStep] | str:
        """The steps that more than half of the annotators call critical, or the reason for none."""
        given = self._of_trajectory.get(trajectory.id, ())
        labels = [label for label in given if label.step < len(trajectory.steps)]
        if trajectory.steps and not labels:
            return f"no label by {self.whose} in {self._name}"
        num_annotators = len({label.annotator for label in labels})
        marked: list[CriticalStep] = []
        for index in sorted({label.step for label in labels}):
            critical = [label for label in labels if label.step == index and label.type != "none"]
            voters = sorted({label.annotator for label in critical})
            if 2 * len(voters) > num_annotators:
                types = {label.type for label in critical}
                share = f"{len(voters)} of {num_annotators} ({', '.join(voters)})"
                notes = [f"{label.annotator}: {label.note}" for label in critical if label.note]
                step = CriticalStep(
                    index=index,
                    kinds=tuple(kind for kind in CRITICAL_KINDS if kind in types),
                    reason="; ".join([share, *notes]),
                    score=round(len(voters) / num_annotators, 6),
                )
                marked.append(step)
        return marked
