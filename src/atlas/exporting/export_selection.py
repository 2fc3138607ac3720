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

from pydantic import Field, ValidationError

from atlas.config import Config
from atlas.errors import ConfigError, DataError, ModelError, RunError
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
from atlas.store.readers import TRAJECTORY_FILES, read_selected
from atlas.store.record_files import file_digest, write_records, write_text
from atlas.store.run_folders import Manifest, run_input
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
    if earlier := _earlier(out, wanted):
        return earlier
    selected = read_selected(selection, trajectories)
    out.parent.mkdir(parents=True, exist_ok=True)
    export = _Export(dialect)
    num_rows = write_rows(out, export.rows(selected), dialect)
    if not num_rows:
        out.unlink()
        first = export.problems[0]
        raise DataError(f"nothing could be exported to {name}: {first.where}: {first.reason}.")
    problems = out.with_name(out.name + PROBLEMS_ENDING)
    problems.unlink(missing_ok=True)
    if export.problems:
        write_records(problems, export.problems)
    outputs, summary = {out.name: file_digest(out)}, export.summary(num_rows)
    done = {"status": "finished", "outputs": outputs, "summary": summary}
    manifest = wanted.model_copy(update=done)
    write_text(_manifest_path(out), manifest.model_dump_json(indent=2) + "\n")
    return manifest


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
        self._outcomes: Counter[str] = Counter()
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
            self._outcomes[trajectory.outcome.status] += num_critical
            yield from rows

    def summary(self, num_rows: int) -> dict[str, Any]:
        return {
            "trajectories": self._counts["exported"] + len(self.problems),
            "exported": self._counts["exported"],
            "rows": num_rows,
            "steps": self._counts["steps"],
            "critical_steps": self._counts["critical"],
            "problems": len(self.problems),
            "selected_by_outcome": dict(sorted(self._outcomes.items())),
            "losses": dict(self._losses.most_common()),
        }


def _earlier(out: Path, wanted: Manifest) -> Manifest | None:
    """The manifest of an earlier, equal export; None if nothing was written yet."""
    if not out.exists():
        return None
    advice = "Choose another --out, or remove it first."
    if out.is_dir():
        raise RunError(f"{out} is a folder, expected a file such as {out / 'train.jsonl'}.")
    manifest = _manifest_path(out)
    try:
        earlier = Manifest.model_validate_json(manifest.read_bytes())
    except (OSError, ValidationError):
        raise RunError(
            f"{out} was not written by 'atlas export' (no readable {manifest.name}). {advice}"
        ) from None
    if earlier.config != wanted.config or _digests(earlier) != _digests(wanted):
        raise RunError(f"{out} was exported with other settings or from other runs. {advice}")
    if earlier.outputs.get(out.name) != file_digest(out):
        raise RunError(f"{out} was changed after 'atlas export' wrote it. {advice}")
    return earlier


def _digests(manifest: Manifest) -> dict[str, str | None]:
    return {name: given.digest for name, given in manifest.inputs.items()}


def _manifest_path(out: Path) -> Path:
    return out.with_name(f"{out.name}.manifest.json")
