"""Run folders: the output of a command, which is complete or can be resumed.

    RUN/config.yaml      the resolved config
    RUN/manifest.json    command, status, inputs and outputs with digests, versions, counts
    RUN/<name>.jsonl     records, one a line, in a deterministic order
    RUN/problems.jsonl   what was left out, and why

The manifest is marked finished last: a run folder without a finished manifest is unfinished work,
and the same command continues it.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import ValidationError

from atlas.config import Config, result_settings, write_yaml
from atlas.errors import AtlasError, RunError
from atlas.records import Problem
from atlas.store.locks import hold_lock
from atlas.store.manifests import (
    MANIFEST_FILE,
    Input,
    Manifest,
    check_outputs,
    is_finished,
    parse_manifest,
    read_manifest,
    relative_path,
    run_input,
    write_manifest,
)
from atlas.store.named_files import named_inputs
from atlas.store.paths import check_path
from atlas.store.record_files import (
    RecordT,
    file_digest,
    is_temporary,
    remove_temporary,
    write_records,
    write_text,
)
from atlas.store.record_log import RecordLog
from atlas.store.versions import installed_versions

# The names that stages import, whichever file of this package defines them.
__all__ = [
    "MANIFEST_FILE",
    "OWN_FILES",
    "Input",
    "Inputs",
    "Manifest",
    "Run",
    "check_folder",
    "holds_work",
    "is_finished",
    "read_manifest",
    "relative_path",
    "run_input",
    "start_run",
]

FOLDER_ERRORS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG)
# Files that start_run writes; all other files are output.
# Changes that a message lists.
MAX_CHANGES = 8
LOCK_FILE = ".lock"
OWN_FILES = (MANIFEST_FILE, "config.yaml", LOCK_FILE)
# How a run does its work, chosen before the work. Without any work it is chosen again.
CHOICE_SUFFIX = ".choice.json"


# Inputs, or a function that reads them if that is expensive and only a comparison needs them.
Inputs = Mapping[str, Input] | Callable[[], Mapping[str, Input]]


class Run:
    """A run folder that is being written: holds the lock and opens record logs.

    Its path is absolute, because an environment may change the working directory.
    """

    def __init__(self, path: Path, manifest: Manifest, lock: FileLock) -> None:
        self.path = path
        self.manifest = manifest
        self._lock = lock
        self._started = time.monotonic()
        self._is_discarded = False

    @property
    def finished(self) -> bool:
        return self.manifest.finished

    def log(
        self, name: str, kind: type[RecordT], key: Callable[[RecordT], str]
    ) -> RecordLog[RecordT]:
        """Open the growing file of one kind of record, where an interrupted run left it."""
        return RecordLog(self.path / f"{name}.jsonl", kind, key)

    def write_problems(self, problems: Iterable[Problem]) -> None:
        write_records(self.path / "problems.jsonl", problems)

    def finish(
        self,
        summary: Mapping[str, Any],
        inputs: Mapping[str, Input] | None = None,
        digests: Mapping[str, str] | None = None,
    ) -> Manifest:
        """Hash the outputs and mark the run finished; the manifest is the last thing written.

        Args:
            inputs: the inputs, if they are known only after reading them.
            digests: of outputs that were hashed while they were written, by name.
        """
        outputs: dict[str, str] = {}
        for file in sorted(self.path.rglob("*")):
            name = file.relative_to(self.path)
            if file.is_file() and _is_output(name):
                known = (digests or {}).get(name.as_posix())
                outputs[name.as_posix()] = known or file_digest(file)
        done = {"summary": dict(summary)} | ({} if inputs is None else {"inputs": dict(inputs)})
        self._write_manifest(self.manifest.with_outputs(self.path, outputs), **done)
        return self.manifest

    def discard(self) -> None:
        """Remove the run folder when the run is closed, because nothing was written."""
        self._is_discarded = True

    def close(self) -> None:
        try:
            if self._is_discarded:
                _remove_own_files(self.path)
            elif not self.finished:
                # Keep the time spent so far for the next attempt.
                self._write_manifest(self.manifest)
        finally:
            self._lock.release()

    def _write_manifest(self, manifest: Manifest, **update: Any) -> None:
        started, self._started = self._started, time.monotonic()
        seconds = round(manifest.wall_seconds + self._started - started, 2)
        manifest = manifest.model_copy(update={**update, "wall_seconds": seconds})
        self.manifest = write_manifest(self.path / MANIFEST_FILE, manifest)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def start_run(
    path: Path,
    command: str,
    config: Config,
    inputs: Inputs | None = None,
    *,
    keeps_unfinished: bool = True,
    registration: str | None = None,
) -> Run:
    """Open a run folder for writing: new, or the same run interrupted or finished earlier.

    A run with other settings may replace an earlier run that made nothing (for example, because of
    an error in its settings), or an unfinished run of a command that always starts over (not
    `keeps_unfinished`).

    Args:
        inputs: what the run is made from. A function is called only if there is an earlier run to
            compare with; then `Run.finish` is given the inputs.
        registration: the digest of the registered design. A run that is continued keeps the one
            that it was started under.

    Raises:
        RunError: the folder belongs to another command, other settings or other inputs, is in use,
            or is not a run folder.
    """
    manifest = _new_manifest(path, command, config, inputs, registration)
    _refuse_foreign_folder(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = hold_lock(path / ".lock", path)
    except OSError as error:
        if error.errno not in FOLDER_ERRORS:
            raise
        raise RunError(
            f"the run folder {path} cannot be written ({error.strerror}). Choose another --out, or "
            "change its permissions."
        ) from None
    try:
        remove_temporary(path)
        earlier = _earlier_run(path, manifest, type(config), inputs, keeps_unfinished)
        if earlier is not None:
            return Run(path.absolute(), earlier, lock)
        for choice in path.glob(f"*/*{CHOICE_SUFFIX}"):
            choice.unlink()
        write_text(path / "config.yaml", write_yaml(config))
        return Run(path.absolute(), write_manifest(path / MANIFEST_FILE, manifest), lock)
    except BaseException:
        lock.release()
        raise


def check_folder(path: Path, command: str, config: Config, inputs: Mapping[str, Input]) -> None:
    """Refuse a folder that `start_run` would refuse, and write nothing: for dry runs.

    Raises:
        RunError: the folder belongs to another command, other settings or other inputs, or is not a
            run folder.
    """
    _refuse_foreign_folder(path)
    _earlier_run(path, _new_manifest(path, command, config, inputs), type(config), inputs, True)


def changed_settings(path: Path, config: Config) -> list[str]:
    """How the settings of a run with work differ from these; `start_run` refuses such a folder."""
    if not holds_work(path):
        return []
    return _changed(
        parse_manifest(path / MANIFEST_FILE).config, config.model_dump(mode="json"), type(config)
    )


def shorten(changed: Sequence[str]) -> str:
    """The first of many changes, and how many more there are."""
    more = len(changed) - MAX_CHANGES
    return "; ".join([*changed[:MAX_CHANGES], *([f"and {more} more"] if more > 0 else [])])


def holds_work(path: Path) -> bool:
    """Whether the folder has a run with work, which the same command continues."""
    return (path / MANIFEST_FILE).exists() and _holds_work(path)


def _is_output(file: Path) -> bool:
    unfinished = any(part.endswith((".partial", ".tmp")) for part in file.parts)
    # A run folder may hold others, whose manifests belong to it.
    return not unfinished and file.as_posix() not in OWN_FILES and file.name != LOCK_FILE


def _remove_own_files(path: Path) -> None:
    """Remove a run folder that holds only a run's own files."""
    remove_temporary(path)
    for name in OWN_FILES:
        (path / name).unlink(missing_ok=True)
    if not any(path.iterdir()):
        path.rmdir()


