"""What a remote model was paid in a run so far, also before a kill. Others have no file.

OUT/spent.jsonl.partial    the total so far, a line after each answer
OUT/spent.jsonl            the total, one line
"""

from __future__ import annotations

from atlas.models.payments import Payment
from atlas.store.record_log import RecordLog, read_log
from atlas.store.run_folders import Run


class Spent:
    """The payments of a run, kept in its folder."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._log: RecordLog[Payment] | None = None
        earlier = list(read_log(run.path / "spent.jsonl", Payment))
        self._paid = earlier[-1] if earlier else None

    def pay(self, payment: Payment) -> None:
        """Add a payment."""
        self._paid = (self._paid or Payment()) + payment
        if self._log is None:
            self._log = self._run.log("spent", Payment, key=lambda _: "total")
        self._log.append(self._paid)

    def seal(self) -> Payment | None:
        """Keep only the total, and return it; None if nothing was paid."""
        if self._paid is not None:
            log = self._run.log("spent", Payment, key=lambda _: "total")
            log.seal(["total"])
        return self._paid

    def close(self) -> None:
        """Close the file."""
        if self._log is not None:
            self._log.close()
