"""The report of an experiment, made again where its design or its runs have changed."""

from __future__ import annotations

from pathlib import Path

from atlas.errors import RunError
from atlas.experiments.registration import changes_since_training
from atlas.reporting.build_report import build_report
from atlas.reporting.config import ReportConfig
from atlas.store.run_folders import MANIFEST_FILE, Manifest, check_folder, run_input
from atlas.terminal.progress import say


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
        try:
            check_folder(out, "report", config.relative_to(out), inputs)
        except RunError:
            number = 1
            while (kept := out.with_name(f"{out.name}-{number}")).exists():
                number += 1
            out.rename(kept)
            say(f"the earlier report, of other runs or settings, is kept in {kept}")
    return build_report(config, out)
