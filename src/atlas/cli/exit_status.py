"""The exit status of runs that are finished, but in which no episode can be scored."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from atlas.cli.app import fail

NOTHING_WORKED = 1


def exit_if_nothing_worked(runs: Sequence[tuple[Any, Path]]) -> None:
    """Exit if in one of the runs (manifest, folder) no episode can be scored."""
    for manifest, out in runs:
        summary = manifest.summary
        if manifest.command in ("evaluate", "evaluate --suite"):
            num_episodes, num_valid = summary["num_episodes"], summary["num_valid"]
        elif manifest.command == "collect":
            num_episodes = summary["episodes"]
            num_valid = num_episodes - summary["by_status"].get("error", 0)
        elif manifest.command == "probe":
            # Of a step after which the episode was over, nothing had to be played.
            num_episodes = summary["episodes"]
            num_valid = summary["steps"] or not summary["broken"]
        else:
            continue
        if not num_valid:
            fail(
                f"error: none of the {num_episodes:,} episodes in {out} can be scored; the most "
                f"common reason: {_most_common(out / 'problems.jsonl')}. Fix it, remove the "
                "folder, and run the command again.",
                NOTHING_WORKED,
            )


def _most_common(problems: Path) -> str:
    with problems.open("rb") as lines:
        return _reason(json.loads(line)["reason"] for line in lines)


def _reason(reasons: Iterable[str]) -> str:
    [(reason, count)] = Counter(reasons).most_common(1) or [("unknown", 0)]
    return f"{reason.rstrip('.')} ({count:,} times)"
