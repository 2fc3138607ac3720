"""Counts how often each trajectory is parsed, for tests that data is read once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from atlas.records import Trajectory


def count_parses(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """A counter by trajectory id that grows from now on."""
    counts: Counter[str] = Counter()
    parse = Trajectory.model_validate_json

    def counting(*arguments: Any, **options: Any) -> Trajectory:
        trajectory = parse(*arguments, **options)
        counts[trajectory.id] += 1
        return trajectory

    monkeypatch.setattr(Trajectory, "model_validate_json", counting)
    return counts
