"""What every page gets: `AppContext -> routes`.

`make_app` calls `trajectory_routes(context)`, `compare_routes(context)` and so on; each returns an
`APIRouter`. A route reads what it needs from the context and returns `context.render(...)`:

    def trajectory_routes(context: AppContext) -> APIRouter:
        router = APIRouter()

        @router.get("/trajectory", response_class=HTMLResponse)
        def show(source: str, id: str, request: Request) -> HTMLResponse:
            trajectory = context.library.trajectory(source, id)
            query = Query.from_params(request.query_params)
            return context.render("trajectory.html.j2", view=describe_trajectory(trajectory))

        return router

Routes are plain `def`: FastAPI runs them in threads, and the library is safe in threads. An
`AtlasError` that a route raises becomes a page with its message: 404 for `NotFound`, 400 for
others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from atlas.viewing.web.config import ViewConfig
from atlas.viewing.web.library import Library

if TYPE_CHECKING:
    from fastapi.responses import HTMLResponse

    from atlas.viewing.web.labels.people_selection import MakeSelection
    from atlas.viewing.web.labels.store import LabelStore


class Render(Protocol):
    """Renders a template of `templates/`; every template also sees `context` and `trail`.

    Filters: `visible` (text with control characters made visible; newlines stay), `line` (the same
    on one line). Functions: `link(path, **parameters)` (a URL with encoded parameters; parameters
    that are None are left out), `asset(name)` (the URL of a file in `static/`).
    """

    def __call__(self, template: str, /, *, status: int = 200, **values: Any) -> HTMLResponse: ...


@dataclass(frozen=True, slots=True)
class AppContext:
    """The runs, the labels of people, the settings, and the renderer of templates.

    `make_selection` writes a run of select from a file of labels; the command line hands it in.
    """

    library: Library
    labels: LabelStore
    config: ViewConfig
    render: Render
    make_selection: MakeSelection | None = None
