"""ATLaS: agent tuning on the critical steps of expert trajectories (arXiv 2503.02197).

    trajectories -> select_steps -> train_agent -> evaluate_agent -> build_report

The records, the stage functions and their configs are imported from here. Each loads its module
when it is first used, so that `import atlas` stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atlas.auditing.audit_files import Audit as Audit
    from atlas.auditing.audit_files import AuditConfig as AuditConfig
    from atlas.auditing.audit_files import audit_files as audit_files
    from atlas.config import load_config as load_config
    from atlas.errors import AtlasError as AtlasError
    from atlas.evaluation.evaluate_agent import EvaluateConfig as EvaluateConfig
    from atlas.evaluation.evaluate_agent import evaluate_agent as evaluate_agent
    from atlas.evaluation.evaluate_skills import SkillsConfig as SkillsConfig
    from atlas.evaluation.evaluate_skills import evaluate_skills as evaluate_skills
    from atlas.evaluation.evaluate_suite import EvaluateSuiteConfig as EvaluateSuiteConfig
    from atlas.evaluation.evaluate_suite import evaluate_suite as evaluate_suite
    from atlas.evaluation.probe_steps import ProbeConfig as ProbeConfig
    from atlas.evaluation.probe_steps import probe_steps as probe_steps
    from atlas.experiments.config import ExperimentConfig as ExperimentConfig
    from atlas.experiments.plan_experiment import plan_experiment as plan_experiment
    from atlas.experiments.run_stages import run_stages as run_stages
    from atlas.exporting.check_export import check_export as check_export
    from atlas.exporting.export_selection import ExportConfig as ExportConfig
    from atlas.exporting.export_selection import export_selection as export_selection
    from atlas.kinds import Choice as Choice
    from atlas.records import Annotation as Annotation
    from atlas.records import CriticalStep as CriticalStep
    from atlas.records import Message as Message
    from atlas.records import Outcome as Outcome
    from atlas.records import Problem as Problem
    from atlas.records import Selection as Selection
    from atlas.records import Source as Source
    from atlas.records import Step as Step
    from atlas.records import Task as Task
    from atlas.records import Trajectory as Trajectory
    from atlas.reporting.build_report import build_report as build_report
    from atlas.reporting.config import ReportConfig as ReportConfig
    from atlas.reporting.planning.plan_comparison import PlanConfig as PlanConfig
    from atlas.reporting.planning.plan_comparison import plan_comparison as plan_comparison
    from atlas.reporting.selections.compare_selections import CompareConfig as CompareConfig
    from atlas.reporting.selections.compare_selections import (
        compare_selections as compare_selections,
    )
    from atlas.reporting.selections.compare_selections import read_comparison as read_comparison
    from atlas.selection.learned.train_selector import SelectTrainConfig as SelectTrainConfig
    from atlas.selection.learned.train_selector import train_selector as train_selector
    from atlas.selection.select_steps import SelectConfig as SelectConfig
    from atlas.selection.select_steps import select_steps as select_steps
    from atlas.selection.write_selections import write_selections as write_selections
    from atlas.store.readers import read_selections as read_selections
    from atlas.store.readers import read_trajectories as read_trajectories
    from atlas.store.run_folders import Manifest as Manifest
    from atlas.store.run_folders import read_manifest as read_manifest
    from atlas.training.train_agent import TrainConfig as TrainConfig
    from atlas.training.train_agent import train_agent as train_agent
    from atlas.trajectories.collect_experts import CollectConfig as CollectConfig
    from atlas.trajectories.collect_experts import collect_experts as collect_experts
    from atlas.trajectories.collect_suite import CollectSuiteConfig as CollectSuiteConfig
    from atlas.trajectories.collect_suite import collect_suite as collect_suite
    from atlas.trajectories.import_trajectories import ImportConfig as ImportConfig
    from atlas.trajectories.import_trajectories import import_trajectories as import_trajectories
    from atlas.trajectories.write_trajectories import write_trajectories as write_trajectories

__version__ = "0.1.0"

# The same imports at run time: name -> module. tests/test_face.py compares the two.
_MODULE_OF = {
    name: module
    for module, names in {
        "atlas.auditing.audit_files": "Audit AuditConfig audit_files",
        "atlas.config": "load_config",
        "atlas.errors": "AtlasError",
        "atlas.evaluation.evaluate_agent": "EvaluateConfig evaluate_agent",
        "atlas.evaluation.evaluate_skills": "SkillsConfig evaluate_skills",
        "atlas.evaluation.evaluate_suite": "EvaluateSuiteConfig evaluate_suite",
        "atlas.evaluation.probe_steps": "ProbeConfig probe_steps",
        "atlas.experiments.config": "ExperimentConfig",
        "atlas.experiments.plan_experiment": "plan_experiment",
        "atlas.experiments.run_stages": "run_stages",
        "atlas.exporting.check_export": "check_export",
        "atlas.exporting.export_selection": "ExportConfig export_selection",
        "atlas.kinds": "Choice",
        "atlas.records": (
            "Annotation CriticalStep Message Outcome Problem Selection Source Step Task Trajectory"
        ),
        "atlas.reporting.build_report": "build_report",
        "atlas.reporting.config": "ReportConfig",
        "atlas.reporting.planning.plan_comparison": "PlanConfig plan_comparison",
        "atlas.reporting.selections.compare_selections": (
            "CompareConfig compare_selections read_comparison"
        ),
        "atlas.selection.learned.train_selector": "SelectTrainConfig train_selector",
        "atlas.selection.select_steps": "SelectConfig select_steps",
        "atlas.selection.write_selections": "write_selections",
        "atlas.store.readers": "read_selections read_trajectories",
        "atlas.store.run_folders": "Manifest read_manifest",
        "atlas.training.train_agent": "TrainConfig train_agent",
        "atlas.trajectories.collect_experts": "CollectConfig collect_experts",
        "atlas.trajectories.collect_suite": "CollectSuiteConfig collect_suite",
        "atlas.trajectories.import_trajectories": "ImportConfig import_trajectories",
        "atlas.trajectories.write_trajectories": "write_trajectories",
    }.items()
    for name in names.split()
}

__all__ = ["__version__", *_MODULE_OF]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _MODULE_OF:
            raise AttributeError(f"module 'atlas' has no attribute '{name}'")
        return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
