"""What a checkpoint is known by, so that one training does not pass for several.

A run folder may be copied, trained again with the same seed into another folder, or evaluated under
the path of its checkpoint. In each case one of the identities is the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from atlas.errors import RunError
from atlas.reporting.arms import WEIGHTS_IDENTITY, Arm, Evaluation, SeedRun, Training
from atlas.store.run_folders import MANIFEST_FILE, Manifest, read_manifest

WEIGHTS_FOLDER = "checkpoint/"
WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth")


def identities_of(training: Training | None, evaluations: Iterable[Evaluation]) -> frozenset[str]:
    """What the checkpoint of a run is known by: its training, or else what its player was."""
    found = set() if training is None else set(_of_training(training.folder.manifest))
    for repetition in (one for evaluation in evaluations for one in evaluation.repetitions):
        folder = repetition.folder
        model = folder.manifest.inputs.get("model")
        if model is None:
            continue
        if model.digest is None:
            # Which checkpoint was served under a name is not known, but the same episodes are of
            # the same one.
            found.add(f"played {folder.manifest.digest}")
        if training is not None:
            continue
        if model.digest is None:
            found.add(f"model {model.path}")
            continue
        found.add(f"content {model.digest}")
        path = (folder.path.resolve() / model.path).resolve()
        for run in (path, path.parent):
            found.update(_of_folder(run))
    return frozenset(found)


def refuse_same_trainings(arm: str, runs: Sequence[SeedRun]) -> None:
    """Raise RunError if two runs of an arm are the same training."""
    for number, run in enumerate(runs):
        for earlier in range(number):
            if run.identities & runs[earlier].identities:
                first, second = (_shown(runs[place]) for place in (earlier, number))
                raise RunError(
                    f"arm '{arm}': its runs {earlier + 1} and {number + 1} are the same training "
                    f"({first} and {second} have the same checkpoint or episodes), so they do not "
                    "show the noise of training. Train with another seed, or leave one out. If one "
                    "checkpoint played the tasks several times, list the folders of its "
                    "evaluations under one run."
                )


def share_trainings(arm: Arm, other: Arm) -> bool:
    """Whether two arms have a checkpoint in common."""
    return any(one.identities & two.identities for one in arm.runs for two in other.runs)


def shared_trainings(arms: Sequence[Arm]) -> dict[str, frozenset[str]]:
    """For each arm, the other arms that have a checkpoint in common with it."""
    return {
        arm.name: frozenset(
            other.name for other in arms if other is not arm and share_trainings(arm, other)
        )
        for arm in arms
    }


def _of_training(manifest: Manifest) -> Iterator[str]:
    yield f"content {manifest.digest}"
    weights = {
        name: digest
        for name, digest in manifest.outputs.items()
        if name.startswith(WEIGHTS_FOLDER) and name.endswith(WEIGHTS)
    }
    if weights:
        text = json.dumps(weights, sort_keys=True)
        yield f"{WEIGHTS_IDENTITY}{hashlib.sha256(text.encode()).hexdigest()}"


def _of_folder(path: Path) -> Iterator[str]:
    """The identities of a training in this folder, if there is one."""
    if (path / MANIFEST_FILE).is_file():
        manifest = read_manifest(path)
        if manifest.command == "train":
            yield from _of_training(manifest)


def _shown(run: SeedRun) -> str:
    if run.training is not None:
        return str(run.training.folder.path)
    return str(next(iter(run.evaluations.values())).folder.path)
