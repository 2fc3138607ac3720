"""One comparison end to end: collect -> select -> train -> evaluate -> report, one recipe, one folder of runs.

Every stage is the same function that its own command calls; a stage that is done already costs nothing, an interrupted
one goes on. All configs are checked before the first stage starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from atlas.config import Config, check_config
from atlas.errors import ConfigError
from atlas.experiments.run_stages import Stage
from atlas.lookup import nearest
from atlas.store.run_folders import Manifest

CRITICAL = "critical"  # an arm's selector: the oracle where one is named, the source's own labels where none is
BASE_ARM = "base"
TRAIN = "train"  # in an arm's settings: how it is trained, where that differs


class ExperimentConfig(Config):
    """A comparison of arms: same trajectories, same base model, same optimiser steps; another selection, or another way to train."""

    title: str = Field("Critical steps against all steps", description="of the report")
    collect: dict[str, Any] = Field(
        default_factory=dict,
        description="settings of `atlas collect`; none if trajectories are given",
    )
    trajectories: Path | None = Field(
        None, description="a run of collect or import to use instead of collecting"
    )
    arms: dict[str, dict[str, Any]] = Field(
        min_length=1,
        description="name -> settings of `atlas select`; the selector `critical` stands for the oracle if that section is given,"
        " else for the labels that came with the trajectories. Under `train`, settings of `atlas train` for this arm alone",
    )
    labels: dict[str, str] = Field(default_factory=dict, description="how the report calls an arm")
    oracle: dict[str, Any] | None = Field(
        None, description="the oracle's settings (model, base_url, …)"
    )
    train: dict[str, Any] = Field(
        description="settings of `atlas train`, the base model among them"
    )
    evaluate: dict[str, Any] = Field(
        default_factory=dict, description="settings of `atlas evaluate`"
    )
    splits: tuple[str, ...] = Field(
        ("held_in_test", "held_out_test"), min_length=1, description="evaluated for every arm"
    )
    seeds: tuple[int, ...] = Field(
        (0,), min_length=1, description="one training of each arm per seed"
    )
    reference: str = Field("all", description="the arm that the others are compared with")
    processes: int = Field(
        1,
        ge=1,
        description="stages that run side by side, each with its share of the processor cores; 1 where a GPU does the work",
    )


def plan_experiment(config: ExperimentConfig, out: Path, where: str) -> list[Stage]:
    """All stages in order, every config checked.

    Raises:
        ConfigError: a section has an unknown key or a wrong value; the message names recipe, section and key.
    """
    from atlas.evaluation.evaluate_agent import EvaluateConfig, evaluate_agent
    from atlas.models.local.load import locate_model
    from atlas.reporting.build_report import build_report
    from atlas.reporting.config import ArmConfig, ArmRun, ReportConfig
    from atlas.selection.select_steps import SelectConfig, select_steps
    from atlas.training.train_agent import TrainConfig, train_agent
    from atlas.trajectories.collect_experts import CollectConfig, collect_experts

    if config.reference not in config.arms:
        raise ConfigError(
            f"{where}: reference '{config.reference}' is none of the arms: {', '.join(config.arms)}."
        )
    if BASE_ARM in config.arms:
        raise ConfigError(
            f"{where}: an arm cannot be called '{BASE_ARM}': that is the untuned model. Rename it."
        )
    _check_sections(config, where)
    locate_model(
        base_model := str(config.train.get("model", ""))
    )  # a missing base shows now, not after an hour of other stages
    stages: list[Stage] = []

    def add(
        title: str,
        folder: Path,
        make: Callable[..., Manifest],
        *arguments: Any,
        needs: Iterable[Path] = (),
    ) -> Path:
        stages.append(Stage(title, folder, make, arguments, tuple(needs)))
        return folder

    if config.trajectories is None:
        collect = check_config(CollectConfig, config.collect, f"{where}: collect")
        trajectories = add(
            "collect expert episodes", out / "trajectories", collect_experts, collect
        )
    else:
        trajectories = config.trajectories

    selections: dict[str, Path] = {}
    made: dict[str, Path] = {}
    for arm, settings in config.arms.items():
        settings = _selection_settings(config, settings, selections, f"{where}: arms.{arm}")
        select = check_config(SelectConfig, settings, f"{where}: arms.{arm}")
        if (
            (key := select.model_dump_json()) not in made
        ):  # arms that are only trained differently share their selection: an oracle is asked once
            needs = (trajectories, *map(Path, _others(select.selector.settings)))
            made[key] = add(
                f"select: {arm}",
                out / "selections" / arm,
                select_steps,
                select,
                trajectories,
                needs=needs,
            )
        selections[arm] = made[key]

    def evaluations(model: Path | str, folder: Path, name: str) -> dict[str, Path]:
        runs = {}
        for split in config.splits:
            settings = {**config.evaluate, "model": str(model), "split": split}
            evaluate = check_config(EvaluateConfig, settings, f"{where}: evaluate")
            runs[split] = add(
                f"evaluate: {name} on {split}",
                folder / split,
                evaluate_agent,
                evaluate,
                needs=(Path(model),),
            )
        return runs

    trained: dict[str, list[ArmRun]] = {arm: [] for arm in config.arms}
    base_runs = evaluations(base_model, out / "evaluations" / BASE_ARM, BASE_ARM)
    for seed in config.seeds:
        for arm in config.arms:
            own = config.arms[arm].get(TRAIN, {})
            train = check_config(
                TrainConfig,
                {**config.train, **own, "seed": seed},
                f"{where}: arms.{arm}.train" if own else f"{where}: train",
            )
            name = arm if len(config.seeds) == 1 else f"{arm}-seed{seed}"
            needs = (trajectories, selections[arm])
            folder = add(
                f"train: {name}", out / "training" / name, train_agent, train, *needs, needs=needs
            )
            trained[arm].append(
                ArmRun(
                    training=folder,
                    evaluations=evaluations(folder, out / "evaluations" / name, name),
                )
            )
    arms = [
        ArmConfig(
            name=BASE_ARM,
            label=config.labels.get(BASE_ARM, "base model"),
            runs=(ArmRun(evaluations=base_runs),),
        )
    ]
    arms += [
        ArmConfig(name=arm, label=config.labels.get(arm), runs=tuple(runs))
        for arm, runs in trained.items()
    ]
    report = ReportConfig(
        title=config.title, arms=tuple(arms), reference=config.reference, base=BASE_ARM
    )
    add("report", out / "report", build_report, report, needs=[stage.out for stage in stages])
    return stages


def _check_sections(config: ExperimentConfig, where: str) -> None:
    """Settings that would be passed over in silence, or count one run as two."""
    for name, given in (("seeds", config.seeds), ("splits", config.splits)):
        if len(set(given)) < len(given):
            raise ConfigError(
                f"{where}: {name} holds one of {', '.join(map(str, given))} twice, expected each once."
            )
    for section, key, instead in (
        ("train", "seed", "seeds"),
        ("evaluate", "split", "splits"),
        ("evaluate", "model", "train.model"),
    ):
        if key in getattr(config, section):
            raise ConfigError(
                f"{where}: '{section}.{key}' is set by '{instead}' here. Leave it out."
            )
    for arm, settings in config.arms.items():
        if not isinstance(own := settings.get(TRAIN, {}), dict):
            raise ConfigError(
                f"{where}: arms.{arm}.train is {own!r}, expected settings of 'atlas train', such as {{epochs: 2}}."
            )
        if forbidden := own.keys() & {"model", "seed"}:
            raise ConfigError(
                f"{where}: arms.{arm}.train.{min(forbidden)} would differ from the other arms'. Leave it out."
            )
    if "model" not in config.train:
        raise ConfigError(
            f"{where}: train: 'model' is required. Add 'model: …': the base that every arm starts from."
        )
    if config.trajectories is not None and config.collect:
        raise ConfigError(
            f"{where}: both 'trajectories' and 'collect' are given, expected one: nothing is collected where a run is named."
        )
    for name in config.labels:
        if name != BASE_ARM and name not in config.arms:
            raise ConfigError(
                f"{where}: labels: '{name}' is none of the arms. {nearest(name, config.arms)}"
            )


def _selection_settings(
    config: ExperimentConfig,
    settings: Mapping[str, Any],
    selections: Mapping[str, Path],
    where: str,
) -> dict[str, Any]:
    """An arm's selection settings with `critical` and the names of other arms (`of`) resolved."""
    resolved = {key: value for key, value in settings.items() if key != TRAIN}
    given = resolved.get("selector", {})
    selector = {"name": given} if isinstance(given, str) else dict(given)
    if selector.get("name") == CRITICAL:
        selector |= (
            {"name": "annotated"} if config.oracle is None else {"name": "oracle", **config.oracle}
        )
    if (given := selector.get("of")) is not None:
        others = [given] if isinstance(given, str) else list(given)
        for of in map(str, others):
            if of not in selections and not Path(of).exists():
                known = nearest(of, selections) if selections else "It is the first arm."
                raise ConfigError(
                    f"{where}: of: '{of}' is neither an arm before this one nor a run folder of "
                    f"select. {known}"
                )
        paths = [str(selections.get(str(of), of)) for of in others]
        selector["of"] = paths[0] if isinstance(given, str) else paths
    return resolved | ({"selector": selector} if selector else {})


def _others(settings: Any) -> tuple[str, ...]:
    """The selection runs that a selector starts from."""
    of = getattr(settings, "of", ())
    return (of,) if isinstance(of, str) else tuple(of)
