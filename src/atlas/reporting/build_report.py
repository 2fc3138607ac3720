"""Report: `evaluations + trainings -> report`: did training help, and how certain is that?

OUT/report.html   the report as one self-contained file
OUT/report.md     the same, with the plots in OUT/plots/
OUT/report.json   every number, with the run, file and field it was computed from
OUT/tables/       the tables as CSV, one row for each number
OUT/episodes.csv  every episode
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from atlas.config import StrPath
from atlas.presenting.page import render_page
from atlas.presenting.svg import for_file
from atlas.presenting.wording import MAX_LABEL
from atlas.records import Problem
from atlas.reporting.arms import Arm, RunFolder, repetitions_of
from atlas.reporting.claims.compare_arms import compare_arms, measure_seed_noise
from atlas.reporting.claims.compare_units import compare_units
from atlas.reporting.claims.headline import write_findings, write_headline
from atlas.reporting.claims.registrations import check_registration
from atlas.reporting.config import ReportConfig
from atlas.reporting.measures.budgets import (
    describe_method,
    measure_budget,
    measure_silencing,
    profile_selection,
)
from atlas.reporting.measures.failures import ScopeEndings, count_endings
from atlas.reporting.measures.measure import measure_scope, measure_split
from atlas.reporting.measures.measure_skills import measure_skills
from atlas.reporting.notes.write_notes import write_notes
from atlas.reporting.origins import describe_origins
from atlas.reporting.page.arm_styles import page_marks
from atlas.reporting.page.document import write_document
from atlas.reporting.page.write_csv import write_tables
from atlas.reporting.page.write_markdown import PLOTS_FOLDER, write_markdown
from atlas.reporting.read_arms import read_arms
from atlas.reporting.report import (
    REPORT_FILE,
    ArmReport,
    Claims,
    Report,
    Role,
    RunReport,
    Scope,
)
from atlas.reporting.results.find_results import input_of
from atlas.reporting.results.read_results import RESULTS
from atlas.reporting.scopes import find_scopes
from atlas.reporting.shown_episodes import read_episodes_page
from atlas.store.record_files import write_text
from atlas.store.run_folders import Manifest, relative_path, run_input, start_run
from atlas.terminal.visible_text import one_line

MAX_TITLE = 200


def build_report(config: ReportConfig, out: StrPath) -> Manifest:
    """Compare the arms in `config` and write the report to the run folder `out`.

    Raises:
        RunError: a run is missing or unfinished, or the runs cannot be compared (see `read_arms`).
        DataError: a file of a run cannot be read.
        DependencyError: matplotlib is not installed.
    """
    out = Path(out)
    inputs = {name: run_input(path, out, (command,)) for name, path, command in config.named_runs()}
    inputs |= {name: input_of(given, out) for name, given in config.named_results()}
    with start_run(out, "report", config.relative_to(out), inputs) as run:
        if run.finished:
            return run.manifest
        arms = read_arms(config)
        report = compute_report(config, arms, out)
        document = write_document(report)
        (out / PLOTS_FOLDER).mkdir(exist_ok=True)
        for plot in document.plots:
            write_text(out / PLOTS_FOLDER / f"{plot.name}.svg", for_file(plot.svg))
        page = render_page(
            "atlas.reporting.page",
            "report.html.j2",
            title=report.title,
            sections=document.sections,
            marks=page_marks(report),
            highlighted=[index for index, arm in enumerate(report.arms) if arm.role == "focus"],
            document=document,
            report=report,
        )
        write_text(out / "report.html", page)
        write_text(out / "report.md", write_markdown(document))
        write_tables(report, arms, out)
        write_text(out / REPORT_FILE, report.model_dump_json(indent=1) + "\n")
        problems = list(_left_out(arms))
        run.write_problems(problems)
        return run.finish(
            {
                "headline": report.headline,
                "arms": len(report.arms),
                "evaluations": len(list(repetitions_of(arms))),
                "episodes": sum(len(repetition.episodes) for repetition in repetitions_of(arms)),
                "comparisons": len(report.comparisons),
                "cautions": sum(note.level == "caution" for note in report.notes),
                "left_out": len(problems),
            }
        )


def compute_report(config: ReportConfig, arms: tuple[Arm, ...], out: Path) -> Report:
    """Compute all numbers of the report, then its text. Paths of runs are relative to `out`."""
    splits = tuple(arms[0].runs[0].evaluations)
    scopes = find_scopes(arms, config)
    registration = check_registration(arms, config)
    comparisons = compare_arms(arms, scopes, config, registration)
    primary = config.primary
    report = Report(
        title=one_line(config.title or _title(config), MAX_TITLE),
        label_origin=describe_origins(arms),
        reference=config.reference,
        base=config.base,
        focus=config.focus_arm,
        splits=splits,
        scopes=scopes,
        claims=Claims(
            margin=None if config.margin is None else config.margin / 100,
            seed_sd=None if config.seed_sd is None else config.seed_sd / 100,
            average=config.average,
            generalize_over=config.generalize_over,
            primary=primary and (primary.arm, primary.against, primary.scope),
            registration=registration,
            design_changes=config.design_changes,
            num_verdicts=sum(row.verdict != "untested" for row in comparisons),
            trainings=config.trainings,
        ),
        seed=config.seed,
        resamples=config.resamples,
        confidence=config.confidence,
        arms=tuple(_describe_arm(arm, arms, scopes, config) for arm in arms),
        seed_noise=measure_seed_noise(arms, scopes, config),
        comparisons=comparisons,
        units=compare_units(arms, scopes, config),
        runs=_describe_runs(arms, out),
        episodes=read_episodes_page(config.episodes, out) if config.episodes else None,
    )
    words = {
        "headline": write_headline(report),
        "findings": write_findings(report),
        "notes": write_notes(arms, report),
    }
    return report.model_copy(update=words)


def _title(config: ReportConfig) -> str:
    """The arms of the main comparison."""
    labels = {arm.name: one_line(arm.label or arm.name, MAX_LABEL) for arm in config.arms}
    main = config.primary
    names = (main.arm, main.against) if main else (config.focus_arm, config.reference)
    return " against ".join(labels[name] for name in names if name is not None)


def _describe_arm(
    arm: Arm, arms: tuple[Arm, ...], scopes: tuple[Scope, ...], config: ReportConfig
) -> ArmReport:
    splits = arms[0].runs[0].evaluations
    roles: dict[str | None, Role] = {
        config.focus_arm: "focus",
        config.base: "base",
        config.reference: "reference",
    }
    return ArmReport(
        name=arm.name,
        label=arm.label,
        role=roles.get(arm.name, "control"),
        num_runs=len(arm.runs),
        method=describe_method(arm),
        budget=measure_budget(arm),
        silencing=measure_silencing(arm),
        results=tuple(measure_split(arm, split, config) for split in splits),
        scopes=tuple(measure_scope(arm, scope, config) for scope in scopes),
        selection=profile_selection(arm),
        losses=tuple(training.loss for training in arm.trainings if training.loss),
        endings=tuple(_endings(arm, scope) for scope in scopes),
        skills=measure_skills(arm, arms, config.base, config.confidence),
    )


def _endings(arm: Arm, scope: Scope) -> ScopeEndings:
    played = [
        repetition
        for run in arm.runs
        for split in scope.splits
        for repetition in run.evaluations[split].repetitions
    ]
    return count_endings(
        scope.name,
        [(one.folder.name, list(one.episodes.values())) for one in played],
        [one.folder.episodes_source for one in played],
    )


def _describe_runs(arms: Iterable[Arm], out: Path) -> tuple[RunReport, ...]:
    """One row for each folder; a folder that several runs share has several names."""
    by_path: dict[str, list[RunFolder]] = {}
    for folder in _folders(arms):
        by_path.setdefault(relative_path(folder.path, out), []).append(folder)
    return tuple(_describe_run(path, same) for path, same in by_path.items())


def _folders(arms: Iterable[Arm]) -> Iterator[RunFolder]:
    for run in (run for arm in arms for run in arm.runs):
        for evaluation in run.evaluations.values():
            yield from (repetition.folder for repetition in evaluation.repetitions)
        if run.skills is not None:
            yield run.skills.folder
        if run.training is None:
            continue
        yield run.training.folder
        if (data := run.training.data) is not None:
            used = (data.selection_folder, data.complement_of, data.trajectories_folder)
            yield from filter(None, used)


def _describe_run(path: str, folders: list[RunFolder]) -> RunReport:
    manifest = folders[0].manifest
    model, seed = manifest.inputs.get("model"), manifest.config.get("seed")
    return RunReport(
        names=tuple(folder.name for folder in folders),
        command=manifest.command,
        path=path,
        digest=manifest.digest,
        model=None if model is None else Path(model.path).name if model.digest else model.path,
        seed=seed if isinstance(seed, int) else None,
        versions=manifest.versions,
        wall_seconds=None if manifest.command.startswith(RESULTS) else manifest.wall_seconds,
    )


def _left_out(arms: Iterable[Arm]) -> Iterator[Problem]:
    for repetition in repetitions_of(arms):
        for episode in repetition.episodes.values():
            if not episode.is_valid:
                why = f": {episode.reason}" if episode.reason else ""
                reason = f"the episode ended as '{episode.status}', not counted{why}"
                yield Problem(where=repetition.folder.name, reason=reason, item=episode.task_id)
