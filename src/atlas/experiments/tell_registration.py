"""What `atlas run` says about the registered design before it trains."""

from __future__ import annotations

from collections.abc import Iterator

from atlas.experiments.plan_experiment import ExperimentPlan
from atlas.experiments.registration import (
    REGISTRATION_FILE,
    Registration,
    changes,
    started_otherwise,
)
from atlas.reporting.claims.registrations import design_digest

# Changes that are listed; the file has all of them.
MAX_LISTED = 12


def tell_registration(plan: ExperimentPlan, registered: Registration | None) -> Iterator[str]:
    """The lines about the design of a plan.

    Args:
        registered: what is registered; None, or another design: nothing was written yet.
    """
    design, file = plan.design, plan.out / REGISTRATION_FILE
    digest = design_digest(design)
    changed: tuple[str, ...] = ()
    if registered is None:
        yield f"design {digest[:12]} is not registered yet; it is before the first training"
    elif registered.digest != digest:
        changed = tuple(changes(registered.design, design))
    else:
        changed = registered.changed
        yield f"design {digest[:12]}, registered {registered.registered_at:%Y-%m-%d %H:%M} UTC"
    if changed:
        yield "WARNING: the design is not the one that was registered before. What changed:"
        yield from (f"  {line}" for line in changed[:MAX_LISTED])
        if (left := len(changed) - MAX_LISTED) > 0:
            yield f"  … and {left} more"
        yield f"The earlier design is kept in {file}."
    started, otherwise = started_otherwise(plan.trainings, digest)
    if otherwise:
        yield (
            f"WARNING: {otherwise} of {started} trainings were started under another design, or "
            "before one was registered. The report says so."
        )
    if design["primary"] is None:
        yield "no primary comparison is registered: primary: {arm, against, split}"
    if design["margin"] is None:
        yield "no margin is registered, so nothing can be found not worse or alike: margin: 5"
