"""Keeps the selections of an earlier run, and asks again about its problems.

The earlier run is not changed, because other runs may use it. The new run may use another model or
longer answers.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from atlas.errors import ConfigError
from atlas.records import Selection
from atlas.selection.config import SelectConfig
from atlas.store.readers import limit_of, read_selections
from atlas.store.run_folders import read_manifest

# If one of these were changed, a part of the new run would have another budget.
SAME = ("scope", "ratio", "rounding", "min_steps")


def read_kept_selections(
    earlier: Path, config: SelectConfig, trajectories: Path
) -> dict[str, Selection]:
    """The selections without a problem in the run `earlier`, by trajectory id.

    If the earlier run was limited, a run without this limit asks about the rest.

    Raises:
        ConfigError: the earlier run has another selector or budget, or no problems.
        RunError: it is not a finished selection of these trajectories.
    """
    before = read_manifest(earlier, ("select",)).config
    settings = config.model_dump(mode="json")
    pairs = [(name, before.get(name), settings[name]) for name in SAME]
    pairs += [("selector", before.get("selector", {}).get("name"), config.selector.name)]
    changed = [f"{name}: {was!r} there, {now!r} now" for name, was, now in pairs if was != now]
    if changed:
        raise ConfigError(
            f"retry_problems_of={earlier} was selected differently ({'; '.join(changed)}). Use the "
            "same, or select all again."
        )
    selections = read_selections(earlier, trajectories)
    kept = {id_: selection for id_, selection in selections.items() if selection.problem is None}
    is_limited = limit_of(earlier) is not None and limit_of(earlier) != config.limit
    if config.limit is not None:
        kept = dict(islice(kept.items(), config.limit))
    if len(kept) == len(selections) and not is_limited:
        raise ConfigError(
            f"retry_problems_of={earlier} has no problem among its {len(kept)} selections, so "
            "there is nothing to try again."
        )
    return kept
