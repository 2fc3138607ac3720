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
from atlas.errors import ConfigError
from atlas.evaluation.evaluate_agent import EvaluateConfig, evaluate_agent
from atlas.evaluation.evaluate_suite import EvaluateSuiteConfig, evaluate_suite, leave_out
from atlas.experiments.config import BASE_ARM, TRAIN, ExperimentConfig
from atlas.experiments.run_stages import Stage
from atlas.lookup import nearest
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

# This selector means the oracle if the recipe has one, else the annotations in the trajectories.
CRITICAL = "critical"


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

    def add_selections(self, trajectories: Path) -> dict[str, Path]:
        """Plan the selection of each arm. Arms that differ only in their training share one."""
        selections: dict[str, Path] = {}
        made: dict[str, Path] = {}
        for arm, settings in self._config.arms.items():
            where = f"{self._where}: arms.{arm}"
            given = {key: value for key, value in settings.items() if key != TRAIN}
            if "selector" in given:
                given["selector"] = self._resolve(given["selector"], selections, where)
            select = check_config(SelectConfig, given, where)
            key = select.model_dump_json()
            if key not in made:
                selector = given.get("selector")
                of = selector.get("of", ()) if isinstance(selector, Mapping) else ()
                needs = (trajectories, *map(Path, _as_list(of)))
                folder = self._out / "selections" / arm
                title = f"select: {arm}"
                made[key] = self.add(title, folder, select_steps, select, trajectories, needs=needs)
            selections[arm] = made[key]
        return selections

    def _resolve(self, selector: Any, selections: Mapping[str, Path], where: str) -> Any:
        """Replace `critical` and the names of other arms (`of`) in a selector section."""
        name = selector.get("name") if isinstance(selector, Mapping) else selector
        if name == CRITICAL:
            oracle = self._config.oracle
            return "annotated" if oracle is None else {"name": "oracle", **oracle}
        if not isinstance(selector, Mapping) or "of" not in selector:
            return selector
        given = selector["of"]
        runs = [_find_run(str(of), selections, where) for of in _as_list(given)]
        return {**selector, "of": runs if isinstance(given, list | tuple) else runs[0]}

    def add_base(self) -> ArmConfig:
        player = self._base_player()
        evaluations = self._add_evaluations(self._config.train["model"], BASE_ARM, player)
        label = self._config.labels.get(BASE_ARM, "base model")
        return ArmConfig(name=BASE_ARM, label=label, runs=(ArmRun(evaluations=evaluations),))

    def add_trainings(self, trajectories: Path, selections: Mapping[str, Path]) -> list[ArmConfig]:
        runs: dict[str, list[ArmRun]] = {arm: [] for arm in self._config.arms}
        make = partial(train_agent, shared_choices=self._out / "training")
        for seed in self._config.seeds:
            for arm, settings in self._config.arms.items():
                own = settings.get(TRAIN, {})
                where = f"{self._where}: arms.{arm}.train" if own else f"{self._where}: train"
                given = {**self._config.train, **own, "seed": seed}
                train = check_config(TrainConfig, given, where)
                name = arm if len(self._config.seeds) == 1 else f"{arm}-seed{seed}"
                needs = (trajectories, selections[arm])
                folder = self._out / "training" / name
                self.add(f"train: {name}", folder, make, train, *needs, needs=needs)
                evaluations = self._add_evaluations(folder, name)
                runs[arm].append(ArmRun(training=folder, evaluations=evaluations))
        label = self._config.labels.get
        return [
            ArmConfig(name=arm, label=label(arm), runs=tuple(done)) for arm, done in runs.items()
        ]

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


def _find_run(of: str, selections: Mapping[str, Path], where: str) -> str:
    """The selection run of the arm that `of` names; otherwise `of` is a run folder."""
    if of in selections:
        return str(selections[of])
    if not Path(of).exists():
        known = nearest(of, selections) if selections else "This is the first arm."
        raise ConfigError(
            f"{where}: of: '{of}' is neither an earlier arm nor a run folder of select. {known}"
        )
    return of


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
