"""Registration: the design of an experiment is written down before the first training starts.

    OUT/registration.json          the design, its digest, when it was registered, what came before
    OUT/training/*/manifest.json   the digest under which each training was started

The design is what decides the results and what is to be claimed: arms with their settings, seeds,
tasks, margin and primary comparison. A changed design is registered beside the earlier one, never
in its place, and a training keeps the digest that it was started under.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from atlas.errors import RunError
from atlas.records import Record
from atlas.reporting.claims.registrations import Design, design_digest
from atlas.store.manifests import MANIFEST_FILE, Manifest, parse_manifest
from atlas.store.record_files import write_text
from atlas.training.train_agent import TrainConfig, train_agent

REGISTRATION_FILE = "registration.json"
# The folder of the trainings in that of an experiment.
TRAININGS = "training"
# Characters of a value in a line about a change.
MAX_SHOWN = 60
# The parts of a design that hold arms, models and splits by their names.
NAMED_PARTS = ("arms", "models", "evaluate")


class RegisteredDesign(Record):
    """A design, and when it was registered.

    Attributes:
        changed: what differs from the design that was registered before.
    """

    digest: str
    registered_at: datetime
    changed: tuple[str, ...] = ()
    design: dict[str, Any]


class Registration(RegisteredDesign):
    """Everything in registration.json; `earlier` has the designs that are no longer followed."""

    version: Literal[1] = 1
    earlier: tuple[RegisteredDesign, ...] = ()


def as_registered(experiment: Path, design: Design, stated: Design) -> Design:
    """The registered design if this is the same one, else `design`.

    A version of atlas may add a setting. A design that differs from the registered one only by the
    defaults of such settings was not changed.

    Args:
        stated: the design without settings that have their default.

    Raises:
        RunError: registration.json cannot be read, or was edited.
    """
    known = read_registration(experiment)
    if known is None or _names(known.design) != _names(design):
        return design
    was, given = _flat(known.design), _flat(design)
    added = given.keys() - was.keys()
    is_same = given == was | {key: given[key] for key in added}
    return known.design if is_same and not added & _flat(stated).keys() else design


def register_design(experiment: Path, design: Design) -> Registration:
    """Write the design into the folder of the experiment, unless it is there.

    Raises:
        RunError: registration.json cannot be read, or was edited.
    """
    known = read_registration(experiment)
    if known is not None and known.digest == design_digest(design):
        return known
    earlier: tuple[RegisteredDesign, ...] = ()
    if known is not None:
        before = known.model_dump(exclude={"version", "earlier"})
        earlier = (*known.earlier, RegisteredDesign(**before))
    registration = Registration(
        digest=design_digest(design),
        registered_at=datetime.now(UTC).replace(microsecond=0),
        changed=() if known is None else tuple(changes(known.design, design)),
        design=dict(design),
        earlier=earlier,
    )
    experiment.mkdir(parents=True, exist_ok=True)
    text = registration.model_dump_json(indent=1) + "\n"
    write_text(experiment / REGISTRATION_FILE, text)
    return registration


def read_registration(experiment: Path) -> Registration | None:
    """The registration in the folder of an experiment; None if it has none.

    Raises:
        RunError: it cannot be read, or a design does not have its digest.
    """
    file = experiment / REGISTRATION_FILE
    if not file.exists():
        return None
    advice = "Restore the file. To start over, choose another --out."
    try:
        registration = Registration.model_validate_json(file.read_bytes())
    except (ValidationError, OSError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        raise RunError(f"{file} cannot be read ({reason}). {advice}") from None
    for one in (registration, *registration.earlier):
        if design_digest(one.design) != one.digest:
            day = f"{one.registered_at:%Y-%m-%d}"
            raise RunError(
                f"{file} was edited: the design of {day} does not have its digest "
                f"{one.digest[:12]}. {advice}"
            )
    return registration


def changes(before: Design, now: Design) -> Iterator[str]:
    """One line for each setting that differs, and one for a whole part that was added or left out.

    Such a part is an arm, or an entry of a suite: several settings, none of which the other design
    has.
    """
    was, given = _flat(before), _flat(now)
    told = set()
    for key in sorted(was.keys() | given.keys()):
        if key in was and key in given:
            if was[key] != given[key]:
                yield f"{key}: {_shown(was, key)} before, {_shown(given, key)} now"
            continue
        own, other, what = (given, was, "added") if key in given else (was, given, "left out")
        part = _whole_part(key, other)
        if len(_inside(part, own)) < 2:
            yield f"{key}: {_shown(was, key)} before, {_shown(given, key)} now"
        elif part not in told:
            told.add(part)
            yield f"{part}: {what}"


def changes_since_training(experiment: Path, trainings: Collection[Path]) -> Iterator[str]:
    """One line for each way in which the design is not the one that trainings were started under.

    Args:
        trainings: those that are reported. Others in the folder of the experiment are named, so
            that no seed or arm can be left out in silence.
    """
    registration = read_registration(experiment)
    if registration is None:
        return
    manifests = {folder: _manifest(folder) for folder in trainings}
    followed = {manifest.registration for manifest in manifests.values() if manifest is not None}
    for one in registration.earlier:
        if one.digest in followed and one.digest != registration.digest:
            yield from changes(one.design, registration.design)
            followed.remove(one.digest)
    reported = {folder.resolve() for folder in trainings}
    for file in sorted((experiment / TRAININGS).glob(f"*/{MANIFEST_FILE}")):
        if file.parent.resolve() not in reported:
            yield f"{TRAININGS}/{file.parent.name}: started, but left out of this report"


def started_otherwise(trainings: Sequence[Path], digest: str) -> tuple[int, int]:
    """How many trainings were started, and how many of them not under the design `digest`."""
    manifests = [_manifest(folder) for folder in trainings]
    started = [manifest for manifest in manifests if manifest is not None]
    return len(started), sum(manifest.registration != digest for manifest in started)


def train_registered(
    config: TrainConfig,
    trajectories: Path,
    selection: Path,
    out: Path,
    *,
    experiment: Path,
    design: Design,
    shared_choices: Path,
) -> Manifest:
    """Register the design, then train under its digest."""
    digest = register_design(experiment, design).digest
    given = trajectories, selection, out
    return train_agent(config, *given, shared_choices=shared_choices, registration=digest)


def _manifest(folder: Path) -> Manifest | None:
    file = folder / MANIFEST_FILE
    return parse_manifest(file) if file.exists() else None


def _names(design: Design) -> set[tuple[str, str]]:
    """The arms, models and splits of a design."""
    return {(part, name) for part in NAMED_PARTS for name in design.get(part, ())}


def _flat(design: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(design, Mapping) or not design:
        return {path: design}
    flat: dict[str, Any] = {}
    for key, value in design.items():
        flat |= _flat(value, f"{path}.{key}" if path else str(key))
    return flat


def _whole_part(key: str, other: Mapping[str, Any]) -> str:
    """The shortest beginning of a key under which the other design has nothing."""
    names = key.split(".")
    parts = (".".join(names[:end]) for end in range(1, len(names) + 1))
    return next((part for part in parts if not _inside(part, other)), key)


def _inside(part: str, flat: Mapping[str, Any]) -> list[str]:
    return [key for key in flat if key == part or key.startswith(f"{part}.")]


def _shown(flat: Mapping[str, Any], key: str) -> str:
    if key not in flat:
        return "nothing"
    text = json.dumps(flat[key], ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
