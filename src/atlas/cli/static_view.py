"""`atlas view --static`: chosen trajectories in one file, instead of a server."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.cli.app import read_config
from atlas.cli.closing_lines import say
from atlas.errors import ConfigError
from atlas.lookup import nearest
from atlas.records import Problem

if TYPE_CHECKING:
    from atlas.rendering.renderer import Renderer
    from atlas.viewing.web.config import ViewConfig
    from atlas.viewing.web.library import Library
    from atlas.viewing.web.query import Query
    from atlas.viewing.web.static_page import StaticEntry, WrittenPage

# The settings of the viewer that a file has, too.
SHOWN = ("tokenizer", "labels", "blind")
LIMIT = "limit"


def read_choice(settings: Sequence[str]) -> tuple[ViewConfig, Query, int | None]:
    """What is shown, which trajectories, and how many at most.

    Raises:
        ConfigError: a setting is not known, or a value cannot be used.
    """
    from atlas.viewing.web.config import ViewConfig
    from atlas.viewing.web.query import FILTERS, Query
    from atlas.viewing.web.static_page import MAX_TRAJECTORIES

    given = dict(setting.split("=", 1) for setting in settings)
    known = (*FILTERS, LIMIT, *SHOWN)
    for key in given:
        if key not in known:
            raise ConfigError(f"'{key}' is not a setting of --static. {nearest(key, known)}")
    # FastAPI is not needed.
    shown = [f"{key}={value}" for key, value in given.items() if key in SHOWN]
    config: ViewConfig = read_config(ViewConfig, shown, is_run=False)
    limit = given.get(LIMIT)
    if limit is not None and not (
        limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= MAX_TRAJECTORIES
    ):
        raise ConfigError(
            f"limit={limit}: expected a number from 1 to {MAX_TRAJECTORIES:,}. Correct it."
        )
    filters = {key: value for key, value in given.items() if key in FILTERS}
    return config, Query.from_params(filters), None if limit is None else int(limit)


def write_page(
    library: Library,
    out: Path,
    ids: Sequence[str],
    choice: tuple[ViewConfig, Query, int | None],
    labels: Path,
) -> None:
    """Write the file, and print what is in it.

    Args:
        labels: the file of labels, which is read if it exists.
    """
    from atlas.viewing.web.choose_entries import ShownParts, choose_rows, make_entries
    from atlas.viewing.web.labels.store import LabelStore
    from atlas.viewing.web.static_page import check_number, write_static

    config, query, limit = choice
    rows = choose_rows(library, query, ids, limit)
    check_number(len(rows), out)
    if config.labels is not None and not config.labels.is_file():
        raise ConfigError(
            f"labels={config.labels}: the file does not exist, expected one that atlas view wrote. "
            "Correct the path, or leave it out."
        )
    with ExitStack() as stack:
        store = None
        if (file := config.labels or labels).is_file() and not config.blind:
            store = LabelStore(file)
            stack.callback(store.close)
        shown = ShownParts(
            is_blind=config.blind,
            labels_of=store.labelings if store else None,
            renderer=_renderer(config.tokenizer) if config.tokenizer else None,
        )
        made = list(make_entries(library, rows, shown))
    entries = [one for one in made if not isinstance(one, Problem)]
    unread = [one for one in made if isinstance(one, Problem)]
    _say_written(write_static(entries, out), entries, config.tokenizer)
    for problem in library.problems:
        say(f"problem:   {problem.where}: {problem.reason}")
    for problem in unread:
        say(f"left out:  {problem.where}: {problem.item}: {problem.reason}")


def _say_written(
    written: WrittenPage, entries: Sequence[StaticEntry], tokenizer: str | None
) -> None:
    """What is in the file, and which loss masks could not be made."""
    names = dict.fromkeys(one.name for entry in entries for one in entry.selections)
    num_labels = sum(len(entry.labels) for entry in entries)
    parts = [f"{len(entries):,} {'trajectory' if len(entries) == 1 else 'trajectories'}"]
    if names:
        parts.append(f"with the selections {', '.join(names)}")
    if num_labels:
        parts.append(f"{num_labels:,} {'label' if num_labels == 1 else 'labels'}")
    if tokenizer:
        parts.append(f"the loss masks under {tokenizer}")
    say(f"out:       {written.path}: {written.size}, {', '.join(parts)}")
    for entry in entries:
        for mask in entry.masks:
            if mask.problem:
                say(f"problem:   {entry.trajectory.id}: {mask.problem}")


def _renderer(name: str) -> Renderer | None:
    from atlas.models.local.load import load_renderer_named

    return load_renderer_named(name)
