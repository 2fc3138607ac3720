"""Plans an experiment as a list of stages: collect -> select -> train -> evaluate -> report.

Each stage calls the same function as its command. All configs are checked before the first stage
starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from atlas.config import Config, StrPath, check_config, not_installed, require_installed
from atlas.errors import ConfigError, RunError
from atlas.evaluation.evaluate_agent import EvaluateConfig, evaluate_agent
from atlas.evaluation.evaluate_skills import SkillsConfig, evaluate_skills
from atlas.evaluation.evaluate_suite import EvaluateSuiteConfig, evaluate_suite, leave_out
from atlas.evaluation.probe_steps import ProbeConfig, probe_steps
from atlas.experiments.config import BASE_ARM, OF, TRAIN, ExperimentConfig
from atlas.experiments.design import claims_of, describe_design
from atlas.experiments.plan_episodes import plan_episodes
from atlas.experiments.plan_selections import SelectionPlan
from atlas.experiments.registration import TRAININGS, as_registered, train_registered
from atlas.experiments.remake_report import remake_report
from atlas.experiments.run_stages import Stage
from atlas.experiments.show_episodes import EpisodesConfig, show_episodes
from atlas.kinds import config_class
from atlas.models.local.load import locate_model
from atlas.models.players import PLAYER
from atlas.reporting.claims.registrations import Design
from atlas.reporting.config import ArmConfig, ArmRun, ReportConfig
from atlas.reporting.selections.compare_selections import CompareConfig, compare_selections
from atlas.reporting.shown_episodes import EPISODES_PAGE
from atlas.selection.select_steps import SelectConfig, select_steps
from atlas.store.run_folders import Manifest, changed_settings, shorten
from atlas.terminal.progress import say
from atlas.training.train_agent import TrainConfig
from atlas.trajectories.collect_experts import CollectConfig, collect_experts
from atlas.trajectories.collect_suite import CollectSuiteConfig, collect_suite

# These are made again if their settings change, or are stored with other paths.
STORED_OTHERWISE = (ReportConfig, EpisodesConfig, CompareConfig)


def plan_experiment(config: ExperimentConfig, out: StrPath, where: str) -> ExperimentPlan:
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
    plan.add_comparison(trajectories, selections)
    plan.add_probes(trajectories, selections)
    arms = [plan.add_base(), *plan.add_trainings(trajectories, selections), *plan.add_models()]
    report = ReportConfig(
        title=config.title,
        arms=tuple(arms),
        reference=config.reference,
        base=BASE_ARM,
        design=dict(plan.design),
        **dict(claims_of(config)),
    )
    report = report.model_copy(
        update={"episodes": plan.add_episodes(report, trajectories, selections)}
    )
    folders = [stage.out for stage in plan.stages]
    plan.add("report", out / "report", remake_report, report, needs=folders)
    # A missing base model is reported now, before other stages spend an hour.
    locate_model(str(config.train["model"]))
    return ExperimentPlan(tuple(plan.stages), plan.design, out)


@dataclass(frozen=True, slots=True)
class ExperimentPlan:
    """The stages of an experiment in the folder `out`, and the design that is registered."""

    stages: tuple[Stage, ...]
    design: Design
    out: Path

    @property
    def episodes_page(self) -> Path | None:
        """The page of episodes, if one is planned."""
        pages = [one.out for one in self.stages if isinstance(one.config, EpisodesConfig)]
        return pages[0] / EPISODES_PAGE if pages else None

    def require_installed(self) -> None:
        """Raise DependencyError if a stage that is left needs what is not installed."""
        for stage in self.stages:
            if not stage.is_finished:
                require_installed(stage.config)

    def changed(self) -> list[str]:
        """The stages whose run folder was made with other settings, which they would refuse."""
        return [
            f"{stage.out} ({stage.title}): {shorten(changes)}"
            for stage in self.stages
            if not isinstance(stage.config, STORED_OTHERWISE)
            and (changes := changed_settings(stage.out, stage.config))
        ]

    def require_unchanged(self) -> None:
        """Raise RunError if a run folder was made with other settings."""
        if changed := self.changed():
            raise RunError(
                "these were made with other settings, and nothing was started:\n"
                + "".join(f"  {one}\n" for one in changed)
                + "Choose another --out, or remove these folders to make them again."
            )

    def missing(self) -> list[str]:
        """What is not installed here, each with the first stage that needs it."""
        found: dict[str, str] = {}
        for stage in self.stages:
            if not stage.is_finished:
                for error in not_installed(stage.config):
                    found.setdefault(str(error), stage.title)
        return [f"{title}: {error}" for error, title in found.items()]

    @property
    def trainings(self) -> list[Path]:
        """The run folders of all trainings."""
        return [stage.out for stage in self.stages if isinstance(stage.config, TrainConfig)]


class _Plan:
    """The stages planned so far."""

    def __init__(self, config: ExperimentConfig, out: Path, where: str) -> None:
        self._config, self._out, self._where = config, out, where
        self.stages: list[Stage] = []
        # The entries of the suite that cannot be played here; None: not looked for yet.
        self._absent: dict[str, str] | None = None
        self._collected: Config | None = None
        self.design: Design = {}

    def add(
        self,
        title: str,
        folder: Path,
        make: Callable[..., Manifest],
        *arguments: Any,
        needs: Iterable[Path] = (),
    ) -> Path:
        """Add a stage to the plan, and return its run folder."""
        if any(folder == stage.out for stage in self.stages):
            raise ConfigError(
                f"{self._where}: two stages would write {folder}: '{title}' and another one. "
                "Rename the arm with 'seed' in its name"
            )
        self.stages.append(Stage(title, folder, make, arguments, tuple(needs)))
        return folder

    def add_trajectories(self) -> Path:
        if self._config.trajectories is not None:
            return self._config.trajectories
        folder, title = self._out / "trajectories", "collect expert episodes"
        settings, where = self._config.collect, f"{self._where}: collect"
        if "suite" in settings:
            several = self._collected = check_config(CollectSuiteConfig, settings, where)
            return self.add(title, folder, collect_suite, several)
        collect = self._collected = check_config(CollectConfig, settings, where)
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
        skills = self._add_skills(self._config.train["model"], BASE_ARM)
        run = ArmRun(evaluations=evaluations, skills=skills)
        return ArmConfig(name=BASE_ARM, label=label, runs=(run,))

    def add_trainings(self, trajectories: Path, selections: SelectionPlan) -> list[ArmConfig]:
        """Plan the trainings: the first seed of every arm, then the second, and so on.

        The arms of the primary comparison and the reference come first, so that a long experiment
        says early what it is made for.
        """
        config = self._config
        describe = partial(
            describe_design,
            config,
            self._collected,
            {arm: selections.settings(arm) for arm in config.arms},
            {arm: self._training(arm, config.seeds_of(arm)[0]) for arm in config.arms},
            self._evaluations(config.train["model"]),
        )
        self.design = as_registered(self._out, describe(), describe(with_defaults=False))
        runs: dict[str, list[ArmRun]] = {arm: [] for arm in config.arms}
        for arm, seed in config.order_of_trainings():
            selection = selections.folder(arm, seed)
            runs[arm].append(self._add_training(arm, seed, trajectories, selection))
        label = config.labels.get
        return [
            ArmConfig(name=arm, label=label(arm), runs=tuple(done)) for arm, done in runs.items()
        ]

    def _add_training(self, arm: str, seed: int, trajectories: Path, selection: Path) -> ArmRun:
        name, needs = self._config.run_name(arm, seed), (trajectories, selection)
        folder = self._out / TRAININGS / name
        make = partial(
            train_registered,
            experiment=self._out,
            design=self.design,
            shared_choices=self._out / TRAININGS,
        )
        train = self._training(arm, seed)
        self.add(f"train: {name}", folder, make, train, *needs, needs=needs)
        evaluations = self._add_evaluations(folder, name)
        return ArmRun(
            training=folder, evaluations=evaluations, skills=self._add_skills(folder, name)
        )

    def _training(self, arm: str, seed: int) -> TrainConfig:
        own = self._config.arms[arm].get(TRAIN, {})
        where = f"{self._where}: arms.{arm}.train" if own else f"{self._where}: train"
        return check_config(TrainConfig, {**self._config.train, **own, "seed": seed}, where)

    def add_models(self) -> list[ArmConfig]:
        """The models that are evaluated as they are."""
        arms = []
        for name, arm in self._config.models.items():
            player = PLAYER.written(self._config.evaluate.get("player", "local")) | arm.player
            evaluations = self._add_evaluations(arm.model, name, {"player": player})
            label, run = self._config.labels.get(name), ArmRun(evaluations=evaluations)
            arms.append(ArmConfig(name=name, label=label, runs=(run,)))
        return arms

    def add_comparison(self, trajectories: Path, selections: SelectionPlan) -> None:
        """Plan the comparison of the arms' selections, each once, for the first seed of each."""
        if (section := self._config.compare_selections) is None:
            return
        where = f"{self._where}: compare_selections"
        names: dict[Path, str] = {}
        for arm in section.get(OF, self._config.arms):
            names.setdefault(selections.folder(arm, self._config.seeds_of(arm)[0]), arm)
        settings = {key: value for key, value in section.items() if key != OF}
        settings |= {
            "selections": [*map(str, names)],
            "names": [*names.values()],
            "trajectories": str(trajectories),
        }
        compare = check_config(CompareConfig, settings, where)
        folder, needs = self._out / "agreement", (trajectories, *names)
        self.add("compare the selections", folder, compare_selections, compare, needs=needs)

    def add_episodes(
        self, report: ReportConfig, trajectories: Path, selections: SelectionPlan
    ) -> Path | None:
        """Plan the page of episodes of the arms that the report is about."""
        episodes = plan_episodes(self._config, report, trajectories, selections)
        if episodes is None:
            return None
        needs = [path for _, path, _ in episodes.named_runs()]
        return self.add("episodes", self._out / "episodes", show_episodes, episodes, needs=needs)

    def add_probes(self, trajectories: Path, selections: SelectionPlan) -> None:
        """Plan the probe of the base model at the steps that arms selected."""
        if (section := self._config.probe) is None:
            return
        settings = {key: value for key, value in section.items() if key != OF}
        settings = {**self._base_player(), **settings, "model": self._config.train["model"]}
        probe = check_config(ProbeConfig, settings, f"{self._where}: probe")
        for arm in section[OF]:
            selection = selections.folder(arm, self._config.seeds_of(arm)[0])
            folder, needs = self._out / "probe" / arm, (trajectories, selection)
            self.add(f"probe: {arm}", folder, probe_steps, probe, *needs, needs=needs)

    def _add_skills(self, model: Path | str, name: str) -> Path | None:
        """The base skills of a model, those of a training beside those of the base model."""
        if self._config.skills is None:
            return None
        base, folder = self._out / "skills" / BASE_ARM, self._out / "skills" / name
        settings = {**self._config.skills, "model": str(model)}
        needs = [Path(model)]
        if folder != base:
            settings["baseline"] = str(base)
            needs.append(base)
        skills = check_config(SkillsConfig, settings, f"{self._where}: skills")
        return self.add(f"skills: {name}", folder, evaluate_skills, skills, needs=needs)

    def _base_player(self) -> dict[str, Any]:
        """The player of the base model, with the template that the arms train with."""
        template = self._config.train.get("chat_template")
        player = PLAYER.written(self._config.evaluate.get("player", "local"))
        settings = config_class(PLAYER.find(player.get("name", "local"))).model_fields
        if template is None or "chat_template" not in settings:
            return {}
        return {"player": {"chat_template": template, **player}}

    def _add_evaluations(
        self, model: Path | str, name: str, changes: Mapping[str, Any] | None = None
    ) -> dict[str, Path]:
        """The run folder for each split. A suite is one stage, which makes a run for each entry."""
        runs: dict[str, Path] = {}
        for split, evaluate in self._evaluations(model, changes).items():
            if isinstance(evaluate, EvaluateSuiteConfig):
                folder, title = self._out / "evaluations" / name, f"evaluate: {name} on the suite"
                self.add(title, folder, evaluate_suite, evaluate, needs=(Path(model),))
                runs |= {key: folder / key for key in evaluate.suite.entries}
            else:
                folder = self._out / "evaluations" / name / split
                title = f"evaluate: {name} on {split}"
                self.add(title, folder, evaluate_agent, evaluate, needs=(Path(model),))
                runs[split] = folder
        return runs

    def _evaluations(
        self, model: Path | str, changes: Mapping[str, Any] | None = None
    ) -> dict[str, EvaluateConfig | EvaluateSuiteConfig]:
        """The settings for each split, or for the suite."""
        config, where = self._config, f"{self._where}: evaluate"
        given = {**config.evaluate, **(changes or {}), "model": str(model)}
        if config.suite is None:
            return {
                split: check_config(EvaluateConfig, {**given, "split": split}, where)
                for split in config.splits
            }
        evaluate = check_config(EvaluateSuiteConfig, {**given, "suite": config.suite}, where)
        if self._absent is None:
            self._absent = leave_out(evaluate)
            for key, reason in self._absent.items():
                say(f"the entry '{key}' of the suite is left out for all arms: {reason}")
        entries = config.suite.entries
        kept = {key: entry for key, entry in entries.items() if key not in self._absent}
        primary = config.primary
        if primary is not None and primary.ring not in {entry.ring for entry in kept.values()}:
            raise ConfigError(
                f"{self._where}: primary.ring: no entry of the ring '{primary.ring}' can be played "
                "here. Install what is missing, or choose another ring"
            )
        reduced = config.suite.model_copy(update={"entries": kept, "without_server": ()})
        return {"suite": evaluate.model_copy(update={"suite": reduced})}
