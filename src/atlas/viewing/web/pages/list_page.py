"""The list: `page of rows + query -> view`. Filters are a form, so it works without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from atlas.records import Problem
from atlas.viewing.web.marks import ARMS
from atlas.viewing.web.query import ANY, FILTERS_BY_CHOICE, SORT_BY_CHOICE, SORTS, Query
from atlas.viewing.web.render import link
from atlas.viewing.web.rows import Facet, FoundPage, Row
from atlas.viewing.web.sources import ShownRun

SORT_NAMES = {
    "order": "order of the runs",
    "id": "id",
    "task": "task",
    "outcome": "outcome",
    "score": "score",
    "steps": "number of steps",
    "selected": "number of critical steps",
}
FIELD_NAMES = {
    "run": "Run",
    "environment": "Environment",
    "group": "Group",
    "outcome": "Outcome",
    "selector": "Selected by",
    "kind": "Kind of step",
}
FLAG_NAMES = {"disagreement": "selections differ", "problem": "has a problem"}
# Arms of which all pairs are offered; more would make a long list.
MAX_ARMS = 8


@dataclass(frozen=True, slots=True)
class FilterChoice:
    """An option of a field. The empty value turns the filter off."""

    value: str
    title: str
    is_chosen: bool = False


@dataclass(frozen=True, slots=True)
class FilterField:
    """A filter with its choices."""

    name: str
    title: str
    choices: tuple[FilterChoice, ...]


@dataclass(frozen=True, slots=True)
class Flag:
    """A filter that is on or off, with the number of trajectories that it keeps."""

    name: str
    title: str
    count: int
    is_on: bool


@dataclass(frozen=True, slots=True)
class ListedRow:
    """A row with its address; None where the trajectory cannot be opened."""

    row: Row
    address: str | None
    run: str
    score: str
    selected: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Pager:
    """Where the page lies among all; an address is None where no such page exists."""

    first: int
    last: int
    page: int
    num_pages: int
    previous: str | None
    next: str | None


@dataclass(frozen=True, slots=True)
class ListView:
    """Everything that the list shows."""

    query: Query
    total: int
    rows: tuple[ListedRow, ...]
    fields: tuple[FilterField, ...]
    flags: tuple[Flag, ...]
    pager: Pager
    problems: tuple[Problem, ...]
    growing: tuple[str, ...]
    shows_runs: bool
    shows_choices: bool = True


def describe_list(
    page: FoundPage,
    query: Query,
    sources: Sequence[ShownRun],
    problems: Sequence[Problem] = (),
    *,
    is_blind: bool = False,
) -> ListView:
    """The view of one page of the list.

    Args:
        is_blind: leave out what depends on the choices of selectors.
    """
    hidden = FILTERS_BY_CHOICE if is_blind else ()
    selections = tuple(source.key for source in sources if source.kind == "selection")
    rows = [_without_choices(row, selections) if is_blind else row for row in page.rows]
    runs = [source for source in sources if source.kind == "trajectories"]
    fields = [
        _field(name, title, page.facets.get(name, ()), getattr(query, name))
        for name, title in FIELD_NAMES.items()
        if name not in hidden
    ]
    # A filter with one value filters nothing.
    offered = [one for one in fields if len(one.choices) > 2 or getattr(query, one.name)]
    if flips := _flips(runs, page, query):
        offered.append(flips)
    return ListView(
        query=query,
        total=page.total,
        rows=tuple(_listed(row, query) for row in rows),
        fields=(*offered, FilterField("sort", "Sorted by", _sorts(query, is_blind))),
        flags=tuple(
            Flag(name, title, _count(page, name), getattr(query, name))
            for name, title in FLAG_NAMES.items()
            if name not in hidden
        ),
        pager=_pager(page, query),
        problems=tuple(problems),
        growing=tuple(source.title for source in sources if source.is_partial),
        shows_runs=len(runs) > 1,
        shows_choices=not is_blind,
    )


def _without_choices(row: Row, selections: Sequence[str]) -> Row:
    """A row that says nothing about selections, whose problems begin with their keys."""
    is_of_selection = (row.problem or "").startswith(tuple(f"{key}: " for key in selections))
    problem = None if is_of_selection else row.problem
    return replace(row, num_critical={}, kinds=(), disagrees=False, problem=problem)


def _listed(row: Row, query: Query) -> ListedRow:
    address = None
    if row.id:
        address = link("/trajectory", source=row.source, id=row.id, **query.params)
    return ListedRow(
        row=row,
        address=address,
        run=row.source,
        score="" if row.score is None else f"{row.score:.3g}",
        selected=tuple(row.num_critical.items()),
    )


def _field(name: str, title: str, facets: Sequence[Facet], chosen: str) -> FilterField:
    choices = [FilterChoice(one.value, f"{one.title} ({one.count:,})") for one in facets]
    return FilterField(name, title, _with_chosen(choices, chosen))


def _with_chosen(choices: Sequence[FilterChoice], chosen: str) -> tuple[FilterChoice, ...]:
    """The choices after "any", with the chosen one marked; it may be none of those offered."""
    offered = [FilterChoice("", "any", not chosen), *choices]
    if chosen and all(one.value != chosen for one in choices):
        offered.append(FilterChoice(chosen, chosen))
    return tuple(FilterChoice(one.value, one.title, one.value == chosen) for one in offered)


def _flips(runs: Sequence[ShownRun], page: FoundPage, query: Query) -> FilterField | None:
    """Between which arms the outcome of a task should differ; None with fewer than two arms."""
    arms = [source for source in runs if source.command in ARMS]
    if len(arms) < 2:
        return None
    choices = [FilterChoice(ANY, f"between any two runs ({_count(page, 'flipped'):,})")]
    if len(arms) <= MAX_ARMS:
        choices += [
            FilterChoice(f"{left.key}:{right.key}", f"{left.key} and {right.key}")
            for left, right in combinations(arms, 2)
        ]
    return FilterField("flipped", "Outcome flipped", _with_chosen(choices, query.flipped))


def _sorts(query: Query, is_blind: bool) -> tuple[FilterChoice, ...]:
    return tuple(
        FilterChoice(f"{sign}{name}", f"{SORT_NAMES[name]}{ending}", query.sort == f"{sign}{name}")
        for name in SORTS
        if not (is_blind and name == SORT_BY_CHOICE)
        for sign, ending in (("", ""), ("-", ", descending"))
    )


def _count(page: FoundPage, name: str) -> int:
    return sum(facet.count for facet in page.facets.get(name, ()))


def _pager(page: FoundPage, query: Query) -> Pager:
    num_pages = max(1, -(-page.total // query.size))
    before = (query.page - 1) * query.size
    return Pager(
        first=before + 1 if page.rows else 0,
        last=before + len(page.rows),
        page=query.page,
        num_pages=num_pages,
        previous=_address(query, min(query.page - 1, num_pages)) if query.page > 1 else None,
        next=_address(query, query.page + 1) if query.page < num_pages else None,
    )


def _address(query: Query, page: int) -> str:
    parameters = query.as_url(page=page)
    return f"/?{parameters}" if parameters else "/"
