"""The routes of one trajectory: its page, its Markdown, and its whole texts."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, PlainTextResponse

from atlas.errors import DataError
from atlas.records import Trajectory
from atlas.terminal.visible_text import one_line
from atlas.viewing.web.context import AppContext
from atlas.viewing.web.markdown_copy import markdown_copy
from atlas.viewing.web.pages.hidden_choices import hides_choices, query_of
from atlas.viewing.web.pages.label_routes import labeling_of
from atlas.viewing.web.pages.trajectory_page import describe_trajectory
from atlas.viewing.web.pages.trajectory_view import TrajectoryView
from atlas.viewing.web.pages.whole_texts import find_text
from atlas.viewing.web.query import Query
from atlas.viewing.web.render import link
from atlas.viewing.web.rows import NamedSelection, Row

MAX_SAME_TASK = 12
MAX_LINK = 60


@dataclass(frozen=True, slots=True)
class LinkView:
    """A link of a page."""

    url: str
    text: str


def trajectory_routes(context: AppContext) -> APIRouter:
    """The routes under `/trajectory`."""
    router = APIRouter()

    def show(request: Request, source: str, id: str) -> HTMLResponse:
        trajectory = context.library.trajectory(source, id)
        query = query_of(context, request)
        selections = context.library.selections(source, id)
        bar = labeling_of(context, request, source, trajectory)
        view = _describe(context, trajectory, selections, bar.is_hidden)
        before, after = context.library.neighbors(query, source, id)
        place = {"source": source, "id": id}
        return context.render(
            "trajectory.html.j2",
            view=view,
            trajectory=trajectory,
            source=source,
            trajectory_id=id,
            query=query,
            bar=bar,
            urls=lambda at: link("/trajectory/text", **place, at=at),
            list_url=link("/", **query.params),
            previous_url=_to(before, query),
            next_url=_to(after, query),
            markdown_url=link("/trajectory/markdown", **place),
            token_links=_token_links(
                {**place, "list": query.as_url() or None}, () if bar.is_hidden else selections
            ),
            same_task=_same_task(context, source, trajectory),
        )

    def markdown(request: Request, source: str, id: str) -> PlainTextResponse:
        trajectory = context.library.trajectory(source, id)
        selections = context.library.selections(source, id)
        is_blind = hides_choices(context, request, trajectory)
        view = _describe(context, trajectory, selections, is_blind)
        return PlainTextResponse(_encodable(markdown_copy(view)), headers=_NOT_KEPT)

    def text(source: str, id: str, at: str) -> PlainTextResponse:
        found = find_text(context.library.trajectory(source, id), at)
        if found is None:
            raise DataError(
                f"the trajectory has no text '{one_line(at, MAX_LINK)}'. Go back to it."
            )
        return PlainTextResponse(_encodable(found), headers=_NOT_KEPT)

    router.add_api_route("/trajectory", show, response_class=HTMLResponse)
    router.add_api_route("/trajectory/markdown", markdown, response_class=PlainTextResponse)
    router.add_api_route("/trajectory/text", text, response_class=PlainTextResponse)
    return router


_NOT_KEPT = {"cache-control": "no-store"}


def _describe(
    context: AppContext,
    trajectory: Trajectory,
    selections: tuple[NamedSelection, ...],
    is_blind: bool,
) -> TrajectoryView:
    if is_blind:
        return describe_trajectory(trajectory, is_blind=True)
    labelings = context.labels.labelings(trajectory)
    return describe_trajectory(
        trajectory,
        selections,
        [label for one in labelings for label in one.labels.values()],
        finished=[one.annotator for one in labelings if one.is_finished],
    )


def _to(row: Row | None, query: Query) -> str:
    """The address of a neighbor, with the query that the list had."""
    return "" if row is None else link("/trajectory", source=row.source, id=row.id, **query.params)


def _token_links(
    place: dict[str, str | None], selections: tuple[NamedSelection, ...]
) -> tuple[LinkView, ...]:
    if not selections:
        return (LinkView(link("/tokens", **place), "Tokens"),)
    return tuple(
        LinkView(
            link("/tokens", **place, selection=each.source),
            f"Tokens of {one_line(each.name, MAX_LINK)}" if len(selections) > 1 else "Tokens",
        )
        for each in selections[:4]
    )


def _same_task(context: AppContext, source: str, trajectory: Trajectory) -> tuple[LinkView, ...]:
    """Episodes of other runs on this task: a link to each, and to both side by side."""
    rows = context.library.same_task(source, trajectory.id)[:MAX_SAME_TASK]
    return tuple(
        LinkView(
            link("/trajectory", source=row.source, id=row.id)
            if row.source == source
            else link(
                "/compare",
                left=source,
                right=row.source,
                task=trajectory.task.id,
                environment=trajectory.task.environment,
                left_id=trajectory.id,
                right_id=row.id,
            ),
            f"{'another' if row.source == source else 'beside'} "
            f"{one_line(row.source, MAX_LINK)} ({row.outcome})",
        )
        for row in rows
        if row.id
    )


def _encodable(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot write, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
