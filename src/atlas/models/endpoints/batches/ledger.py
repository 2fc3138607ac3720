"""A record on disk of all batches and their questions, also of those that are being created.

    FOLDER/<name>.json    {"handle", "id", "address", "keys": [one a question], "sent_at": seconds}

A batch takes up to a day and is paid for in any case. A resumed run asks the same questions, finds
their keys here, and waits for the batch instead of paying again. If "id" is null, the process was
killed while it was creating the batch, which can be found by its handle.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from uuid import uuid4

from atlas.models.endpoints.endpoint import cache_folder

# Anthropic keeps answers for 29 days, OpenAI for 30.
KEPT_SECONDS = 28 * 24 * 3600


@dataclass(frozen=True, slots=True)
class NotedBatch:
    """A batch with the questions `keys`. `id` is None until the batch exists."""

    path: Path
    address: str
    handle: str
    keys: tuple[str, ...]
    sent_at: float
    id: str | None = None


def ledger_folder() -> Path:
    """The default folder, which all runs of a user share."""
    return cache_folder() / "batches"


class BatchLedger:
    """The batches of one address. Files that are damaged or too old are ignored."""

    def __init__(self, folder: Path, address: str) -> None:
        self._folder = folder
        self._address = address

    def read(self) -> list[NotedBatch]:
        """The batches whose answers may still be available, in the order of sending."""
        found = []
        for path in self._folder.glob("*.json"):
            try:
                row = json.loads(path.read_bytes())
                batch = NotedBatch(path, **row | {"keys": tuple(row["keys"])})
                is_old = time.time() - batch.sent_at > KEPT_SECONDS
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if is_old:
                self.forget(batch)
            elif batch.address == self._address:
                found.append(batch)
        return sorted(found, key=lambda batch: batch.sent_at)

    def plan(self, handle: str, keys: Collection[str]) -> NotedBatch:
        """Record that a batch of these questions is about to be created."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{uuid4().hex}.json"
        return self._write(NotedBatch(path, self._address, handle, tuple(keys), time.time()))

    def made(self, planned: NotedBatch, id_: str) -> NotedBatch:
        """Record that a planned batch was created."""
        return self._write(replace(planned, id=id_))

    def keep(self, batch: NotedBatch, keys: Collection[str]) -> None:
        """Record which questions of a batch are still needed; forget it if there are none."""
        if not keys:
            self.forget(batch)
        elif batch.path.exists():
            self._write(replace(batch, keys=tuple(sorted(keys))))

    def forget(self, batch: NotedBatch) -> None:
        batch.path.unlink(missing_ok=True)

    def _write(self, batch: NotedBatch) -> NotedBatch:
        row = asdict(batch)
        del row["path"]
        growing = batch.path.with_suffix(".partial")
        growing.write_text(json.dumps(row), encoding="utf-8")
        growing.replace(batch.path)
        return batch
