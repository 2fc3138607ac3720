"""Anchors of trajectories in a page, the same in every page, so that other pages can link there."""

from __future__ import annotations

import hashlib


def anchor_of(trajectory_id: str, run: str = "") -> str:
    """The anchor of a trajectory of a run.

    >>> anchor_of("babyai/GoToLocal/7/expert-0")
    't-72ff336323'
    """
    name = f"{run}\n{trajectory_id}".encode("utf-8", "backslashreplace")
    return f"t-{hashlib.sha256(name).hexdigest()[:10]}"
