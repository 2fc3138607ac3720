"""The batches that were sent, and their questions, kept beyond the process.

    FOLDER/<batch id>.json    {"id": …, "address": …, "keys": [one a question], "sent_at": seconds}
    FOLDER/<hash>.planned     the same of a batch that is being made; "id" is its handle

A batch takes up to a day and is paid for in any case. A run that starts again asks the same
questions, finds their keys here, and waits for the batch instead of paying twice.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.models.endpoints.endpoint import cache_folder

# Anthropic keeps answers for 29 days, OpenAI for 30.
KEPT_SECONDS = 28 * 24 * 3600


@dataclass(frozen=True, slots=True)
class SentBatch:
    """A batch that was sent, or, by its handle, one that is planned; `keys` name its questions."""

    id: str
    keys: tuple[str, ...]


def ledger_folder() -> Path:
    """The default folder: the user's, for all runs."""
    return cache_folder() / "batches"


class BatchLedger:
    """The batches sent to one address. It ignores unreadable and old files."""

    def __init__(self, folder: Path, address: str) -> None:
        self._folder = folder
        self._address = address

    def read(self) -> list[SentBatch]:
        """The batches whose answers may still be fetched, in the order in which they were sent."""
        return self._read("*.json")

    def read_planned(self) -> list[SentBatch]:
        """The batches that may have been in the making when a process was killed."""
        return self._read("*.planned")

    def plan(self, handle: str, keys: Collection[str]) -> SentBatch:
        """Note that a batch of these questions is about to be made."""
        planned = SentBatch(handle, tuple(keys))
        self._note(self._planned_path(planned), planned)
        return planned

    def forget_planned(self, planned: SentBatch) -> None:
        self._planned_path(planned).unlink(missing_ok=True)

    def add(self, id_: str, keys: Collection[str]) -> SentBatch:
        """Note a batch that was made."""
        sent = SentBatch(id_, tuple(keys))
        self._note(self._path(id_), sent)
        return sent

    def keep(self, id_: str, keys: Collection[str]) -> None:
        """Note the questions of a batch that are still of use; forget it if there are none."""
        path = self._path(id_)
        if not keys:
            path.unlink(missing_ok=True)
        elif path.exists():
            _write(path, json.loads(path.read_bytes()) | {"keys": sorted(keys)})

    def _read(self, pattern: str) -> list[SentBatch]:
        found = []
        for path in self._folder.glob(pattern):
            try:
                row = json.loads(path.read_bytes())
                sent_at = float(row["sent_at"])
                batch = SentBatch(str(row["id"]), tuple(map(str, row["keys"])))
                address = row["address"]
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if time.time() - sent_at > KEPT_SECONDS:
                path.unlink(missing_ok=True)
            elif address == self._address:
                found.append((sent_at, batch))
        return [batch for _, batch in sorted(found, key=lambda row: row[0])]

    def _note(self, path: Path, batch: SentBatch) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        row = {"id": batch.id, "address": self._address, "keys": batch.keys}
        _write(path, row | {"sent_at": time.time()})

    def _path(self, id_: str) -> Path:
        return self._folder / (re.sub(r"[^A-Za-z0-9_-]", "_", id_) + ".json")

    def _planned_path(self, planned: SentBatch) -> Path:
        """Planned batches with one handle (Anthropic's is the batch before) differ in questions."""
        text = "\0".join([planned.id, *planned.keys])
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.planned"


def _write(path: Path, row: dict[str, Any]) -> None:
    growing = path.with_suffix(".partial")
    growing.write_text(json.dumps(row), encoding="utf-8")
    growing.replace(path)
