"""The routes of the list."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from atlas.viewing.web.context import AppContext
from atlas.viewing.web.pages.list_page import describe_list
from atlas.viewing.web.query import Query


def list_routes(context: AppContext) -> APIRouter:
    """`GET /`: search, filters, and one page of rows."""
    router, library = APIRouter(), context.library

    @router.get("/", response_class=HTMLResponse)
    def show_list(request: Request) -> HTMLResponse:
        query = Query.from_params(request.query_params)
        page = library.find(query)
        view = describe_list(page, query, library.sources, library.problems)
        return context.render("list.html.j2", view=view)

    return router