def _refuse_foreign_folder(path: Path) -> None:
    """Raise if the folder cannot be used, or holds files that do not belong to a run."""
    check_path(path, "the run folder")
    if not path.exists() or (path / MANIFEST_FILE).exists():
        return
    if not path.is_dir():
        raise RunError(f"{path} is a file, expected a folder for the run. Choose another --out.")
    # The lock is the first file of a run.
    foreign = any(path.iterdir()) and not (path / ".lock").exists()
    if foreign or _holds_work(path):
        raise RunError(
            f"{path} holds files but no {MANIFEST_FILE}, so it is not a run folder. "
            "Choose another --out."
        )


def _holds_work(path: Path) -> bool:
    """Whether a folder holds results, not only a run's own, unfinished or empty files.

    A folder in it counts by what it holds: it may be a run, too.
    """
    own = {*OWN_FILES, *(f"{name}.tmp" for name in OWN_FILES), "problems.jsonl"}
    return any(
        file.name not in own
        and not file.name.endswith(CHOICE_SUFFIX)
        and not is_temporary(file)
        and (_holds_work(file) if file.is_dir() else file.stat().st_size > 0)
        for file in path.iterdir()
    )


def _new_manifest(
    path: Path,
    command: str,
    config: Config,
    inputs: Inputs | None,
    registration: str | None = None,
) -> Manifest:
    return Manifest(
        command=command,
        config=config.model_dump(mode="json"),
        result_settings=result_settings(config),
        inputs=dict(inputs) | named_inputs(config, path) if isinstance(inputs, Mapping) else {},
        versions=installed_versions(),
        day=date.today(),
        registration=registration,
    )


