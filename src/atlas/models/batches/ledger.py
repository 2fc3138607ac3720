"""Which batches were sent and what was asked in them, kept beyond the process: a batch takes up to a day, and is paid for either way.

    FOLDER/<batch id>.json    {"id": …, "address": …, "keys": [one a question], "sent_at": seconds since 1970}

A killed run that starts again asks the same questions, finds their keys here, and waits for the batch instead of paying twice.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEPT_SECONDS = 28 * 24 * 3600  # Anthropic keeps answers for 29 days, OpenAI for 30


@dataclass(frozen=True, slots=True)
class SentBatch:
    """A batch that was sent: `keys` name its questions."""

    id: str
    keys: tuple[str, ...]


def ledger_folder() -> Path:
    """In the user's cache: forgetting it costs money at most, never a result."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "atlas" / "batches"


class BatchLedger:
    """The batches sent to one address. A file that cannot be read, or is too old, is passed over."""

    def __init__(self, folder: Path, address: str) -> None:
        self._folder = folder
        self._address = address

    def read(self) -> list[SentBatch]:
        """All that may still be waited for, in the order in which they were sent."""
        found = []
        for path in self._folder.glob("*.json"):
            try:
                row = json.loads(path.read_bytes())
                sent_at, batch = float(row["sent_at"]), SentBatch(str(row["id"]), tuple(map(str, row["keys"])))
                address = row["address"]
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if time.time() - sent_at > KEPT_SECONDS:
                path.unlink(missing_ok=True)
            elif address == self._address:
                found.append((sent_at, batch))
        return [batch for _, batch in sorted(found, key=lambda row: row[0])]

    def add(self, id_: str, keys: Collection[str]) -> SentBatch:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._write(id_, {"id": id_, "address": self._address, "keys": list(keys), "sent_at": time.time()})
        return SentBatch(id_, tuple(keys))

    def keep(self, id_: str, keys: Collection[str]) -> None:
        """Note that of a batch only these questions are still of use; without any it is forgotten."""
        path = self._path(id_)
        if not keys:
            path.unlink(missing_ok=True)
        elif path.exists():
            self._write(id_, json.loads(path.read_bytes()) | {"keys": sorted(keys)})

    def _write(self, id_: str, row: dict[str, Any]) -> None:
        growing = self._path(id_).with_suffix(".partial")
        growing.write_text(json.dumps(row), encoding="utf-8")
        os.replace(growing, self._path(id_))

    def _path(self, id_: str) -> Path:
        return self._folder / (re.sub(r"[^A-Za-z0-9_-]", "_", id_) + ".json")
