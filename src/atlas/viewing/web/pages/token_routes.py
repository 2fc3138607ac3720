"""The route of the tokens of a trajectory: under any tokenizer, with losses if they are asked for.

Tokenizers and models are loaded in a thread, so a page first says what is being done.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from atlas.errors import ConfigError
from atlas.records import Trajectory
from atlas.rendering.measured_tokens import Meter
from atlas.rendering.renderer import Renderer
from atlas.viewing.token_view import TokenView, describe_tokens
from atlas.viewing.web.background import Background, Waiting
from atlas.viewing.web.context import AppContext
from atlas.viewing.web.library import NotFound
from atlas.viewing.web.pages.hidden_choices import hides_choices
from atlas.viewing.web.pages.token_page import STATES, lay_out_tokens
from atlas.viewing.web.query import Query
from atlas.viewing.web.render import link
from atlas.viewing.web.rows import NamedSelection
from atlas.viewing.web.tokenizer_choice import OfferedModel, choose_model, offered_models


@dataclass(frozen=True, slots=True)
class AskedTokens:
    """The parameters of the address."""

    source: str
    id: str
    selection: str = ""
    tokenizer: str = ""
    max_tokens: int | None = None
    loss: bool = False
    objective: str = ""
    page: int = 1
    # The list that the trajectory was opened from.
    query: Query = field(default_factory=Query)

    @property
    def needs_model(self) -> bool:
        return self.loss or bool(self.objective)

    def url(self, **changes: Any) -> str:
        """The address after some changes, without what is not given."""
        asked = replace(self, **{"page": 1, **changes})
        return link(
            "/tokens",
            source=asked.source,
            id=asked.id,
            selection=asked.selection or None,
            tokenizer=asked.tokenizer or None,
            max_tokens=asked.max_tokens,
            loss="1" if asked.loss else None,
            objective=asked.objective or None,
            page=asked.page if asked.page > 1 else None,
            list=asked.query.as_url() or None,
        )


class TokenWork:
    """Loads tokenizers and models, the last of each kept, and describes tokens in a thread."""

    def __init__(self, context: AppContext) -> None:
        self._meters = context.meters
        self._background: Background[tuple[TokenView, Renderer]] = Background()
        self._renderer: tuple[str, Renderer] | None = None
        self._meter: tuple[tuple[str, str], Meter] | None = None

    def ask(
        self,
        asked: AskedTokens,
        trajectory: Trajectory,
        named: NamedSelection | None,
        model: OfferedModel,
    ) -> tuple[TokenView, Renderer] | Waiting:
        """The description, or how long it waits."""

        def work() -> tuple[TokenView, Renderer]:
            renderer = self._load_renderer(model)
            meter = self._load_meter(model, asked.objective) if asked.needs_model else None
            selection = None if named is None else named.selection
            view = describe_tokens(trajectory, selection, renderer, asked.max_tokens, meter)
            return view, renderer

        chosen = None if named is None else named.selection.indices
        key = (replace(asked, page=1, tokenizer=model.location), len(trajectory.steps), chosen)
        return self._background.ask(key, work)

    def _load_renderer(self, model: OfferedModel) -> Renderer:
        from atlas.models.local.load import load_renderer_named

        if self._renderer is None or self._renderer[0] != model.location:
            loaded = load_renderer_named(model.location)
            assert loaded is not None
            self._renderer = (model.location, loaded)
        return self._renderer[1]

    def _load_meter(self, model: OfferedModel, objective: str) -> Meter:
        name = (model.location, objective)
        if self._meter is None or self._meter[0] != name:
            # The memory of the last one is free before the next one is loaded.
            self._meter = None
            self._meter = (name, self._meters.load(*name))
        return self._meter[1]


def token_routes(context: AppContext) -> APIRouter:
    """The route `/tokens`."""
    router = APIRouter()
    working = TokenWork(context)

    def tokens(
        request: Request,
        source: str,
        id: str,
        selection: str = "",
        tokenizer: str = "",
        max_tokens: str = "",
        loss: str = "",
        objective: str = "",
        page: str = "",
        list: str = "",
    ) -> HTMLResponse:
        limit, number = _number("max_tokens", max_tokens), _number("page", page)
        if objective and objective not in context.meters.objectives:
            raise ConfigError(
                f"objective='{objective}', expected one of: "
                f"{', '.join(context.meters.objectives) or 'none'}. Correct the address."
            )
        asked = AskedTokens(
            source,
            id,
            selection,
            tokenizer.strip(),
            limit,
            loss == "1",
            objective,
            number or 1,
            Query.from_url(list),
        )
        trajectory = context.library.trajectory(source, id)
        is_blind = hides_choices(context, request, trajectory)
        selections = () if is_blind else context.library.selections(source, id)
        named = _named(selections, selection)
        offered = offered_models(context)
        if not asked.tokenizer and offered:
            asked = replace(asked, tokenizer=offered[0].name)
        model = found = None
        if asked.tokenizer:
            model = choose_model(
                context, asked.tokenizer, request.headers, is_expensive=asked.needs_model
            )
            found = working.ask(asked, trajectory, named, model)
        values: dict[str, Any] = {"view": None, "tokens": None, "waiting": None}
        if isinstance(found, Waiting):
            values["waiting"] = found
        elif found is not None:
            view, renderer = found
            values |= {
                "view": view,
                "tokens": lay_out_tokens(view, renderer.tokenizer, asked.page),
            }
        return context.render(
            "tokens.html.j2",
            asked=asked,
            trajectory=trajectory,
            selections=selections,
            is_blind=is_blind,
            named=named,
            offered=offered,
            model=model,
            objectives=context.meters.objectives,
            states=STATES,
            trajectory_url=link("/trajectory", source=source, id=id, **asked.query.params),
            **values,
        )

    router.add_api_route("/tokens", tokens, response_class=HTMLResponse)
    return router


def _named(selections: tuple[NamedSelection, ...], key: str) -> NamedSelection | None:
    """The selection of an address: a key, `all` for all steps, or the first one there is.

    Raises:
        NotFound: the trajectory has no selection of this run.
    """
    if key == "all" or not selections:
        return None
    if not key:
        return selections[0]
    for one in selections:
        if key in (one.source, one.name):
            return one
    known = ", ".join(one.source for one in selections)
    raise NotFound(f"no selection '{key}' of this trajectory, expected one of: all, {known}.")


def _number(name: str, value: str) -> int | None:
    if not value.strip():
        return None
    digits = value.strip().lstrip("0")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise ConfigError(f"{name}='{value}', expected a number from 1. Correct it.")
    return int(digits)
