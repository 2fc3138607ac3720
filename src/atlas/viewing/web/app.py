"""The web application: `library + labels + settings -> ASGI application`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.errors import AtlasError, first_line
from atlas.viewing.web.context import AppContext
from atlas.viewing.web.library import Library, NotFound
from atlas.viewing.web.meters import PLAIN_METERS, Meters
from atlas.viewing.web.render import make_render
from atlas.viewing.web.security import Access, RequestGuard

if TYPE_CHECKING:
    from fastapi import Request
    from fastapi.responses import HTMLResponse

    from atlas.viewing.web.config import ViewConfig
    from atlas.viewing.web.labels.people_selection import MakeSelection
    from atlas.viewing.web.labels.store import LabelStore

STATIC = Path(__file__).with_name("static")
# The functions that make the routes of a page, in `pages/NAME.py`.
ROUTES = (
    "list_routes",
    "trajectory_routes",
    "label_routes",
    "compare_routes",
    "token_routes",
    "calibrate_routes",
)


def make_app(
    library: Library,
    labels: LabelStore,
    config: ViewConfig,
    access: Access | None = None,
    make_selection: MakeSelection | None = None,
    meters: Meters = PLAIN_METERS,
) -> RequestGuard:
    """The viewer as an ASGI application, with its guard around it.

    Args:
        access: who may ask; by default browsers on this machine.
        make_selection: runs `annotated` on a file of labels.
        meters: what measures tokens under a model; by default losses only.
    """
    from fastapi import FastAPI
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException
    from starlette.staticfiles import StaticFiles

    # The pages of FastAPI's own documentation load scripts of other sites.
    app = FastAPI(title="atlas view", docs_url=None, redoc_url=None, openapi_url=None)
    render = make_render(library=library, config=config)
    context = AppContext(library, labels, config, render, make_selection, meters)
    for name in ROUTES:
        module = import_module(f"atlas.viewing.web.pages.{name}")
        app.include_router(getattr(module, name)(context))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    def page(request: Request, status: int, reason: str) -> HTMLResponse:
        return render("error.html.j2", status=status, code=status, reason=reason)

    def known(request: Request, error: Any) -> HTMLResponse:
        status = 404 if isinstance(error, NotFound) else 400
        return page(request, status, str(error))

    def invalid(request: Request, error: Any) -> HTMLResponse:
        first = error.errors()[0]
        name = first["loc"][-1]
        if first["type"] == "missing":
            reason = f"the address has no '{name}'. Choose from the list."
        else:
            reason = f"{name}: {first['msg']}. Correct the address."
        return page(request, 400, reason)

    def http(request: Request, error: Any) -> HTMLResponse:
        return page(request, error.status_code, str(error.detail))

    def unknown(request: Request, error: Any) -> HTMLResponse:
        reason = f"the viewer failed: {first_line(error)} ({type(error).__name__}). Load it again."
        return page(request, 500, reason)

    app.add_exception_handler(AtlasError, known)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    # uvicorn prints the traceback.
    app.add_exception_handler(Exception, unknown)
    # Around everything, so that answers to faults have the headers, too.
    return RequestGuard(app, access or Access())
