"""The one record of a measured number with its interval."""

from __future__ import annotations

from atlas.records import Record


class Estimate(Record):
    """A number with the limits of its interval.

    `value` is None if it is unknown. The limits are None without an interval, for example because
    all values are equal.
    """

    value: int | float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def limits(self) -> tuple[float, float] | None:
        """Both limits, or None without an interval."""
        return None if self.low is None or self.high is None else (self.low, self.high)
