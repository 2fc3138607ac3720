"""What `auto` stands for in a run: chosen once, kept with its states, and equal for compared runs.

A run that is resumed, perhaps on another machine, keeps its choice, so that its bytes are those of
a run without an interruption. The trainings of an experiment share one choice, because runs that
are compared must not differ by the machine or the noise of a timing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from atlas.errors import RunError
from atlas.store.record_files import write_text

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class KeptChoice(Generic[T]):
    """Where a choice is kept.

    Attributes:
        kind: the dataclass of the choice, with fields that JSON can hold.
        file_name: of its file in a folder.
        folder: of the states to resume from; None: nothing is kept (a dry run of no run folder).
        shared: of the choice of all runs that are compared, if there are others.
    """

    kind: type[T]
    file_name: str
    folder: Path | None
    shared: Path | None = None

    def read(self) -> T | None:
        """The run's own choice; None if the run has not chosen yet."""
        own = None if self.folder is None else self.folder / self.file_name
        return self._read(own) if own is not None and own.exists() else None

    def read_or_make(self, choose: Callable[[], T]) -> T:
        """The kept choice. The first of the compared runs that needs it chooses."""
        assert self.folder is not None
        if (kept := self.read()) is not None:
            return kept
        own = self.folder / self.file_name
        if self.shared is None:
            return self._write(own, choose())
        self.shared.mkdir(parents=True, exist_ok=True)
        common = self.shared / self.file_name
        # Other trainings may start at the same time in other processes.
        with FileLock(self.shared / f".{self.file_name}.lock"):
            if not common.exists():
                self._write(common, choose())
        return self._write(own, self._read(common))

    def _read(self, file: Path) -> T:
        try:
            return TypeAdapter(self.kind).validate_json(file.read_bytes())
        except ValidationError as error:
            raise RunError(
                f"{file} cannot be read ({error.errors()[0]['msg']}). It has what `auto` stands "
                "for in this run. Write it again (the run has printed it), or remove the run's "
                "folder to start over."
            ) from None

    @staticmethod
    def _write(file: Path, chosen: T) -> T:
        fields: Any = chosen
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(asdict(fields)) + "\n")
        return chosen
