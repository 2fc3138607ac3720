"""Run folders of `atlas evaluate --skills` -> the scores of a model on each item, checked."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from atlas.errors import RunError
from atlas.reporting.arms import Arm, RunFolder, SkillScores, Training
from atlas.store.record_files import read_records

ITEMS_FILE = "items.jsonl"


class _Item(BaseModel):
    """The columns of items.jsonl that a report reads."""

    task: str
    item: int
    score: float


def read_skills(folder: RunFolder, training: Training | None) -> SkillScores:
    """The scores in a run folder of `atlas evaluate --skills`.

    Raises:
        RunError: another checkpoint than that of the training was asked.
    """
    model = folder.manifest.inputs.get("model")
    digest = model.digest if model else None
    if training is not None and digest not in (None, training.folder.manifest.digest):
        raise RunError(
            f"{folder.path} did not ask the checkpoint of {training.folder.path}, but "
            f"{model.path if model else 'another'} (relative to it). Give the base skills of this "
            "training, or run atlas evaluate --skills on it."
        )
    scores: dict[str, dict[int, float]] = {}
    for row in read_records(folder.path / ITEMS_FILE, _Item):
        scores.setdefault(row.task, {})[row.item] = row.score
    return SkillScores(folder, scores)


def check_skills(arms: Sequence[Arm]) -> None:
    """Raise RunError if an arm has skills of some of its runs, or models answered other items."""
    first: SkillScores | None = None
    for arm in arms:
        found = [run.skills for run in arm.runs]
        known = [skills for skills in found if skills is not None]
        if known and len(known) < len(found):
            raise RunError(
                f"arm '{arm.name}' has base skills of {len(known)} of its {len(found)} runs, "
                "expected all or none. Run atlas evaluate --skills for the others, or leave "
                "'skills' out of this arm."
            )
        for skills in known:
            first = first or skills
            _check_items(arm.name, skills, first)


def _check_items(arm: str, skills: SkillScores, first: SkillScores) -> None:
    where = f"arm '{arm}': {skills.folder.path}"
    if skills.scores.keys() != first.scores.keys():
        raise RunError(
            f"{where} has the tasks {', '.join(skills.scores)}, {first.folder.path} has "
            f"{', '.join(first.scores)}: expected the same. Ask all models with the same tasks."
        )
    for task, scores in skills.scores.items():
        if scores.keys() != first.scores[task].keys():
            raise RunError(
                f"{where} has {len(scores)} items of task '{task}', {first.folder.path} has "
                f"{len(first.scores[task])}, and they are not the same: expected the same items. "
                "Ask all models with the same tasks and limit."
            )
