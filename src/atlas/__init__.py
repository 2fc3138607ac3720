"""ATLaS: agent tuning on the critical steps of expert trajectories (arXiv 2503.02197).

    trajectories -> select_steps -> train_agent -> evaluate_agent -> build_report

The records and the stage functions are the face of the package; each is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_FACE = {
    "Annotation": "atlas.records",
    "CriticalStep": "atlas.records",
    "Message": "atlas.records",
    "Outcome": "atlas.records",
    "Problem": "atlas.records",
    "Selection": "atlas.records",
    "Source": "atlas.records",
    "Step": "atlas.records",
    "Task": "atlas.records",
    "Trajectory": "atlas.records",
    "AtlasError": "atlas.errors",
    "read_trajectories": "atlas.store.readers",
    "read_selections": "atlas.store.readers",
    "CollectConfig": "atlas.trajectories.collect_experts",
    "collect_experts": "atlas.trajectories.collect_experts",
    "ImportConfig": "atlas.trajectories.import_trajectories",
    "import_trajectories": "atlas.trajectories.import_trajectories",
    "SelectConfig": "atlas.selection.select_steps",
    "select_steps": "atlas.selection.select_steps",
    "TrainConfig": "atlas.training.train_agent",
    "train_agent": "atlas.training.train_agent",
    "EvaluateConfig": "atlas.evaluation.evaluate_agent",
    "evaluate_agent": "atlas.evaluation.evaluate_agent",
    "ReportConfig": "atlas.reporting.config",
    "build_report": "atlas.reporting.build_report",
}

__all__ = ["__version__", *_FACE]


def __getattr__(name: str) -> Any:
    if name not in _FACE:
        raise AttributeError(f"module 'atlas' has no attribute '{name}'")
    return getattr(import_module(_FACE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
