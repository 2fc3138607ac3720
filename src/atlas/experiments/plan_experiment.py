"""Plans an experiment as a list of stages: collect -> select -> train -> evaluate -> report.

Each stage calls the same function as its command. All configs are checked before the first stage
starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from atlas.config import StrPath, check_config, require_extras_of
from atlas.environments.suite import Suite
from atlas.evaluation.evaluate_agent import EvaluateConfig, evaluate_agent
from atlas.evaluation.evaluate_suite import EvaluateSuiteConfig, evaluate_suite, leave_out
from atlas.experiments.config import BASE_ARM, TRAIN, ExperimentConfig
from atlas.experiments.plan_selections import SelectionPlan
from atlas.experiments.run_stages import Stage
from atlas.models.local.load import locate_model
from atlas.models.players import PLAYER
from atlas.reporting.build_report import build_report
from atlas.reporting.config import ArmConfig, ArmRun, ReportConfig
from atlas.selection.select_steps import SelectConfig, select_steps
from atlas.store.run_folders import Manifest
from atlas.terminal.progress import say
from atlas.training.train_agent import TrainConfig, train_agent
from atlas.trajectories.collect_experts import CollectConfig, collect_experts
from atlas.trajectories.collect_suite import CollectSuiteConfig, collect_suite


def plan_experiment(config: ExperimentConfig, out: StrPath, where: str) -> list[Stage]:
    """All stages in order, with checked configs. Their run folders will be in `out`.

    Args:
        where: the recipe's name in error messages.

    Raises:
        ConfigError: a section has an unknown key or a wrong value; the message names recipe,
            section and key.
    """
    out = Path(out)
    plan = _Plan(config, out, where)
    trajectories = plan.add_trajectories()
    selections = plan.add_selections(trajectories)
    arms = [plan.add_base(), *plan.add_trainings(trajectories, selections), *plan.add_models()]
    report = ReportConfig(
        title=config.title, arms=tuple(arms), reference=config.reference, base=BASE_ARM
    )
    folders = [stage.out for stage in plan.stages]
    plan.add("report", out / "report", build_report, report, needs=folders)
    # A missing package or base model is reported now, before other stages spend an hour.
    for stage in plan.stages:
        require_extras_of(stage.config)
    locate_model(str(config.train["model"]))
    return plan.stages


class _Plan:
    """The stages planned so far."""

    def __init__(self, config: ExperimentConfig, out: Path, where: str) -> None:
        self._config, self._out, self._where = config, out, where
        self.stages: list[Stage] = []
        # The entries of the suite that cannot be played here; None: not looked for yet.
        self._absent: dict[str, str] | None = None

    def add(
        self,
        title: str,
        folder: Path,
        make: Callable[..., Manifest],
        *arguments: Any,
        needs: Iterable[Path] = (),
    ) -> Path:
        """Add a stage to the plan, and return its run folder."""
        self.stages.append(Stage(title, folder, make, arguments, tuple(needs)))
        return folder

    def add_trajectories(self) -> Path:
        if self._config.trajectories is not None:
            return self._config.trajectories
        folder, title = self._out / "trajectories", "collect expert episodes"
        settings, where = self._config.collect, f"{self._where}: collect"
        if "suite" in settings:
            several = check_config(CollectSuiteConfig, settings, where)
            return self.add(title, folder, collect_suite, several)
        collect = check_config(CollectConfig, settings, where)
        return self.add(title, folder, collect_experts, collect)

    def add_selections(self, trajectories: Path) -> SelectionPlan:
        """Plan the selection of each arm, for each of its seeds if it draws."""

        def add(name: str, select: SelectConfig, reads: tuple[Path, ...]) -> Path:
            folder, needs = self._out / "selections" / name, (trajectories, *reads)
            title = f"select: {name}"
            return self.add(title, folder, select_steps, select, trajectories, needs=needs)

        selections = SelectionPlan(self._config, self._where, add)
        for arm in self._config.arms:
            for seed in self._config.seeds_of(arm):
                selections.folder(arm, seed)
        return selections

    def add_base(self) -> ArmConfig:
        player = self._base_player()
        evaluations = self._add_evaluations(self._config.train["model"], BASE_ARM, player)
        label = self._config.labels.get(BASE_ARM, "base model")
        return ArmConfig(name=BASE_ARM, label=label, runs=(ArmRun(evaluations=evaluations),))

    def add_trainings(self, trajectories: Path, selections: SelectionPlan) -> list[ArmConfig]:
        """Plan the trainings: the first seed of every arm, then the second, and so on."""
        config = self._config
        runs: dict[str, list[ArmRun]] = {arm: [] for arm in config.arms}
        for number in range(max(len(config.seeds_of(arm)) for arm in config.arms)):
            for arm in config.arms:
                if number < len(seeds := config.seeds_of(arm)):
                    seed = seeds[number]
                    selection = selections.folder(arm, seed)
                    runs[arm].append(self._add_training(arm, seed, trajectories, selection))
        label = config.labels.get
        return [
            ArmConfig(name=arm, label=label(arm), runs=tuple(done)) for arm, done in runs.items()
        ]

    def _add_training(self, arm: str, seed: int, trajectories: Path, selection: Path) -> ArmRun:
        own = self._config.arms[arm].get(TRAIN, {})
        where = f"{self._where}: arms.{arm}.train" if own else f"{self._where}: train"
        train = check_config(TrainConfig, {**self._config.train, **own, "seed": seed}, where)
        name, needs = self._config.run_name(arm, seed), (trajectories, selection)
        folder = self._out / "training" / name
        make = partial(train_agent, shared_choices=self._out / "training")
        self.add(f"train: {name}", folder, make, train, *needs, needs=needs)
        return ArmRun(training=folder, evaluations=self._add_evaluations(folder, name))

    def add_models(self) -> list[ArmConfig]:
        """The models that are evaluated as they are."""
        arms = []
        for name, arm in self._config.models.items():
            player = PLAYER.written(self._config.evaluate.get("player", "local")) | arm.player
            evaluations = self._add_evaluations(arm.model, name, {"player": player})
            label, run = self._config.labels.get(name), ArmRun(evaluations=evaluations)
            arms.append(ArmConfig(name=name, label=label, runs=(run,)))
        return arms

    def _base_player(self) -> dict[str, Any]:
        """The player of the base model: a local one has the template that the arms train with."""
        template = self._config.train.get("chat_template")
        player = PLAYER.written(self._config.evaluate.get("player", "local"))
        if template is None or player.get("name") != "local":
            return {}
        return {"player": {"chat_template": template, **player}}

    def _add_evaluations(
        self, model: Path | str, name: str, changes: Mapping[str, Any] | None = None
    ) -> dict[str, Path]:
        if self._config.suite is not None:
            return self._add_suite(self._config.suite, model, name, changes)
        runs = {}
        for split in self._config.splits:
            settings = {**self._config.evaluate, **(changes or {})}
            settings |= {"model": str(model), "split": split}
            evaluate = check_config(EvaluateConfig, settings, f"{self._where}: evaluate")
            folder = self._out / "evaluations" / name / split
            title = f"evaluate: {name} on {split}"
            runs[split] = self.add(title, folder, evaluate_agent, evaluate, needs=(Path(model),))
        return runs

    def _add_suite(
        self, suite: Suite, model: Path | str, name: str, changes: Mapping[str, Any] | None
    ) -> dict[str, Path]:
        """One stage that plays all entries, and the run folder of each of them."""
        settings = {**self._config.evaluate, **(changes or {}), "model": str(model), "suite": suite}
        evaluate = check_config(EvaluateSuiteConfig, settings, f"{self._where}: evaluate")
        if self._absent is None:
            self._absent = leave_out(evaluate)
            for key, reason in self._absent.items():
                say(f"the entry '{key}' of the suite is left out for all arms: {reason}")
        kept = {key: entry for key, entry in suite.entries.items() if key not in self._absent}
        reduced = suite.model_copy(update={"entries": kept, "without_server": ()})
        evaluate = evaluate.model_copy(update={"suite": reduced})
        folder = self._out / "evaluations" / name
        title = f"evaluate: {name} on the suite"
        self.add(title, folder, evaluate_suite, evaluate, needs=(Path(model),))
        return {key: folder / key for key in kept}
