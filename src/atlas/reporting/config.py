"""What a report compares: arms, each with its trainings, or with results made elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from atlas.config import Config, StrPath
from atlas.lookup import nearest
from atlas.reporting.claims.settings import ClaimSettings
from atlas.reporting.results.settings import ResultSettings
from atlas.reporting.shown_episodes import EPISODES_COMMAND
from atlas.store.run_folders import relative_path

SKILLS_COMMAND = "evaluate --skills"


class ArmRun(Config):
    """One training of an arm (one seed) and its evaluations.

    The untuned base model has no training.
    """

    training: Path | None = Field(
        default=None, description="run folder of train; none for the untuned model"
    )
    evaluations: dict[str, Path | tuple[Path, ...]] = Field(
        min_length=1,
        description="the run folder of evaluate for each split, as split: folder; or a list of "
        "folders, if the same model played the tasks several times",
    )
    skills: Path | None = Field(
        default=None,
        description="run folder of `atlas evaluate --skills`: the base skills of the model",
    )

    def folders(self, split: str) -> tuple[Path, ...]:
        """The evaluations on a split, one per repetition."""
        given = self.evaluations[split]
        return given if isinstance(given, tuple) else (given,)

    @model_validator(mode="after")
    def _has_folders(self) -> ArmRun:
        for split in self.evaluations:
            if not (folders := self.folders(split)):
                raise ValueError(f"the list of folders of '{split}' is empty, expected one or more")
            if len(set(folders)) < len(folders):
                raise ValueError(
                    f"'{split}' lists the same folder twice, expected one for each repetition"
                )
        return self


class ArmConfig(Config):
    """One arm: a name, a label for the report, and its runs, one per training seed.

    An arm of results made elsewhere has `results` in place of `runs`.
    """

    name: str = Field(min_length=1, description="the name of the arm in recipes")
    label: str | None = Field(
        default=None, description="the name of the arm in the report; if none, the same as `name`"
    )
    runs: tuple[ArmRun, ...] = Field(
        default=(),
        description="one entry per training; a model that played several times is one entry",
    )
    results: tuple[str, ...] = Field(
        default=(),
        description="files, folders or patterns of results made elsewhere, in place of `runs`",
    )

    @model_validator(mode="after")
    def _has_runs_or_results(self) -> ArmConfig:
        if bool(self.runs) == bool(self.results):
            raise ValueError(
                f"the arm '{self.name}' has {'both' if self.runs else 'neither'} of 'runs' and "
                "'results', expected one of them"
            )
        return self


class ReportConfig(ClaimSettings, ResultSettings):
    """Which arms a report compares, what it may claim, and how its intervals are computed."""

    title: str | None = Field(
        default=None,
        description="title of the page; if none, the arms of the main comparison",
    )
    arms: tuple[ArmConfig, ...] = Field(
        min_length=1, description="the arms, in the order in which the report shows them"
    )
    reference: str = Field(
        default="all", description="the arm that all other arms are compared with"
    )
    base: str | None = Field(default=None, description="the arm of the untuned model")
    focus: str | None = Field(
        default=None,
        description="the arm that the headline is about; if none, the first arm that is "
        "neither reference nor base",
    )
    design: dict[str, Any] | None = Field(
        default=None,
        description="the design of the experiment, as `atlas run` registers it; the report says "
        "whether its trainings were started under this design, and whether it follows it",
    )
    design_changes: tuple[str, ...] = Field(
        default=(),
        description="what changed in the design since trainings were started, as `atlas run` "
        "finds it; the report says so",
    )
    episodes: Path | None = Field(
        default=None,
        description="run folder of the page of episodes, as `atlas run` writes it beside the "
        "report; the report links to it",
    )
    seed: int = Field(default=0, description="seed of the bootstrap")
    resamples: int = Field(
        default=10_000, ge=100, description="number of resamples of each bootstrap"
    )
    confidence: float = Field(
        default=0.95, gt=0.5, lt=1, description="confidence level of all intervals"
    )

    @model_validator(mode="after")
    def _arms_are_known(self) -> ReportConfig:
        names = [arm.name for arm in self.arms]
        if repeated := [name for name, count in Counter(names).items() if count > 1]:
            raise ValueError(
                f"two arms are named '{repeated[0]}', expected a different name for each"
            )
        if len({bool(arm.results) for arm in self.arms}) > 1:
            raise ValueError(
                "some arms have 'runs' and others 'results', expected one kind: results made "
                "elsewhere are compared with each other"
            )
        if len({arm.label or arm.name for arm in self.arms}) < len(names):
            raise ValueError("two arms have the same label, expected a different one for each")
        roles = {"reference": self.reference, "base": self.base, "focus": self.focus}
        given = {role: name for role, name in roles.items() if name is not None}
        for role, name in given.items():
            if name not in names:
                raise ValueError(f"the {role} '{name}' is not an arm. {nearest(name, names)}")
        if len(set(given.values())) < len(given):
            raise ValueError("reference, base and focus must be different arms")
        return self

    @model_validator(mode="after")
    def _primary_is_known(self) -> ReportConfig:
        if self.primary is None:
            return self
        names = [arm.name for arm in self.arms]
        for name in (self.primary.arm, self.primary.against):
            if name not in names:
                raise ValueError(f"the primary arm '{name}' is not an arm. {nearest(name, names)}")
        return self

    @property
    def trainings(self) -> Literal["recorded", "stated", "unknown"]:
        """How it is known which results are of different trainings."""
        if not self.arms[0].results:
            return "recorded"
        return "stated" if self.results_are == "trainings" else "unknown"

    @property
    def focus_arm(self) -> str | None:
        """The arm of the headline; None if there are only the reference and the base."""
        return self.focus or next(
            (arm.name for arm in self.arms if arm.name not in (self.reference, self.base)), None
        )

    @property
    def main_arms(self) -> tuple[str, str] | None:
        """The arm that the report is about, and the one it is compared with."""
        if self.primary is not None:
            return self.primary.arm, self.primary.against
        if self.focus_arm is not None:
            return self.focus_arm, self.reference
        return None if self.base is None else (self.reference, self.base)

    def named_runs(self) -> Iterator[tuple[str, Path, str]]:
        """Every run folder: its name in the report, its path, and the command that wrote it."""
        for arm in self.arms:
            for number, run in enumerate(arm.runs, start=1):
                if run.training is not None:
                    yield f"{arm.name}/{number}/train", run.training, "train"
                for split in run.evaluations:
                    for name, path in self.named_folders(arm, number, split):
                        yield name, path, "evaluate"
                if run.skills is not None:
                    yield f"{arm.name}/{number}/skills", run.skills, SKILLS_COMMAND
        if self.episodes is not None:
            yield "episodes", self.episodes, EPISODES_COMMAND

    def named_results(self) -> Iterator[tuple[str, str]]:
        """Every given path of results made elsewhere, with its name in the report."""
        for arm in self.arms:
            for number, given in enumerate(arm.results, start=1):
                yield f"{arm.name}/{number}", given

    def named_folders(self, arm: ArmConfig, number: int, split: str) -> Iterator[tuple[str, Path]]:
        """The evaluations of one run on a split: their names in the report and their paths."""
        folders = arm.runs[number - 1].folders(split)
        name = f"{arm.name}/{number}/evaluate/{split}"
        for place, path in enumerate(folders, start=1):
            yield (name if len(folders) == 1 else f"{name}/{place}"), path

    def relative_to(self, folder: Path) -> ReportConfig:
        """The same config with paths relative to `folder`, as a run folder stores it."""
        return self._with_paths(lambda path: relative_path(path, folder))

    def moved_from(self, folder: Path) -> ReportConfig:
        """The same config with paths from the working directory, if they are those of `folder`."""
        return self._with_paths(lambda path: folder / path)

    def _with_paths(self, change: Callable[[Path], StrPath]) -> ReportConfig:
        values = self.model_dump()
        if self.episodes is not None:
            values["episodes"] = change(self.episodes)
        for arm in values["arms"]:
            arm["results"] = tuple(str(change(Path(one))) for one in arm["results"])
        for run in (run for arm in values["arms"] for run in arm["runs"]):
            for name in ("training", "skills"):
                if run[name] is not None:
                    run[name] = change(run[name])
            for split, given in run["evaluations"].items():
                run["evaluations"][split] = (
                    tuple(change(path) for path in given)
                    if isinstance(given, tuple)
                    else change(given)
                )
        return ReportConfig(**values)

    def needed_extras(self) -> tuple[str, ...]:
        return ("report",)
