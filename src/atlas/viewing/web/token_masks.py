"""The loss masks of a trajectory in a file: `trajectory + selections + renderer -> masks`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from atlas.errors import AtlasError
from atlas.records import Selection, Trajectory
from atlas.rendering.renderer import Renderer
from atlas.viewing.token_view import TokenView, describe_tokens
from atlas.viewing.web.pages.token_page import TokenPage, lay_out_tokens
from atlas.viewing.web.rows import NamedSelection


@dataclass(frozen=True, slots=True)
class TokenMask:
    """All tokens under one selection; `view` and `page` are None if there is a `problem`."""

    name: str
    view: TokenView | None = None
    page: TokenPage | None = None
    problem: str = ""


def describe_masks(
    trajectory: Trajectory, selections: Sequence[NamedSelection], renderer: Renderer
) -> Iterator[TokenMask]:
    """The mask of each selection, or that of all steps if there is none."""
    named: list[tuple[str, Selection | None]] = [(one.name, one.selection) for one in selections]
    for name, selection in named or [("all steps", None)]:
        try:
            view = describe_tokens(trajectory, selection, renderer)
        except AtlasError as error:
            # The other trajectories of the file still have their masks.
            yield TokenMask(name, problem=str(error))
        else:
            yield TokenMask(name, view, lay_out_tokens(view, renderer.tokenizer, None))
