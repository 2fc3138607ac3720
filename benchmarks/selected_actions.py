"""Which kinds of action selections contain: the first words of the actions of their steps.

    python benchmarks/selected_actions.py --trajectories runs/smollm2-sql/trajectories
        runs/smollm2-sql/selections/critical runs/smollm2-sql/selections/rules

A step with tool calls counts once for the name of each. A row for each kind of action: how many
steps have it, and how many of them each selection has.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from atlas.errors import AtlasError
from atlas.records import Step
from atlas.store.readers import read_selections, read_trajectories
from atlas.terminal.visible_text import one_line


def kinds_of(step: Step) -> Iterator[str]:
    """The names of the tools that a step calls; else the first word of its action."""
    if step.response.tool_calls:
        yield from (call.name for call in step.response.tool_calls)
    else:
        yield (step.action or "").split(maxsplit=1)[0] if (step.action or "").strip() else "(none)"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trajectories", type=Path, required=True)
    parser.add_argument("selections", type=Path, nargs="+")
    given = parser.parse_args()
    counts = [Counter[str]() for _ in (None, *given.selections)]
    chosen = [read_selections(run, given.trajectories) for run in given.selections]
    for trajectory in read_trajectories(given.trajectories):
        for index, step in enumerate(trajectory.steps):
            kinds = tuple(kinds_of(step))
            counts[0].update(kinds)
            for count, selections in zip(counts[1:], chosen, strict=True):
                found = selections.get(trajectory.id)
                count.update(kinds if found is not None and index in found.indices else ())
    names = ("all", *(run.name for run in given.selections))
    print("".join(f"{name:>14}" for name in names) + "  kind of action")
    for kind, _ in counts[0].most_common():
        print("".join(f"{count[kind]:>14,}" for count in counts) + f"  {one_line(kind)}")


if __name__ == "__main__":
    try:
        main()
    except AtlasError as error:
        raise SystemExit(f"error: {error}") from None
