"""Makes the report of an experiment that is not finished, from what is.

    python recipes/paper/report_so_far.py recipes/paper/smollm2.yaml --run runs/smollm2
        [train.epochs=1 …]

Give the recipe, the folder and the settings of `atlas run`. Trainings count whose evaluation is
finished, too; the others are left out. The report lies in `RUN/so-far-N`, where N is the number of
trainings in it, and is itself a run folder, as `atlas report` writes it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from atlas.config import load_config
from atlas.errors import AtlasError
from atlas.experiments.config import ExperimentConfig
from atlas.experiments.plan_experiment import plan_experiment
from atlas.reporting.build_report import build_report
from atlas.reporting.config import ArmConfig, ArmRun, ReportConfig
from atlas.reporting.shown_episodes import EPISODES_COMMAND
from atlas.store.run_folders import is_finished


def finished_runs(arm: ArmConfig) -> tuple[ArmRun, ...]:
    """The runs of an arm that can be compared."""

    def is_whole(run: ArmRun) -> bool:
        evaluations = [folder for split in run.evaluations for folder in run.folders(split)]
        trained = run.training is None or is_finished(run.training, "train")
        return trained and all(is_finished(folder, "evaluate") for folder in evaluations)

    return tuple(filter(is_whole, arm.runs))


def skills_are_whole(arms: Iterable[ArmConfig]) -> bool:
    folders = [run.skills for arm in arms for run in arm.runs]
    return all(one is not None and is_finished(one, "evaluate --skills") for one in folders)


def without_skills(arm: ArmConfig) -> ArmConfig:
    runs = tuple(run.model_copy(update={"skills": None}) for run in arm.runs)
    return arm.model_copy(update={"runs": runs})


def episodes_of(config: ReportConfig) -> Path | None:
    """The page of episodes if it is finished."""
    folder = config.episodes
    return folder if folder and is_finished(folder, EPISODES_COMMAND) else None


def reduce_report(config: ReportConfig) -> ReportConfig:
    """The report of the runs that are finished.

    Raises:
        SystemExit: the arm that the others are compared with has none.
    """
    arms = [
        arm.model_copy(update={"runs": runs}) for arm in config.arms if (runs := finished_runs(arm))
    ]
    names = {arm.name for arm in arms}
    if config.reference not in names:
        raise SystemExit(
            f"no training of the arm '{config.reference}', with which the others are compared, has "
            "been evaluated yet. Let the experiment go on."
        )
    if not skills_are_whole(arms):
        arms = [without_skills(arm) for arm in arms]
    primary = config.primary
    has_primary = primary is not None and {primary.arm, primary.against} <= names
    changed = {
        "arms": tuple(arms),
        "primary": primary if has_primary else None,
        "base": config.base if config.base in names else None,
        # The page of episodes is made when all of them are there.
        "episodes": episodes_of(config),
        "title": f"{config.title} (so far)",
    }
    return config.model_copy(update=changed)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", type=Path)
    parser.add_argument("settings", nargs="*", help="key=value, as given to atlas run")
    parser.add_argument("--run", type=Path, required=True, help="the folder of atlas run")
    given = parser.parse_args()
    config = load_config(ExperimentConfig, given.recipe, given.settings, {})
    plan = plan_experiment(config, given.run, str(given.recipe))
    [whole] = [one.config for one in plan.stages if isinstance(one.config, ReportConfig)]
    report = reduce_report(whole)
    num_trainings = sum(run.training is not None for arm in report.arms for run in arm.runs)
    out = given.run / f"so-far-{num_trainings}"
    build_report(report, out)
    print(f"{out / 'report.html'}: {num_trainings} of {len(plan.trainings)} trainings")


if __name__ == "__main__":
    try:
        main()
    except AtlasError as error:
        raise SystemExit(f"error: {error}") from None
