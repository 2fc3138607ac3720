"""Says in a few lines what was found at the steps of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from atlas.selection.sampling.samples import AGREEMENT, SAMPLES, StepAgreement, StepSample
from atlas.store.record_files import read_records
from atlas.store.run_folders import Run


def describe_profile(run: Run, is_kept: Callable[[StepAgreement], bool]) -> Iterator[str]:
    """How many steps agree always, never and in part, and which samples say nothing."""
    steps: Counter[str] = Counter()
    reasons: Counter[str | None] = Counter()
    num_steps = num_kept = 0
    for step in read_records(run.path / f"{AGREEMENT}.jsonl", StepAgreement):
        num_steps += 1
        num_kept += is_kept(step)
        if step.mean is None:
            reasons[step.reason] += 1
        else:
            steps["never" if not step.mean else "always" if step.mean == 1 else "in part"] += 1
    if not num_steps:
        return
    found = ", ".join(f"{steps[name]:,} {name}" for name in ("never", "in part", "always"))
    yield (
        f"pivot: of {num_steps:,} steps, samples agree with the expert at {found}; "
        f"{num_kept:,} are kept"
    )
    if reasons:
        [(reason, _)] = reasons.most_common(1)
        yield f"pivot: {reasons.total():,} steps have no verdict; the most common reason: {reason}"
    finishes = Counter(
        sample.finish for sample in read_records(run.path / f"{SAMPLES}.jsonl", StepSample)
    )
    if cut := finishes["length"]:
        yield (
            f"pivot: {cut:,} of {finishes.total():,} samples were cut off at the longest answer, "
            "and count as no agreement; raise player.max_new_tokens (local) or player.max_tokens "
            "(endpoint) if the model was still acting"
        )
