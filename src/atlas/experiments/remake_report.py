"""The report of an experiment, made again where its design or its runs have changed."""

from __future__ import annotations

from pathlib import Path

from atlas.experiments.keep_earlier import keep_earlier
from atlas.experiments.registration import changes_since_training
from atlas.reporting.build_report import build_report
from atlas.reporting.config import ReportConfig
from atlas.store.run_folders import MANIFEST_FILE, Manifest, run_input


def remake_report(config: ReportConfig, out: Path) -> Manifest:
    """Build the report. An earlier one of other runs or settings is kept beside it.

    It says in which way the design changed since trainings were started.
    """
    trainings = [run.training for arm in config.arms for run in arm.runs if run.training]
    changed = tuple(dict.fromkeys(changes_since_training(out.parent, trainings)))
    config = config.model_copy(update={"design_changes": changed})
    if (out / MANIFEST_FILE).exists():
        named = config.named_runs()
        inputs = {name: run_input(path, out, (command,)) for name, path, command in named}
        keep_earlier("report", out, "report", config.relative_to(out), inputs)
    return build_report(config, out)
