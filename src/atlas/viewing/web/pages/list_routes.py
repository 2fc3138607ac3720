"""The routes of the list."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from atlas.viewing.web.context import AppContext
from atlas.viewing.web.pages.hidden_choices import query_of
from atlas.viewing.web.pages.list_page import describe_list


def list_routes(context: AppContext) -> APIRouter:
    """`GET /`: search, filters, and one page of rows."""
    router, library = APIRouter(), context.library

    @router.get("/", response_class=HTMLResponse)
    def show_list(request: Request) -> HTMLResponse:
        query = query_of(context, request)
        page = library.find(query)
        view = describe_list(
            page, query, library.sources, library.problems, is_blind=context.config.blind
        )
        return context.render("list.html.j2", view=view)

    return router
