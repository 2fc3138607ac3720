"""Manifests: how a run folder was made, what is in it, and that it is still as it was written.

A manifest stores a digest of each output, and the size and times that the file had when it was
written. Reading a manifest checks the files: those with another size or time are hashed, once per
process. A copied folder has new times, so its files are hashed, too. A digest of the manifest
itself shows whether somebody edited it.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from atlas.config import StrPath
from atlas.errors import RunError
from atlas.store.paths import check_path, shown_path
from atlas.store.record_files import file_digest, write_text

MANIFEST_FILE = "manifest.json"
# Size, time of the last change of the content, and of the content or its attributes, in
# nanoseconds. A program can set the second one, but not the third one.
Stamp = tuple[int, int, int]
# The clock that file times come from may advance in steps of 10 ms. A change within the same step
# would not change the stamp.
CLOCK_STEP_NANOSECONDS = 12_000_000

# The digests that this process knows: path -> (stamp, digest).
_known: dict[str, tuple[Stamp, str]] = {}


class Input(BaseModel):
    """An input of a run: a path relative to the run folder, or a hub id (without a digest)."""

    model_config = ConfigDict(frozen=True)
    path: str
    digest: str | None = None


class Manifest(BaseModel):
    """How a run folder was made, and what is in it.

    `result_settings` are the settings in `config` that affect the result, by dotted name. `stamps`
    are the sizes and times of the outputs. `day` is the date on which the run was started; it stays
    the same when the run is continued. `registration` is the digest of the design of the experiment
    that the run is a part of, written before the run starts. `seal` is a digest of all other
    fields. Manifests of earlier versions have none of these.
    """

    model_config = ConfigDict(frozen=True)
    version: int = 1
    command: str
    status: str = "running"
    config: dict[str, Any]
    result_settings: dict[str, Any] = {}
    inputs: dict[str, Input] = {}
    outputs: dict[str, str] = {}
    stamps: dict[str, Stamp] = {}
    summary: dict[str, Any] = {}
    versions: dict[str, str] = {}
    wall_seconds: float = 0.0
    day: date | None = None
    registration: str | None = None
    seal: str = ""

    @property
    def digest(self) -> str:
        """One hash over all outputs: a later run stores it to prove which data it was made from."""
        return hashlib.sha256(json.dumps(self.outputs, sort_keys=True).encode()).hexdigest()

    @property
    def finished(self) -> bool:
        return self.status == "finished"

    def with_outputs(self, folder: Path, digests: Mapping[str, str]) -> Manifest:
        """The finished manifest of these files in `folder`, given with their digests."""
        stamps = {name: _stamp(folder / name) for name in digests}
        for name, digest in digests.items():
            _known[_key(folder / name)] = stamps[name], digest
        # A later change must have a later time.
        youngest = max((max(times) for _, *times in stamps.values()), default=0)
        if 0 <= (age := time.time_ns() - youngest) < CLOCK_STEP_NANOSECONDS:
            time.sleep((CLOCK_STEP_NANOSECONDS - age) / 1e9)
        return self.model_copy(
            update={"status": "finished", "outputs": dict(digests), "stamps": stamps}
        )


def write_manifest(file: Path, manifest: Manifest) -> Manifest:
    """Write a manifest with its seal, and return it."""
    sealed = manifest.model_copy(update={"seal": _seal(json.loads(manifest.model_dump_json()))})
    write_text(file, sealed.model_dump_json(indent=2) + "\n")
    return sealed


def parse_manifest(file: Path) -> Manifest:
    """The manifest in a file, finished or not; its run is not checked.

    Raises:
        RunError: the file cannot be read, or a finished manifest was edited.
    """
    advice = "Remove the folder and make the run again."
    try:
        content = file.read_bytes()
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        reason = f"{place}: {first['msg']}"
        raise RunError(f"{file} cannot be read ({reason}). {advice}") from None
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise RunError(
            f"{file} cannot be read ({error.strerror}). Check the path and its permissions."
        ) from None
    if manifest.finished and manifest.seal and manifest.seal != _seal(json.loads(content)):
        raise RunError(
            f"{file} was edited after 'atlas {manifest.command}' wrote it, so it does not say how "
            f"{file.parent} was made. Restore it. {advice}"
        )
    return manifest


def read_manifest(path: StrPath, commands: Sequence[str] = ()) -> Manifest:
    """The manifest of a finished, unchanged run folder made by one of `commands` (any, if empty).

    Raises:
        RunError: the folder is missing, unfinished, of another kind, or was changed since.
    """
    check_path(path, "the run folder")
    path = Path(path)
    if not path.exists():
        maker = f"atlas {commands[0]}" if commands else "an atlas command"
        advice = f"Check the path, or make it first with {maker} … --out {path}"
        raise RunError(f"run folder {path} does not exist. {advice}")
    if not (path / MANIFEST_FILE).exists():
        raise RunError(
            f"{path} is not a run folder: it has no {MANIFEST_FILE}. "
            "Give a folder that an atlas command wrote."
        )
    manifest = parse_manifest(path / MANIFEST_FILE)
    if commands and manifest.command not in commands:
        raise RunError(
            f"{path} was written by 'atlas {manifest.command}', "
            f"expected one of: {', '.join(commands)}."
        )
    if not manifest.finished:
        raise RunError(
            f"{path} is not finished. Run its 'atlas {manifest.command}' command again: "
            "it continues where it stopped."
        )
    check_outputs(path, manifest)
    return manifest


def is_finished(path: StrPath, command: str) -> bool:
    """Whether a folder holds a finished, unchanged run of a command."""
    try:
        return bool(read_manifest(path, (command,)))
    except RunError:
        return False


def check_outputs(folder: Path, manifest: Manifest, made: Path | None = None) -> None:
    """Compare the files that a finished manifest lists, all of them in `folder`, with it.

    Args:
        made: what the command made, where that is not the whole folder.

    Raises:
        RunError: a file is missing or was changed.
    """
    made, command = made or folder, f"'atlas {manifest.command}'"
    advice = f"Restore the file, or remove {made} and run {command} again."
    for name, digest in manifest.outputs.items():
        file = folder / name
        if name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise RunError(f"the manifest of {made} lists '{name}', which is outside of {folder}.")
        if not file.is_file():
            raise RunError(f"{file} is missing, but the manifest of {made} lists it. {advice}")
        if content_digest(file, manifest.stamps.get(name), digest) != digest:
            raise RunError(
                f"{file} was changed after {command} wrote it: its content does not have the "
                f"digest in the manifest of {made}. {advice}"
            )


def content_digest(file: Path, stamp: Stamp | None = None, digest: str | None = None) -> str:
    """The digest of a file, which is hashed once per process.

    Args:
        stamp: when the file had `digest`; with the same stamp now, it is not hashed.
    """
    now, key = _stamp(file), _key(file)
    if stamp == now and digest is not None:
        return digest
    if key not in _known or _known[key][0] != now:
        _known[key] = now, file_digest(file)
    return _known[key][1]


def run_input(path: Path, out: Path, commands: Sequence[str] = ()) -> Input:
    """A finished run folder as an input of the run at `out`."""
    digest = read_manifest(path, commands).digest
    return Input(path=relative_path(path, out), digest=digest)


def relative_path(path: Path, start: Path) -> str:
    """`path` relative to the folder `start`, so that run folders can be moved together."""
    check_path(start)
    return shown_path(Path(os.path.relpath(path.resolve(), start.resolve())).as_posix())


def _seal(content: Mapping[str, Any]) -> str:
    kept = {key: value for key, value in content.items() if key != "seal"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _stamp(file: Path) -> Stamp:
    status = file.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _key(file: Path) -> str:
    return os.path.realpath(file)
