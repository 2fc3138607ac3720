"""Which batches were sent and what was asked in them, kept beyond the process: a batch takes up to a day, and is paid for either way.

    FOLDER/<batch id>.json    {"id": …, "address": …, "keys": [one a question], "sent_at": seconds since 1970}
    FOLDER/<hash>.planned     the same of one that is being made; its "id" is the handle by which it can be found

A killed run that starts again asks the same questions, finds their keys here, and waits for the batch instead of paying twice.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.models.endpoints.endpoint import cache_folder

KEPT_SECONDS = 28 * 24 * 3600  # Anthropic keeps answers for 29 days, OpenAI for 30


@dataclass(frozen=True, slots=True)
class SentBatch:
    """A batch that was sent: `keys` name its questions."""

    id: str
    keys: tuple[str, ...]


def ledger_folder() -> Path:
    return cache_folder() / "batches"


class BatchLedger:
    """The batches sent to one address. A file that cannot be read, or is too old, is passed over."""

    def __init__(self, folder: Path, address: str) -> None:
        self._folder = folder
        self._address = address

    def read(self) -> list[SentBatch]:
        """All that may still be waited for, in the order in which they were sent."""
        return self._read("*.json")

    def read_planned(self) -> list[SentBatch]:
        """Those that were being made when their process was killed, as far as anybody knows; the `id` of each is its handle."""
        return self._read("*.planned")

    def plan(self, handle: str, keys: Collection[str]) -> SentBatch:
        """Note that a batch of these questions is about to be made."""
        planned = SentBatch(handle, tuple(keys))
        self._folder.mkdir(parents=True, exist_ok=True)
        self._write(self._planned_path(planned), self._row(planned))
        return planned

    def forget_planned(self, planned: SentBatch) -> None:
        self._planned_path(planned).unlink(missing_ok=True)

    def add(self, id_: str, keys: Collection[str]) -> SentBatch:
        sent = SentBatch(id_, tuple(keys))
        self._folder.mkdir(parents=True, exist_ok=True)
        self._write(self._path(id_), self._row(sent))
        return sent

    def keep(self, id_: str, keys: Collection[str]) -> None:
        """Note that of a batch only these questions are still of use; without any it is forgotten."""
        path = self._path(id_)
        if not keys:
            path.unlink(missing_ok=True)
        elif path.exists():
            self._write(path, json.loads(path.read_bytes()) | {"keys": sorted(keys)})

    def _read(self, pattern: str) -> list[SentBatch]:
        found = []
        for path in self._folder.glob(pattern):
            try:
                row = json.loads(path.read_bytes())
                sent_at, batch = (
                    float(row["sent_at"]),
                    SentBatch(str(row["id"]), tuple(map(str, row["keys"]))),
                )
                address = row["address"]
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if time.time() - sent_at > KEPT_SECONDS:
                path.unlink(missing_ok=True)
            elif address == self._address:
                found.append((sent_at, batch))
        return [batch for _, batch in sorted(found, key=lambda row: row[0])]

    def _row(self, batch: SentBatch) -> dict[str, Any]:
        return {
            "id": batch.id,
            "address": self._address,
            "keys": list(batch.keys),
            "sent_at": time.time(),
        }

    def _write(self, path: Path, row: dict[str, Any]) -> None:
        growing = path.with_suffix(".partial")
        growing.write_text(json.dumps(row), encoding="utf-8")
        os.replace(growing, path)

    def _path(self, id_: str) -> Path:
        return self._folder / (re.sub(r"[^A-Za-z0-9_-]", "_", id_) + ".json")

    def _planned_path(self, planned: SentBatch) -> Path:
        """Two that have one handle (Anthropic's is the batch before) differ in their questions."""
        return self._folder / (
            hashlib.sha256("\0".join([planned.id, *planned.keys]).encode()).hexdigest()[:32]
            + ".planned"
        )
