"""The routes of two runs side by side: tasks that flipped, and two episodes on one task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from atlas.records import Trajectory
from atlas.viewing.web.context import AppContext
from atlas.viewing.web.library import Library, NotFound
from atlas.viewing.web.pages.compare_page import DIFFERENCES, align_episodes
from atlas.viewing.web.pages.flips_page import TaskPair, find_flips
from atlas.viewing.web.pages.hidden_choices import hides_choices
from atlas.viewing.web.render import link
from atlas.viewing.web.rows import Row
from atlas.viewing.web.sources import ShownRun

# Pairs of runs that are tried for a task in common.
MAX_TRIED = 50
TASKS_PER_PAGE = 200


@dataclass(frozen=True, slots=True)
class EpisodeChoice:
    """One of the episodes that may stand on a side."""

    row: Row
    url: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class ComparedSide:
    """The head of a column.

    `critical` has the names of the selections that chose a step, by its index.
    """

    source: ShownRun
    trajectory: Trajectory
    url: str
    choices: tuple[EpisodeChoice, ...]
    critical: dict[int, tuple[str, ...]]


def compare_routes(context: AppContext) -> APIRouter:
    """The routes `/compare` and `/flips`."""
    router = APIRouter()

    def compare(
        request: Request,
        left: str,
        right: str,
        task: str = "",
        left_id: str = "",
        right_id: str = "",
        environment: str | None = None,
    ) -> Response:
        if not task:
            return RedirectResponse(link("/flips", left=left, right=right), status_code=303)
        rows, others = (_episodes(context, key, task, environment) for key in (left, right))
        one = _choose(rows, left_id)
        # Within one run, an episode stands beside another one.
        other = _choose(
            [row for row in others if row is not one and row != one] or others, right_id
        )

        def address(left_row: Row, right_row: Row) -> str:
            ids = {"left_id": left_row.id, "right_id": right_row.id}
            of = {"task": task, "environment": environment}
            return link("/compare", left=left, right=right, **of, **ids)

        of_left = [EpisodeChoice(row, address(row, other), row == one) for row in rows]
        of_right = [EpisodeChoice(row, address(one, row), row == other) for row in others]
        sides = _side(context, request, one, of_left), _side(context, request, other, of_right)
        return context.render(
            "compare.html.j2",
            left=sides[0],
            right=sides[1],
            task=task,
            names=DIFFERENCES,
            alignment=align_episodes(sides[0].trajectory, sides[1].trajectory),
            flips_url=link("/flips", left=left, right=right),
            swapped_url=link(
                "/compare",
                left=right,
                right=left,
                task=task,
                environment=environment,
                left_id=other.id,
                right_id=one.id,
            ),
        )

    def flips(left: str = "", right: str = "", page: int = 1) -> HTMLResponse:
        runs = context.library.of_kind("trajectories")
        if not (left and right):
            left, right = _choose_runs(context.library, runs, left, right)
        found = find_flips(context.library.episodes(left), context.library.episodes(right))
        listed = (*found.flipped, *found.shifted)
        num_pages = max(1, -(-len(listed) // TASKS_PER_PAGE))
        page = min(max(1, page), num_pages)
        start = (page - 1) * TASKS_PER_PAGE

        def at(number: int) -> str | None:
            is_there = 1 <= number <= num_pages
            return link("/flips", left=left, right=right, page=number) if is_there else None

        return context.render(
            "flips.html.j2",
            runs=runs,
            left=context.library.source(left),
            right=context.library.source(right),
            flips=found,
            listed=listed[start : start + TASKS_PER_PAGE],
            address=lambda pair: _address(pair, left, right),
            page=page,
            num_pages=num_pages,
            previous=at(page - 1),
            next=at(page + 1),
        )

    router.add_api_route("/compare", compare, response_class=HTMLResponse)
    router.add_api_route("/flips", flips, response_class=HTMLResponse)
    return router


def _choose_runs(
    library: Library, runs: Sequence[ShownRun], left: str, right: str
) -> tuple[str, str]:
    """The first two runs that have a task in common, evaluations before others."""
    keys = [run.key for run in sorted(runs, key=lambda run: run.command != "evaluate")]
    pairs = [
        (one, other)
        for one in ([left] if left else keys)
        for other in ([right] if right else keys)
        if one != other
    ]
    common = (pair for pair in pairs[:MAX_TRIED] if library.have_a_task_in_common(*pair))
    return next(common, pairs[0] if pairs else (keys[0], keys[0]))


def _address(pair: TaskPair, left: str, right: str) -> str:
    """The two episodes that show the change best: a success beside a failure, if there is one."""
    one, other = pair.left.episodes[0], pair.right.episodes[0]
    if pair.gain:
        won, lost = (pair.right, pair.left) if pair.gain > 0 else (pair.left, pair.right)
        success = next((row for row in won.episodes if row.outcome == "success"), won.episodes[0])
        failure = next((row for row in lost.episodes if row.outcome != "success"), lost.episodes[0])
        one, other = (failure, success) if pair.gain > 0 else (success, failure)
    ids = {"left_id": one.id, "right_id": other.id}
    of = {"task": pair.task_id, "environment": pair.environment}
    return link("/compare", left=left, right=right, **of, **ids)


def _episodes(context: AppContext, key: str, task: str, environment: str | None) -> list[Row]:
    """The readable episodes of a run on a task, in one environment if it is given.

    Raises:
        NotFound: it has none.
    """
    rows = [
        row
        for row in context.library.episodes(key, task)
        if row.id and environment in (None, row.environment)
    ]
    if not rows:
        title = context.library.source(key).title
        raise NotFound(f"{title} has no episode on task '{task}'. Open the list of tasks.")
    return rows


def _choose(rows: Sequence[Row], wanted: str) -> Row:
    return next((row for row in rows if row.id == wanted), rows[0])


def _side(
    context: AppContext, request: Request, row: Row, choices: Sequence[EpisodeChoice]
) -> ComparedSide:
    trajectory = context.library.trajectory(row.source, row.id)
    critical: dict[int, tuple[str, ...]] = {}
    if not hides_choices(context, request, trajectory):
        for named in context.library.selections(row.source, row.id):
            for index in named.selection.indices:
                critical[index] = (*critical.get(index, ()), named.name)
    return ComparedSide(
        context.library.source(row.source),
        trajectory,
        link("/trajectory", source=row.source, id=row.id),
        tuple(choices),
        critical,
    )
