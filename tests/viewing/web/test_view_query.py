"""Queries: their URLs, and what they find compared with a plain reading of the records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import ConfigError
from atlas.records import CRITICAL_KINDS
from atlas.viewing.web.library import Library
from atlas.viewing.web.query import KINDS, OUTCOMES, SORTS, Query
from atlas.viewing.web.rows import Row
from tests.viewing.web.view_runs import make_episode, open_library, write_run, write_selection

STATUSES = ("success", "failure", "truncated", "unknown")
ONE = {f"e{number}": [0] if number % 2 else [] for number in range(40)}
TWO = {f"e{number}": [0] if number % 3 else [1] for number in range(30)}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    folder = tmp_path_factory.mktemp("query")
    run = write_run(
        folder / "run",
        [
            make_episode(
                f"e{number}",
                task=f"world/{number % 10}",
                outcome=STATUSES[number % 4],  # type: ignore[arg-type]
                num_steps=2 + number % 3,
                group=f"g{number % 2}",
                words="blue door" if number % 5 == 0 else "red door",
                score=None if number % 7 == 0 else number % 4 / 4,
            )
            for number in range(40)
        ],
    )
    arms = [
        write_run(
            folder / f"arm{arm}",
            [
                make_episode(f"a{number}", outcome="success" if number % (arm + 2) else "failure")
                for number in range(12)
            ],
            "evaluate",
        )
        for arm in range(2)
    ]
    one = write_selection(folder / "one", run, ONE, "plan_creation", num_steps=2)
    two = write_selection(folder / "two", run, TWO, "self_correction", num_steps=2)
    with_all = open_library(folder, run, one, two, *arms)
    yield with_all
    with_all.close()


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12).map(str.strip)
ANY_QUERY = st.builds(
    Query,
    text=TEXTS,
    run=TEXTS,
    task=TEXTS,
    environment=TEXTS,
    group=TEXTS,
    outcome=st.sampled_from(("", *OUTCOMES)),
    selector=TEXTS,
    kind=st.sampled_from(("", *KINDS)),
    disagreement=st.booleans(),
    problem=st.booleans(),
    flipped=st.sampled_from(("", "any", "a:b")),
    sort=st.sampled_from([sign + name for name in SORTS for sign in ("", "-")]),
    page=st.integers(1, 10_000_000),
    size=st.integers(1, 500),
)


@given(ANY_QUERY)
def test_a_query_comes_back_from_its_url(query: Query) -> None:
    assert Query.from_url(query.as_url()) == query


@given(st.dictionaries(st.sampled_from([*Query().__slots__, "q", "source", "id"]), st.text()))
def test_any_parameters_give_a_query_or_a_reason(params: dict[str, str]) -> None:
    with suppress(ConfigError):
        assert isinstance(Query.from_params(params), Query)


def test_no_parameters_are_the_whole_list() -> None:
    assert Query.from_params({"q": "", "source": "run", "id": "x"}) == Query()
    assert Query().as_url() == ""
    assert not Query(page=3, sort="id").is_filtered
    assert Query(text="a").is_filtered


@given(ANY_QUERY)
def test_any_query_finds_rows_or_none(library: Library, query: Query) -> None:
    page = library.find(query)
    assert len(page.rows) <= min(query.size, page.total)


KNOWN_QUERY = st.builds(
    Query,
    text=st.sampled_from(("", "blue", "DOOR", "blu doo", '"door 1"', '"door blue"', "e3", "***")),
    run=st.sampled_from(("", "run", "arm0", "none")),
    task=st.sampled_from(("", "world/1", "world/", "orld")),
    environment=st.sampled_from(("", "world", "other")),
    group=st.sampled_from(("", "g0", "easy")),
    outcome=st.sampled_from(("", *STATUSES)),
    selector=st.sampled_from(("", "one", "two", "none")),
    kind=st.sampled_from(("", *CRITICAL_KINDS)),
    disagreement=st.booleans(),
    flipped=st.sampled_from(("", "any", "arm0:arm1", "arm1:arm0", "arm0:run")),
    sort=st.sampled_from([sign + name for name in SORTS for sign in ("", "-")]),
    size=st.just(500),
)


def fits(row: Row, query: Query) -> bool:
    number = int(row.id[1:])
    is_in_run = row.source == "run"
    kinds = {
        "one": "plan_creation" if is_in_run and ONE.get(row.id) else "",
        "two": "self_correction" if is_in_run and TWO.get(row.id) else "",
    }
    told = ("blue door" if number % 5 == 0 else "red door") if is_in_run else "i look around."
    found = {
        "": True,
        "blue": "blue" in told,
        "DOOR": "door" in told,
        "blu doo": "blue" in told,
        '"door 1"': "door" in told,
        '"door blue"': False,
        "e3": row.id.startswith("e3"),
        "***": False,
    }
    flips = (number % 2 == 0) != (number % 3 == 0) and not is_in_run
    selectors = [query.selector] if query.selector else ["one", "two"]
    chosen = [kinds.get(name, "") for name in selectors]
    return (
        found[query.text]
        and query.run in ("", row.source)
        and row.task_id.startswith(query.task)
        and query.environment in ("", row.environment)
        and query.group in ("", row.group)
        and query.outcome in ("", row.outcome)
        and (not query.selector or any(chosen))
        and (not query.kind or query.kind in chosen)
        and (not query.disagreement or (is_in_run and number < 30 and ONE[row.id] != TWO[row.id]))
        and (not query.flipped or (flips and query.flipped != "arm0:run"))
    )


@given(KNOWN_QUERY)
def test_a_query_finds_what_a_plain_reading_finds(library: Library, query: Query) -> None:
    every = library.find(Query(size=500)).rows
    found = library.find(query)
    assert {(row.source, row.id) for row in found.rows} == {
        (row.source, row.id) for row in every if fits(row, query)
    }
    assert found.total == len(found.rows)
    values = {
        "order": [row.number for row in found.rows],
        "id": [row.id for row in found.rows],
        "task": [row.task_id for row in found.rows],
        "outcome": [row.outcome for row in found.rows],
        "score": [-1.0 if row.score is None else row.score for row in found.rows],
        "steps": [row.num_steps for row in found.rows],
        "selected": [max(row.num_critical.values(), default=0) for row in found.rows],
    }[query.sort.removeprefix("-")]
    assert values == sorted(values, reverse=query.sort.startswith("-"))


@given(KNOWN_QUERY, st.integers(1, 7))
def test_pages_and_neighbors_follow_the_list(library: Library, query: Query, size: int) -> None:
    rows = library.find(query).rows
    pages = [
        row
        for page in range(1, len(rows) // size + 2)
        for row in library.find(Query(**{**as_dict(query), "page": page, "size": size})).rows
    ]
    assert tuple(pages) == rows
    for place in {0, len(rows) // 2, len(rows) - 1} if rows else ():
        row = rows[place]
        before, after = library.neighbors(query, row.source, row.id)
        assert before == (rows[place - 1] if place else None)
        assert after == (rows[place + 1] if place + 1 < len(rows) else None)


def as_dict(query: Query) -> dict[str, object]:
    return {name: getattr(query, name) for name in query.__slots__}


def test_neighbors_leave_out_what_has_no_page(tmp_path: Path) -> None:
    names = ("a", "", "b", "a", "b", "c")
    run = write_run(tmp_path / "run", [make_episode(name, task="t") for name in names])
    library = open_library(tmp_path, run)
    seen, row = [], library.find(Query()).rows[0]
    while row is not None and len(seen) < 9:
        seen.append(row.id)
        before, after = library.neighbors(Query(), row.source, row.id)
        assert (before.id if before else None) == (seen[-2] if len(seen) > 1 else None)
        row = after
    assert seen == ["a", "b", "c"]


def test_episodes_on_one_task_and_arms_with_a_task_in_common(library: Library) -> None:
    same = library.same_task("arm0", "a3")
    assert [(row.source, row.id) for row in same] == [("arm1", "a3")]
    assert library.have_a_task_in_common("arm0", "arm1")
    assert not library.have_a_task_in_common("arm0", "run")


def test_selections_stand_beside_a_trajectory(library: Library) -> None:
    names = [named.name for named in library.selections("run", "e1")]
    assert names == ["one", "two"]
    assert library.selections("run", "e35")[-1].name == "one"
    assert library.selections("arm0", "a1") == ()
    assert library.row("run", "e1").num_critical == {"one": 1, "two": 1}
