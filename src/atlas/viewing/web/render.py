"""Templates become pages: `template + views -> HTML`, with everything from records escaped."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from atlas.terminal.visible_text import one_line, visible

if TYPE_CHECKING:
    from fastapi.responses import HTMLResponse
    from jinja2 import Environment


def link(path: str, **parameters: object) -> str:
    """A URL on this server; parameters that are None are left out.

    >>> link("/trajectory", source="run", id="a/b c", page=None)
    '/trajectory?source=run&id=a%2Fb+c'
    """
    given = {name: str(value) for name, value in parameters.items() if value is not None}
    return path + (f"?{urlencode(given, errors='replace')}" if given else "")


def asset(name: str) -> str:
    """The URL of a file in `static/`."""
    return f"/static/{quote(name)}"


def make_environment() -> Environment:
    """The templates of the viewer. Text is escaped, and invisible characters are written out."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("atlas.viewing.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Markup is a subclass of str, and is already safe.
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    environment.filters.update(visible=visible, line=one_line)
    environment.globals.update(link=link, asset=asset)
    return environment


def make_render(**shared: Any) -> Callable[..., HTMLResponse]:
    """A function that renders a template with its values and the `shared` ones."""
    from fastapi.responses import HTMLResponse

    environment = make_environment()
    environment.globals.update(shared)

    def render(template: str, /, *, status: int = 200, **values: Any) -> HTMLResponse:
        text = environment.get_template(template).render(**values)
        return HTMLResponse(text, status, {"cache-control": "no-store"})

    return render
