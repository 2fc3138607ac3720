"""Counts action types: `steps, selected indices -> counts, and a note on those that are left out`.

An action type is the name of a tool that a step calls, else the first word of its action. A model
that is trained on a selection without a type gets no loss on it, and may never do it (docs/log.md,
SmolLM2 in SQL).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from atlas.terminal.visible_text import one_line

# The key of a summary, and how many types it has at most: the most common ones.
ACTION_TYPES = "action_types"
MOST_TYPES = 20
# A note is written on types that at least this share of the steps have, of which a selection has
# fewer than a tenth of what as many random steps would have. These would have at least so many, so
# that a random selection hardly ever gets the note: 1 of 2,000 such types (Poisson, at most 1 of
# 10 expected).
COMMON = 0.05
LEFT_OUT = 0.1
FEWEST_EXPECTED = 10
MOST_NAMED = 5


class ActionTypeCounter:
    """Counts steps by action type. A step that calls several tools counts for each name once."""

    def __init__(self) -> None:
        self._steps = 0
        self._selected = 0
        self._by_type: Counter[str] = Counter()
        self._selected_by_type: Counter[str] = Counter()

    def add(self, types: Iterable[tuple[str, ...]], selected: Collection[int]) -> None:
        """Count a trajectory.

        Args:
            types: the types of each step, in order; none for a step whose action is not known.
            selected: indices of the selected steps.
        """
        for index, of_step in enumerate(types):
            if of_step:
                self._steps += 1
                self._by_type.update(of_step)
                if index in selected:
                    self._selected += 1
                    self._selected_by_type.update(of_step)

    def summary(self) -> dict[str, Any]:
        """The part of a summary about action types; nothing if no action is known."""
        if not self._steps:
            return {}
        ordered = sorted(self._by_type.items(), key=lambda item: (-item[1], item[0]))
        types = {
            name: {"steps": number, "selected": self._selected_by_type[name]}
            for name, number in ordered[:MOST_TYPES]
        }
        return {ACTION_TYPES: {"steps": self._steps, "selected": self._selected, "types": types}}


def types_note(
    steps: int = 0, selected: int = 0, types: Mapping[str, Mapping[str, int]] | None = None
) -> str | None:
    """The note on types that a selection leaves out; None without any.

    Args:
        steps: steps with a known action.
        selected: how many of them are selected.
        types: `steps` and `selected` of each type.
    """
    left_out = [
        f"'{one_line(name)}' ({count['selected']:,} of {count['steps']:,} steps)"
        for name, count in (types or {}).items()
        if count["steps"] >= COMMON * steps
        and (expected := count["steps"] * selected / steps) >= FEWEST_EXPECTED
        and count["selected"] < LEFT_OUT * expected
    ]
    if not left_out:
        return None
    more = f" and {len(left_out) - MOST_NAMED} more" if len(left_out) > MOST_NAMED else ""
    return (
        f"hardly any step of these action types is selected: {', '.join(left_out[:MOST_NAMED])}"
        f"{more}. A model that does not know them already learns them only where they are selected"
    )
