"""Whether what the report claims was fixed before the trainings started, and kept since."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from atlas.reporting.arms import Arm
from atlas.reporting.claims.settings import ClaimSettings
from atlas.reporting.config import ReportConfig
from atlas.reporting.report import RegistrationStatus

Design = Mapping[str, Any]


def design_digest(design: Design) -> str:
    """The SHA-256 of the canonical JSON of a design."""
    text = json.dumps(design, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def check_registration(arms: Sequence[Arm], config: ReportConfig) -> RegistrationStatus:
    """Compare this report with the design that each training was started under.

    kept: all trainings have the registration of the design, and the report follows it. changed:
    some have another one, or none, or the report claims something else or leaves something out.
    unchecked: they have one, but the report is not made by the recipe of an experiment.
    """
    trainings = [training for arm in arms for training in arm.trainings]
    registered = {training.folder.manifest.registration for training in trainings}
    if not registered or registered == {None}:
        return "not_registered"
    if config.design is None:
        return "unchecked"
    is_same = registered == {design_digest(config.design)} and not config.design_changes
    return "kept" if is_same and _follows(config.design, arms, config) else "changed"


def _follows(design: Design, arms: Sequence[Arm], config: ReportConfig) -> bool:
    """Whether claims, roles, arms with their seeds, and splits or entries are of the design."""
    claims = config.model_dump(mode="json", include=set(ClaimSettings.model_fields))
    # A design may be older than a setting.
    registered = {**ClaimSettings().model_dump(mode="json"), **design}
    seeds = {
        arm.name: Counter(training.folder.manifest.config.get("seed") for training in arm.trainings)
        for arm in arms
        if arm.trainings
    }
    # Those beside the base model, which is in every experiment.
    planned = {*design["arms"], *design.get("models", ())}
    return (
        all(registered[name] == value for name, value in claims.items())
        and design.get("reference") == config.reference
        and config.confidence == ReportConfig.model_fields["confidence"].default
        and design.get("focus", config.focus_arm) == config.focus_arm
        and {arm.name for arm in arms} - planned == {config.base}
        and {arm.name for arm in arms} > planned
        and seeds == {name: Counter(arm["seeds"]) for name, arm in design["arms"].items()}
        and set(arms[0].runs[0].evaluations) == _played(design["evaluate"])
    )


def _played(evaluate: Mapping[str, Any]) -> set[str]:
    """The splits of a design, or the entries of its suite."""
    start, end = "suite.entries.", ".ring"
    entries = {
        key.removeprefix(start).removesuffix(end)
        for key in evaluate.get("suite", {})
        if key.startswith(start) and key.endswith(end)
    }
    return entries or {*evaluate}
