"""Whether what the report claims was fixed before the trainings started, and kept since."""

from __future__ import annotations

from collections.abc import Iterable

from atlas.reporting.arms import Arm
from atlas.reporting.config import ReportConfig
from atlas.reporting.report import RegistrationStatus


def check_registration(arms: Iterable[Arm], config: ReportConfig) -> RegistrationStatus:
    """Compare the design of this report with the one that each training was started under.

    kept: all trainings have the registration of this report. changed: some have another one, or
    none, or some of the experiment are left out. unchecked: they have one, but the report is not
    made by the recipe of an experiment.
    """
    trainings = [training for arm in arms for training in arm.trainings]
    registered = {training.folder.manifest.registration for training in trainings}
    if not registered or registered == {None}:
        return "not_registered"
    if config.registration is None:
        return "unchecked"
    is_kept = registered == {config.registration} and not config.design_changes
    return "kept" if is_kept else "changed"
