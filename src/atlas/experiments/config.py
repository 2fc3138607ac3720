"""The recipe of an experiment: which arms are compared, and on what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from atlas.config import SPEED_ONLY, Config
from atlas.environments.suite import Suite, read_suite
from atlas.lookup import nearest
from atlas.reporting.claims.settings import ClaimSettings
from atlas.store.paths import name_fault

# The arm name of the untuned model.
BASE_ARM = "base"
# The section of an arm with training settings that differ from the other arms.
TRAIN = "train"
# The key of an arm with its training seeds, where they differ from those of the recipe.
SEEDS = "seeds"
# Settings that the experiment sets itself: section, key, and the field they come from.
SET_HERE = (
    ("train", "seed", "seeds"),
    ("evaluate", "split", "splits"),
    ("evaluate", "model", "train.model"),
    ("skills", "model", "train.model"),
    ("skills", "baseline", "train.model"),
    ("probe", "model", "train.model"),
    ("compare_selections", "selections", "compare_selections.of"),
    ("compare_selections", "names", "compare_selections.of"),
    ("compare_selections", "trajectories", "trajectories"),
)
# Of the sections `probe` and `compare_selections`: the arms whose selections they are about.
OF = "of"


class ModelArm(Config):
    """A model that is not trained here, such as an agent of another project."""

    model: str = Field(description="a hub id, a model folder, or a run folder of train")
    player: dict[str, Any] = Field(
        default_factory=dict,
        description="settings of the player that differ, such as its chat template",
    )


class Speed(Config):
    """What a machine does, for the forecast of `--dry-run` only."""

    train_tokens: float | None = Field(
        default=None, gt=0, description="tokens per second and device in training"
    )
    answer_tokens: float | None = Field(
        default=None, gt=0, description="tokens per second and device that the player writes"
    )
    answer_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="share of the most possible tokens that is expected to be written, because "
        "episodes and answers end earlier",
    )
    devices: int = Field(default=1, ge=1, description="number of devices (GPUs)")


class ExperimentConfig(ClaimSettings):
    """A comparison of arms: the same trajectories, base model and optimizer steps for each arm."""

    title: str = Field(
        default="Critical steps against all steps", description="the title of the report"
    )
    collect: dict[str, Any] = Field(
        default_factory=dict,
        description="settings of `atlas collect`; leave empty if `trajectories` is given",
    )
    trajectories: Path | None = Field(
        default=None, description="a run folder of collect or import to use instead of collecting"
    )
    arms: dict[str, dict[str, Any]] = Field(
        min_length=1,
        description="settings of `atlas select` for each arm, by the arm's name. The "
        "optional section `train` holds settings of `atlas train` for this arm "
        "only, and the optional list `seeds` its training seeds. The selector `critical` "
        "means `oracle` if the section `oracle` is given, otherwise `annotated`",
    )
    models: dict[str, ModelArm] = Field(
        default_factory=dict,
        description="models that are evaluated as they are, as further arms: name: {model: …}",
    )
    labels: dict[str, str] = Field(
        default_factory=dict, description="the name of each arm in the report, as arm: name"
    )
    oracle: dict[str, Any] | None = Field(
        default=None, description="settings of the selector `oracle` (model, endpoint, …)"
    )
    train: dict[str, Any] = Field(description="settings of `atlas train`, including the base model")
    evaluate: dict[str, Any] = Field(
        default_factory=dict, description="settings of `atlas evaluate`"
    )
    skills: dict[str, Any] | None = Field(
        default=None,
        description="settings of `atlas evaluate --skills` (may be empty): the base model and "
        "every training answer standard questions; if none, they are not asked",
    )
    probe: dict[str, Any] | None = Field(
        default=None,
        description="settings of `atlas probe`, and `of`, a list of arms: the base model plays on "
        "before and after their selected steps; if none, no step is probed",
    )
    compare_selections: dict[str, Any] | None = Field(
        default=None,
        description="settings of `atlas compare-selections` (may be empty), and `of`, a list of "
        "arms; if it is left out, all arms; if none, selections are not compared",
    )
    splits: tuple[str, ...] = Field(
        default=("held_in_test", "held_out_test"),
        min_length=1,
        description="the splits on which every arm is evaluated",
    )
    suite: Annotated[Suite | None, BeforeValidator(read_suite)] = Field(
        default=None,
        description="a suite on which every arm is evaluated, instead of splits: a name, a path, "
        "or a mapping of entries; `evaluate` then holds settings of `atlas evaluate --suite`",
    )
    seeds: tuple[Annotated[int, Field(ge=0, strict=True)], ...] = Field(
        default=(0,),
        min_length=1,
        description="training seeds; each arm is trained once per seed, and a selection that draws "
        "is drawn for each of them. An arm may have its own list",
    )
    reference: str = Field(default="all", description="the arm that the others are compared with")
    processes: int = Field(
        default=1,
        ge=1,
        description="number of stages that run at a time, each with its share of the CPU "
        "cores; use 1 if all stages share one GPU",
    )

    speed: Annotated[Speed, SPEED_ONLY] = Field(
        default=Speed(), description="throughput of the machine, for the forecast of --dry-run"
    )

    def seeds_of(self, arm: str) -> tuple[int, ...]:
        """The training seeds of an arm."""
        return tuple(self.arms[arm].get(SEEDS, self.seeds))

    def order_of_trainings(self) -> list[tuple[str, int]]:
        """Each arm with each of its seeds: seed by seed, those of the primary comparison first."""
        primary = self.primary
        early = {self.reference, primary.arm, primary.against} if primary else set[str]()
        found = [
            (bool(early) and arm not in early, number, place, arm, seed)
            for place, arm in enumerate(self.arms)
            for number, seed in enumerate(self.seeds_of(arm))
        ]
        return [(arm, seed) for *_, arm, seed in sorted(found)]

    def selection_of(self, arm: str) -> dict[str, Any]:
        """What an arm says to `atlas select`."""
        return {key: value for key, value in self.arms[arm].items() if key not in (TRAIN, SEEDS)}

    def run_name(self, arm: str, seed: int) -> str:
        """The folder of an arm's run with one seed; more seeds do not change it."""
        return f"{arm}-seed{seed}" if seed else arm

    @model_validator(mode="after")
    def _names_are_arms(self) -> ExperimentConfig:
        if self.reference not in self.arms:
            advice = nearest(self.reference, self.arms)
            raise ValueError(f"reference '{self.reference}' is not an arm. {advice}")
        if BASE_ARM in self.arms:
            raise ValueError(
                f"an arm cannot be called '{BASE_ARM}', the name of the untuned model. Rename it"
            )
        if twice := sorted(self.models.keys() & {*self.arms, BASE_ARM}):
            raise ValueError(f"models: '{twice[0]}' is the name of another arm. Rename it")
        named = (("arm", self.arms), ("arm", self.models), ("split", self.splits))
        for what, names in named:
            for name in names:
                if fault := name_fault(name):
                    raise ValueError(
                        f"the {what} '{name}' cannot be the name of a folder: {fault}, or rename it"
                    )
        if unknown := sorted(self.labels.keys() - {*self.arms, *self.models, BASE_ARM}):
            advice = nearest(unknown[0], self.arms)
            raise ValueError(f"labels: '{unknown[0]}' is not an arm. {advice}")
        return self

    @model_validator(mode="after")
    def _primary_is_planned(self) -> ExperimentConfig:
        if self.primary is None:
            return self
        arms = [*self.arms, *self.models, BASE_ARM]
        for key in ("arm", "against"):
            if (name := getattr(self.primary, key)) not in arms:
                raise ValueError(f"primary.{key}: '{name}' is not an arm. {nearest(name, arms)}")
        # The entries of a suite are compared by their rings.
        is_suite = self.suite is not None
        key, scopes = "split", [*self.splits]
        if self.suite is not None:
            key, scopes = "ring", [entry.ring for entry in self.suite.entries.values()]
        if (name := getattr(self.primary, key)) is None:
            what = "a suite is compared by its rings" if is_suite else "the arms play splits"
            raise ValueError(f"primary: {what}. Give 'primary.{key}', one of: {_named(scopes)}")
        if name not in scopes:
            raise ValueError(f"primary.{key}: '{name}' is not among: {_named(scopes)}")
        return self

    @model_validator(mode="after")
    def _sections_name_arms(self) -> ExperimentConfig:
        for name, default in (("probe", None), ("compare_selections", [*self.arms])):
            if (section := getattr(self, name)) is None:
                continue
            of = section.get(OF, default)
            if not isinstance(of, list | tuple) or not of:
                raise ValueError(f"{name}.of is {of!r}, expected a list of arms")
            if unknown := [arm for arm in of if arm not in self.arms]:
                advice = nearest(str(unknown[0]), self.arms)
                raise ValueError(f"{name}.of: '{unknown[0]}' is not an arm. {advice}")
        return self

    @model_validator(mode="after")
    def _sections_do_not_contradict(self) -> ExperimentConfig:
        for name in ("seeds", "splits"):
            if len(set(values := getattr(self, name))) < len(values):
                given = ", ".join(map(str, values))
                raise ValueError(f"{name} holds one of {given} twice, expected each once")
        for section, key, setter in SET_HERE:
            if key in (getattr(self, section) or {}):
                raise ValueError(f"'{section}.{key}' is set by '{setter}'. Leave it out")
        if self.suite is not None and "splits" in self.model_fields_set:
            raise ValueError("both 'splits' and 'suite' are given, expected one. Leave one out")
        if "suite" in self.evaluate:
            raise ValueError("'evaluate.suite' is set by 'suite'. Move it there")
        if "model" not in self.train:
            raise ValueError(
                "train: 'model' is required. Add 'model: …', the base model of every arm"
            )
        if self.trajectories is not None and self.collect:
            raise ValueError(
                "both 'trajectories' and 'collect' are given, expected one. Leave 'collect' out"
            )
        return self

    @model_validator(mode="after")
    def _arms_share_model_and_seed(self) -> ExperimentConfig:
        for arm, settings in self.arms.items():
            _check_seeds(arm, settings)
            own = settings.get(TRAIN, {})
            if not isinstance(own, dict):
                raise ValueError(
                    f"arms.{arm}.train is {own!r}, expected settings of 'atlas train', such as"
                    " {epochs: 2}"
                )
            if forbidden := own.keys() & {"model", "seed"}:
                where = f"arms.{arm}.train.{min(forbidden)}"
                raise ValueError(f"{where} would differ from the other arms. Leave it out")
        names = [self.run_name(arm, seed) for arm in self.arms for seed in self.seeds_of(arm)]
        taken = {BASE_ARM, *self.models}
        for name in names:
            if names.count(name) > 1 or name in taken:
                raise ValueError(
                    f"two arms have a run called '{name}'. Rename the arm with 'seed' in its name"
                )
        return self


def _named(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _check_seeds(arm: str, settings: Mapping[str, Any]) -> None:
    if "seed" in settings:
        raise ValueError(f"'arms.{arm}.seed' is set by 'seeds'. Leave it out")
    if SEEDS not in settings:
        return
    seeds = settings[SEEDS]
    is_list = isinstance(seeds, list | tuple) and len(seeds) > 0
    if not is_list or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise ValueError(f"arms.{arm}.seeds is {seeds!r}, expected a list such as [0, 1, 2]")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"arms.{arm}.seeds is {seeds!r}, expected each seed once")
