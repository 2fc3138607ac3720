"""Counts action types: `steps, selected indices -> counts, and a note on those that are left out`.

An action type is the name of a tool that a step calls, else the first word of its action. Beside
steps with an action, those without one are a type, too: answers in words between calls of tools. A
model that is trained on a selection without a type gets no loss on it, and may never do it
(docs/log.md, SmolLM2 in SQL).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from atlas.terminal.visible_text import one_line

# The key of a summary, and how many types it has at most: the most common ones.
ACTION_TYPES = "action_types"
MOST_TYPES = 50
NO_ACTION = "(no action)"
# A note is written on types that at least this share of the steps have, of which a selection has
# fewer than a tenth of what as many random steps would have. These would have at least so many, so
# that a random selection hardly ever gets the note: 1 of 2,000 such types (Poisson, at most 1 of
# 10 expected).
COMMON = 0.05
LEFT_OUT = 0.1
FEWEST_EXPECTED = 10
MOST_NAMED = 5
LONGEST_NAME = 80


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
            types: the types of each step, in order; none for a step without a known action.
            selected: indices of the selected steps.
        """
        for index, of_step in enumerate(types):
            named = of_step or (NO_ACTION,)
            self._steps += 1
            self._by_type.update(named)
            if index in selected:
                self._selected += 1
                self._selected_by_type.update(named)

    def summary(self) -> dict[str, Any]:
        """The part of a summary about action types; nothing if no action is known."""
        if not self._by_type.keys() - {NO_ACTION}:
            return {}
        ordered = sorted(self._by_type.items(), key=lambda item: (-item[1], item[0]))
        types = {
            name: {"steps": number, "selected": self._selected_by_type[name]}
            for name, number in ordered[:MOST_TYPES]
        }
        return {ACTION_TYPES: {"steps": self._steps, "selected": self._selected, "types": types}}


def types_note(counted: Mapping[str, Any]) -> str | None:
    """The note on types that a selection leaves out; None without any.

    Args:
        counted: what a summary has about action types; empty in one of an earlier version.
    """
    steps, selected = counted.get("steps", 0), counted.get("selected", 0)
    left_out = [
        f"'{one_line(name, LONGEST_NAME)}' ({count['selected']:,} of {count['steps']:,} steps)"
        for name, count in counted.get("types", {}).items()
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
