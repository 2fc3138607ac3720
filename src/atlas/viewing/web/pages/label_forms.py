"""What forms of labels and calibrations send, and who sends them."""

from __future__ import annotations

import hashlib
from urllib.parse import parse_qsl, quote, unquote, urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse

from atlas.errors import ConfigError
from atlas.viewing.web.context import AppContext

# The fields of a form by name.
Form = dict[str, str]
MAX_FIELDS = 50


async def read_form(request: Request) -> Form:
    """The fields of a form that a browser sends.

    Raises:
        ConfigError: the body is not that of a form.
    """
    try:
        text = (await request.body()).decode()
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise ConfigError(f"the form cannot be read ({error}). Send it from the page.") from None
    return dict(pairs)


def field(form: Form, name: str) -> str:
    """A field that must be there.

    Raises:
        ConfigError: it is missing.
    """
    if not (value := form.get(name, "").strip()):
        raise ConfigError(f"the form has no {name}. Fill it in, then send it again.")
    return value


def whole_number(form: Form, name: str) -> int:
    """A field that holds a whole number from 0 on.

    Raises:
        ConfigError: it is missing or something else.
    """
    value = field(form, name)
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise ConfigError(f"{name} is '{value:.40}', expected a whole number from 0 on.")
    return int(value)


def number(form: Form, name: str) -> float | None:
    """A field that holds a number, or nothing.

    Raises:
        ConfigError: it is something else.
    """
    value = form.get(name, "").strip()
    try:
        return float(value) if value else None
    except ValueError:
        raise ConfigError(f"{name} is '{value:.40}', expected a number.") from None


def annotator_cookie(context: AppContext) -> str:
    """The cookie in which a browser names its person, for these labels and this setting.

    A browser sends its cookies to all ports of a machine, and keeps them when the settings change:
    a name that was chosen for other labels, or in place of another annotator, does not count.
    """
    chosen_for = f"{context.labels.path.resolve()}\n{context.config.annotator}"
    digest = hashlib.sha256(chosen_for.encode("utf-8", "surrogateescape")).hexdigest()
    return f"atlas-view-annotator-{digest[:16]}"


def annotator_of(request: Request, context: AppContext) -> str:
    """Who labels in this browser: the name chosen there, or that of the settings."""
    chosen = unquote(request.cookies.get(annotator_cookie(context), "")).strip()
    return chosen or context.config.annotator


def remember_annotator(
    response: HTMLResponse | RedirectResponse, context: AppContext, name: str
) -> None:
    """Keep the name of the annotator in this browser."""
    response.set_cookie(
        annotator_cookie(context),
        quote(name, safe=""),
        httponly=True,
        samesite="strict",
        max_age=31_536_000,
    )


def see_other(path: str, anchor: str = "", **parameters: object) -> RedirectResponse:
    """The answer to a form that was sent without scripts: look at this page."""
    given = {name: str(value) for name, value in parameters.items() if value is not None}
    query = f"?{urlencode(given, errors='replace')}" if given else ""
    return RedirectResponse(f"{path}{query}{'#' if anchor else ''}{anchor}", status_code=303)


def is_htmx(request: Request) -> bool:
    """Whether a script asks for a part of the page."""
    return bool(request.headers.get("hx-request") == "true")
