"""Export: `trajectories + selection -> one file of another trainer` with flags on critical steps.

FILE                  the rows
FILE.manifest.json    dialect, inputs with digests, counts, what changes in the file
FILE.problems.jsonl   trajectories left out, and why (only if there are any)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from atlas.config import BY_CONTENT, Config, StrPath, result_settings
from atlas.errors import AtlasError, ConfigError, DataError, RunError
from atlas.exporting.dialects.base import (
    DIALECT,
    Dialect,
    DialectContext,
)
from atlas.exporting.export_rows import ExportedRows
from atlas.exporting.write_rows import write_rows
from atlas.kinds import Choice
from atlas.models.local.load import load_renderer_named, rendering_inputs
from atlas.records import Selection, Trajectory
from atlas.rendering.chat_templates.stock import CHAT_TEMPLATE_HELP
from atlas.rendering.renderer import Renderer
from atlas.rendering.tool_schemas import TOOLS_HELP, read_tools, with_tools
from atlas.store.locks import locked_file
from atlas.store.manifests import (
    Manifest,
    check_outputs,
    parse_manifest,
    run_input,
    write_manifest,
)
from atlas.store.paths import check_path
from atlas.store.readers import TRAJECTORY_FILES, limits_of, read_selected
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
    chat_template: Annotated[str | None, BY_CONTENT] = Field(
        default=None, description=CHAT_TEMPLATE_HELP
    )
    tools: Annotated[str | None, BY_CONTENT] = Field(default=None, description=TOOLS_HELP)
    allow_empty_steps: bool = Field(
        default=False,
        description="also write and accept critical steps of which the chat template writes only "
        "the end of turn, instead of stopping",
    )

    @model_validator(mode="after")
    def _template_has_a_tokenizer(self) -> ExportConfig:
        if self.chat_template is not None and self.tokenizer is None:
            raise ValueError("chat_template=… changes tokens, so it needs --tokenizer NAME")
        return self

    def needed_extras(self) -> tuple[str, ...]:
        return () if self.tokenizer is None else ("train",)


def export_selection(
    config: ExportConfig,
    trajectories: StrPath,
    selection: StrPath,
    out: StrPath,
    renderer: Renderer | None = None,
) -> Manifest:
    """Write the trajectories to the file `out`, with the selected steps flagged.

    Args:
        renderer: the renderer of `config.tokenizer`; it is loaded if it is not given.

    Raises:
        ConfigError: the dialect is unknown, or is not written to files with this ending.
        RunError: an input is not a finished run of its kind, or `out` holds something else.
        DataError: no trajectory could be written.
    """
    trajectories, selection, out = map(Path, (trajectories, selection, out))
    check_path(out, "--out", longest_ending=PROBLEMS_ENDING)
    renderer = renderer or load_renderer_named(config.tokenizer, config.chat_template)
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
            **rendering_inputs(out.parent, config.chat_template, config.tools),
        },
        versions={"atlas-tuning": installed_versions().get("atlas-tuning", "unknown")},
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    with locked_file(out):
        if earlier := _earlier(out, wanted):
            return earlier
        selected = read_with_tools(config, trajectories, selection)
        limits = limits_of(selection, trajectories)
        export = ExportedRows(dialect, renderer, config.allow_empty_steps, limits)
        return _write(out, wanted, export, selected)


def _write(
    out: Path,
    wanted: Manifest,
    export: ExportedRows,
    selected: Iterable[tuple[Trajectory, Selection]],
) -> Manifest:
    """Write the rows, the problems, and the manifest last."""
    problems = out.with_name(out.name + PROBLEMS_ENDING)
    remove_temporary(out.parent, out.name, problems.name, _manifest_path(out).name)
    # An export that is killed before its end is known by this manifest, and starts over.
    started = write_manifest(_manifest_path(out), wanted)
    try:
        num_rows = write_rows(out, export.rows(selected), export.dialect)
        if not num_rows:
            first = export.problems[0]
            name = wanted.config["dialect"]["name"]
            raise DataError(f"nothing could be exported to {name}: {first.where}: {first.reason}.")
    except AtlasError:
        for file in (out, _manifest_path(out)):
            file.unlink(missing_ok=True)
        raise
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


def read_with_tools(
    config: ExportConfig, trajectories: Path, selection: Path
) -> Iterator[tuple[Trajectory, Selection]]:
    """Each trajectory with its selection, and with the schemas of `config.tools` if it has none.

    Raises:
        RunError: an input is not a finished run of its kind.
        ConfigError: `config.tools` is not a file of tool schemas.
    """
    tools, selected = read_tools(config.tools), read_selected(selection, trajectories)
    return ((with_tools(trajectory, tools), chosen) for trajectory, chosen in selected)


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
    if _settings(earlier) != _settings(wanted) or _digests(earlier) != _digests(wanted):
        raise RunError(f"{out} was exported with other settings or from other runs. {advice}")
    if not earlier.finished:
        return None
    check_outputs(out.parent, earlier, out)
    return earlier


def _settings(manifest: Manifest) -> dict[str, Any]:
    """The settings in a manifest that affect the rows; one that was added later has its default."""
    try:
        return result_settings(ExportConfig.model_validate(manifest.config))
    except (ConfigError, ValidationError):
        return manifest.config


def _digests(manifest: Manifest) -> dict[str, str | None]:
    return {name: given.digest for name, given in manifest.inputs.items()}


def _manifest_path(out: Path) -> Path:
    return out.with_name(f"{out.name}.manifest.json")
