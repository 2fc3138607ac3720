"""Blind mode: what selectors, other people and the source say is hidden from whoever labels.

It is hidden until the person at this browser has finished the trajectory. What cannot be hidden for
one trajectory only, such as a filter of the list, is left out while the mode is on.
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import Request

from atlas.errors import ConfigError
from atlas.records import Trajectory
from atlas.viewing.web.context import AppContext
from atlas.viewing.web.labels.edits import Edit, Labeling
from atlas.viewing.web.pages.label_forms import annotator_of
from atlas.viewing.web.query import FILTERS_BY_CHOICE, SORT_BY_CHOICE, Query


def hides_choices(context: AppContext, request: Request, trajectory: Trajectory) -> bool:
    """Whether this person may not see yet what others say about a trajectory."""
    if not context.config.blind:
        return False
    annotator = annotator_of(request, context)
    return not context.labels.labeling(annotator, trajectory).is_finished


def shown_labels(context: AppContext, request: Request) -> Callable[[Labeling | Edit], bool]:
    """Which labels this person may see: all, or in blind mode as `hides_choices`, and their own."""
    if not context.config.blind:
        return lambda _: True
    annotator = annotator_of(request, context)
    finished = {
        one.digest
        for one in context.labels.labelings()
        if one.is_finished and one.annotator == annotator
    }
    return lambda one: one.annotator == annotator or one.digest in finished


def query_of(context: AppContext, request: Request) -> Query:
    """The query of an address.

    Raises:
        ConfigError: a value cannot be used, or would show in blind mode what selectors chose.
    """
    query = Query.from_params(request.query_params)
    if context.config.blind:
        given = [name for name in FILTERS_BY_CHOICE if getattr(query, name)]
        if query.sort.removeprefix("-") == SORT_BY_CHOICE:
            given.append("sort")
        if given:
            raise ConfigError(
                f"{given[0]}: hidden in blind mode, because it shows what selectors chose. Remove "
                "it from the address, or start the viewer without blind=true."
            )
    return query
