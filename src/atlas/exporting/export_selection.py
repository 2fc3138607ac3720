"""Export: `trajectories + selection -> one file of another trainer` with flags on critical steps.

FILE                  the rows
FILE.manifest.json    dialect, inputs with digests, counts, what changes in the file
FILE.problems.jsonl   trajectories left out, and why (only if there are any)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from atlas.config import Config
from atlas.errors import AtlasError, ConfigError, DataError, ModelError, RunError
from atlas.exporting.dialects.base import (
    DIALECT,
    CannotCarryError,
    Dialect,
    DialectContext,
    ExportRow,
)
from atlas.exporting.write_rows import write_rows
from atlas.kinds import Choice
from atlas.records import Problem, Selection, Trajectory
from atlas.rendering.renderer import Renderer
from atlas.store.locks import locked_file
from atlas.store.manifests import (
    Manifest,
    check_outputs,
    parse_manifest,
    run_input,
    write_manifest,
)
from atlas.store.paths import check_path
from atlas.store.readers import TRAJECTORY_FILES, read_selected
from atlas.store.record_files import file_digest, remove_temporary, write_records
from atlas.store.versions import installed_versions

PROBLEMS_ENDING = ".problems.jsonl"


class ExportConfig(Config):
    """The trainer's data format, and a tokenizer for dialects and checks that need one."""

    dialect: Annotated[Choice, DIALECT] = Field(
        description="the trainer's data format (--to): a dialect listed below, or your own "
        "as package.module:Dialect"
    )
    tokenizer: str | None = Field(
        default=None,
        description="a hub id, a model folder, or a run folder of train; needed for the "
        "dialect `trl` and for --check",
    )


def export_selection(
    config: ExportConfig,
    trajectories: Path,
    selection: Path,
    out: Path,
    renderer: Renderer | None = None,
) -> Manifest:
    """Write the trajectories to the file `out`, with the selected steps flagged.

    Args:
        renderer: the renderer of `config.tokenizer`, if one is named.

    Raises:
        ConfigError: the dialect is unknown, or is not written to files with this ending.
        RunError: an input is not a finished run of its kind, or `out` holds something else.
        DataError: no trajectory could be written.
    """
    check_path(out, "--out")
    dialect, name = dialect_of(config, renderer), config.dialect.name
    if out.suffix not in dialect.suffixes:
        raise ConfigError(
            f"--out {out} ends in '{out.suffix}', but {name} is written to "
            f"{' or '.join(dialect.suffixes)}. Rename it."
        )
    wanted = Manifest(
        command="export",
        config=config.model_dump(mode="json"),
        inputs={
            "trajectories": run_input(trajectories, out.parent, tuple(TRAJECTORY_FILES)),
            "selection": run_input(selection, out.parent, ("select",)),
        },
        versions={"atlas-tuning": installed_versions().get("atlas-tuning", "unknown")},
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    with locked_file(out):
        if earlier := _earlier(out, wanted):
            return earlier
        return _write(out, wanted, name, dialect, read_selected(selection, trajectories))


def _write(
    out: Path,
    wanted: Manifest,
    name: str,
    dialect: Dialect,
    selected: Iterable[tuple[Trajectory, Selection]],
) -> Manifest:
    """Write the rows, the problems, and the manifest last."""
    remove_temporary(out.parent, out.name)
    # An export that is killed before its end is known by this manifest, and starts over.
    started = write_manifest(_manifest_path(out), wanted)
    export = _Export(dialect)
    try:
        num_rows = write_rows(out, export.rows(selected), dialect)
        if not num_rows:
            first = export.problems[0]
            raise DataError(f"nothing could be exported to {name}: {first.where}: {first.reason}.")
    except AtlasError:
        for file in (out, _manifest_path(out)):
            file.unlink(missing_ok=True)
        raise
    problems = out.with_name(out.name + PROBLEMS_ENDING)
    problems.unlink(missing_ok=True)
    if export.problems:
        write_records(problems, export.problems)
    written = [out, problems] if export.problems else [out]
    manifest = started.with_outputs(out.parent, {file.name: file_digest(file) for file in written})
    summary = {"summary": export.summary(num_rows)}
    return write_manifest(_manifest_path(out), manifest.model_copy(update=summary))


def dialect_of(config: ExportConfig, renderer: Renderer | None) -> Dialect:
    """Make the dialect that a config names."""
    made: Dialect = DIALECT.make(config.dialect, DialectContext(renderer))
    return made


def rows_of(
    dialect: Dialect, trajectory: Trajectory, selection: Selection
) -> list[ExportRow] | Problem:
    """All rows of one trajectory, or the reason why it has none."""
    try:
        if selection.critical_steps:
            return list(dialect.rows(trajectory, selection))
        reason = selection.problem or "no critical step, so nothing to train on"
    except (CannotCarryError, ModelError) as error:
        # ModelError: the chat template refuses this conversation.
        reason = str(error)
    return Problem(where=f"trajectory {trajectory.id}", reason=reason, item=trajectory.id)


class _Export:
    """Makes rows, and counts the trajectories and steps in them."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._counts: Counter[str] = Counter()
        self._losses: Counter[str] = Counter()
        self.problems: list[Problem] = []

    def rows(self, selected: Iterable[tuple[Trajectory, Selection]]) -> Iterator[ExportRow]:
        for trajectory, selection in selected:
            rows = rows_of(self._dialect, trajectory, selection)
            if isinstance(rows, Problem):
                self.problems.append(rows)
                continue
            num_critical = len(selection.critical_steps)
            self._counts.update(exported=1, steps=len(trajectory.steps), critical=num_critical)
            self._losses.update(self._dialect.losses(trajectory))
            yield from rows

    def summary(self, num_rows: int) -> dict[str, Any]:
        return {
            "trajectories": self._counts["exported"] + len(self.problems),
            "exported": self._counts["exported"],
            "rows": num_rows,
            "steps": self._counts["steps"],
            "critical_steps": self._counts["critical"],
            "problems": len(self.problems),
            "losses": dict(self._losses.most_common()),
        }


def _earlier(out: Path, wanted: Manifest) -> Manifest | None:
    """The manifest of an earlier, equal export; None if there is none that was finished."""
    if not out.exists():
        return None
    advice = "Choose another --out, or remove it first."
    if out.is_dir():
        raise RunError(f"{out} is a folder, expected a file such as {out / 'train.jsonl'}.")
    manifest = _manifest_path(out)
    if not manifest.exists():
        raise RunError(f"{out} was not written by 'atlas export' (no {manifest.name}). {advice}")
    earlier = parse_manifest(manifest)
    if earlier.config != wanted.config or _digests(earlier) != _digests(wanted):
        raise RunError(f"{out} was exported with other settings or from other runs. {advice}")
    if not earlier.finished:
        return None
    check_outputs(out.parent, earlier, out)
    return earlier


def _digests(manifest: Manifest) -> dict[str, str | None]:
    return {name: given.digest for name, given in manifest.inputs.items()}


def _manifest_path(out: Path) -> Path:
    return out.with_name(f"{out.name}.manifest.json")