def _earlier_run(
    path: Path, now: Manifest, kind: type[Config], inputs: Inputs | None, keeps_unfinished: bool
) -> Manifest | None:
    """The same run, finished or to be continued; None where the folder holds no work to keep."""
    if not (path / MANIFEST_FILE).exists():
        return None
    earlier = parse_manifest(path / MANIFEST_FILE)
    is_kept = keeps_unfinished or earlier.command != now.command
    if not earlier.finished and not (is_kept and _holds_work(path)):
        return None
    _check_same_run(path, earlier, now, kind, inputs)
    if earlier.finished:
        check_outputs(path, earlier)
    return earlier


def _check_same_run(
    path: Path, earlier: Manifest, now: Manifest, kind: type[Config], inputs: Inputs | None
) -> None:
    advice = "Choose another --out, or remove the folder to start over."
    if earlier.command != now.command:
        by = f"'atlas {earlier.command}', not by 'atlas {now.command}'"
        raise RunError(f"{path} was written by {by}. {advice}")
    changed = _changed(earlier.config, now.config, kind)
    was, given = earlier.inputs, inputs() if callable(inputs) else now.inputs
    changed += [
        f"input {name}: {_content(was.get(name))} there, {_content(given.get(name))} now"
        for name in sorted(was.keys() | given.keys())
        if not _is_same(was.get(name), given.get(name))
    ]
    if changed:
        raise RunError(f"{path} was made with other settings ({shorten(changed)}). {advice}")


def _changed(earlier: Mapping[str, Any], now: Mapping[str, Any], kind: type[Config]) -> list[str]:
    before, after = _result_settings(kind, earlier), _result_settings(kind, now)
    return [
        f"{key}: {before.get(key)!r} there, {after.get(key)!r} now"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def _result_settings(kind: type[Config], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a manifest that affect the result.

    A setting that was added later has its default. Settings that cannot be read any more (for
    example, because a key was removed) stay as stored.
    """
    try:
        return result_settings(kind.model_validate(stored))
    except (AtlasError, ValidationError):
        return dict(stored)


def _is_same(earlier: Input | None, now: Input | None) -> bool:
    if earlier is None or now is None:
        return earlier is now
    return earlier.digest == now.digest and (now.digest is not None or earlier.path == now.path)


def _content(given: Input | None) -> str:
    if given is None:
        return "none"
    return f"content {given.digest[:12]}" if given.digest else given.path
