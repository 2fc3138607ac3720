"""Export: `trajectories + selection -> one file of another trainer`, its flags set on the critical steps.

FILE                  the rows
FILE.manifest.json    dialect, inputs with digests, counts, what does not survive
FILE.problems.jsonl   trajectories left out, and why (only if there are any)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from atlas.config import Config
from atlas.errors import ConfigError, DataError, ModelError, RunError
from atlas.exporting.dialects.base import (
    CannotCarryError,
    Dialect,
    DialectSettings,
    Row,
    make_dialect,
)
from atlas.exporting.write_rows import write_rows
from atlas.records import Problem, Selection, Trajectory
from atlas.rendering.renderer import Renderer
from atlas.store.readers import TRAJECTORY_FILES, read_selections, read_trajectories
from atlas.store.record_files import file_digest, write_records, write_text
from atlas.store.run_folders import Manifest, run_input
from atlas.store.versions import installed_versions

MANIFEST_ENDING = ".manifest.json"
PROBLEMS_ENDING = ".problems.jsonl"


class ExportConfig(Config):
    """Which trainer's dialect, and the tokenizer where one is needed."""

    to: str = Field(description="a row of DIALECTS or package.module:Dialect")
    tokenizer: str | None = Field(
        None, description="a hub id, a model folder or a run of train: for trl, and for --check"
    )
    max_tokens: int | None = Field(
        None,
        ge=1,
        description="for trl: longer sequences lose their tail, steps that no longer fit are left out",
    )


def export_selection(
    config: ExportConfig,
    trajectories: Path,
    selection: Path,
    out: Path,
    renderer: Renderer | None = None,
) -> Manifest:
    """Write the trajectories with the selection's flags to the file `out`; what was written already is not written again.

    Args:
        renderer: that of `config.tokenizer`, if one is named.

    Raises:
        ConfigError: the dialect is unknown, or cannot be written to a file with this ending.
        RunError: an input is no finished run of its kind, or `out` holds something else.
        DataError: no trajectory could be written.
    """
    dialect = dialect_of(config, renderer)
    if out.suffix not in dialect.suffixes:
        raise ConfigError(
            f"--out {out} ends in '{out.suffix}', but {config.to} is written to {' or '.join(dialect.suffixes)}. Rename it."
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
    selections = read_selections(selection, trajectories)
    out.parent.mkdir(parents=True, exist_ok=True)
    export = _Export(dialect, selections)
    num_rows = write_rows(out, export.rows(read_trajectories(trajectories)), dialect)
    if not num_rows:
        out.unlink()
        raise DataError(
            f"nothing could be exported to {config.to}. The first: {export.problems[0].where}: {export.problems[0].reason}."
        )
    problems = out.with_name(out.name + PROBLEMS_ENDING)
    problems.unlink(missing_ok=True)
    if export.problems:
        write_records(problems, export.problems)
    manifest = wanted.model_copy(
        update={
            "status": "finished",
            "outputs": {out.name: file_digest(out)},
            "summary": export.summary(num_rows, len(selections)),
        }
    )
    write_text(out.with_name(out.name + MANIFEST_ENDING), manifest.model_dump_json(indent=2) + "\n")
    return manifest


def dialect_of(config: ExportConfig, renderer: Renderer | None) -> Dialect:
    """The dialect that a config names, ready to write and read rows."""
    return make_dialect(config.to, DialectSettings(max_tokens=config.max_tokens), renderer)


def rows_of(dialect: Dialect, trajectory: Trajectory, selection: Selection) -> list[Row] | Problem:
    """All rows of one trajectory, or why it has none."""
    where = f"trajectory {trajectory.id}"
    if not selection.critical_steps:
        return Problem(
            where=where,
            reason=selection.problem or "no critical step, so nothing to train on",
            item=trajectory.id,
        )
    try:
        return list(dialect.rows(trajectory, selection))
    except (
        CannotCarryError,
        ModelError,
    ) as error:  # ModelError: the chat template refuses this one conversation
        return Problem(where=where, reason=str(error), item=trajectory.id)


class _Export:
    """Counts what goes through."""

    def __init__(self, dialect: Dialect, selections: Mapping[str, Selection]) -> None:
        self._dialect = dialect
        self._selections = selections
        self._num_exported = self._num_steps = self._num_critical = 0
        self._losses: Counter[str] = Counter()
        self.problems: list[Problem] = []

    def rows(self, trajectories: Iterator[Trajectory]) -> Iterator[Row]:
        for trajectory in trajectories:
            selection = self._selections[trajectory.id]
            rows = rows_of(self._dialect, trajectory, selection)
            if isinstance(rows, Problem):
                self.problems.append(rows)
                continue
            self._num_exported += 1
            self._num_steps += len(trajectory.steps)
            self._num_critical += len(selection.critical_steps)
            self._losses.update(self._dialect.losses(trajectory))
            yield from rows

    def summary(self, num_rows: int, num_trajectories: int) -> dict[str, Any]:
        return {
            "trajectories": num_trajectories,
            "exported": self._num_exported,
            "rows": num_rows,
            "steps": self._num_steps,
            "critical_steps": self._num_critical,
            "problems": len(self.problems),
            "losses": dict(self._losses.most_common()),
        }


def _earlier(out: Path, wanted: Manifest) -> Manifest | None:
    """The manifest of the same export made before; None where there is nothing yet."""
    if not out.exists():
        return None
    advice = "Choose another --out, or remove it first."
    if out.is_dir():
        raise RunError(
            f"{out} is a folder, expected the path of a file such as {out / 'train.jsonl'}."
        )
    try:
        earlier = Manifest.model_validate_json(
            out.with_name(out.name + MANIFEST_ENDING).read_bytes()
        )
    except (OSError, ValidationError):
        raise RunError(
            f"{out} exists and was not written by 'atlas export' (no readable {out.name}{MANIFEST_ENDING}). {advice}"
        ) from None
    if earlier.config != wanted.config or {k: v.digest for k, v in earlier.inputs.items()} != {
        k: v.digest for k, v in wanted.inputs.items()
    }:
        raise RunError(f"{out} was exported with other settings or from other runs. {advice}")
    if earlier.outputs.get(out.name) != file_digest(out):
        raise RunError(f"{out} was changed after 'atlas export' wrote it. {advice}")
    return earlier
