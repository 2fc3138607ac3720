"""Prints the tokens of a trajectory: supervised or not, silenced or not, counts, and warnings."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Column, Table

from atlas.records import Selection, Trajectory
from atlas.rendering.colored_tokens import color_tokens
from atlas.rendering.measured_tokens import Meter
from atlas.rendering.renderer import Renderer
from atlas.terminal.visible_text import print_text, print_whole
from atlas.viewing.token_view import TokenView, describe_tokens


def print_tokens(
    console: Console,
    trajectory: Trajectory,
    selection: Selection | None,
    renderer: Renderer,
    max_tokens: int | None,
    meter: Meter | None = None,
) -> None:
    """Print all examples of the trajectory, a table of counts, and warnings.

    Without a selection every step is supervised.
    """
    view = describe_tokens(trajectory, selection, renderer, max_tokens, meter)
    for number, viewed in enumerate(view.examples, start=1):
        console.print()
        steps = ", ".join(map(str, viewed.example.steps))
        num = len(view.examples)
        name = f" {number} of {num}, for step {steps}" if num > 1 else ""
        print_text(console, f"tokens of example{name} under {view.tokenizer}", "bold")
        tokens = color_tokens(
            renderer.tokenizer, viewed.example.token_ids, viewed.mask, viewed.silenced
        )
        console.print(tokens, soft_wrap=True)
    console.print()
    print_whole(console, _counts(view))
    for note in _notes(view):
        print_text(console, note)
    for warning in view.warnings:
        print_text(console, f"warning: {warning}", "bold red")


def _notes(view: TokenView) -> Iterator[str]:
    """Which tokens are not trained on, apart from those of other steps."""
    if view.num_not_run and view.num_supervised:
        yield f"not run: {view.num_not_run:,} tokens after the last supervised one"
    if view.num_cut:
        yield f"cut off: {view.num_cut:,} tokens beyond max_tokens"
    if (silenced := view.num_silenced) is not None:
        share = f" ({silenced / view.num_supervised:.1%})" if view.num_supervised else ""
        yield (
            f"silenced by the objective at the first step: {silenced:,} of "
            f"{view.num_supervised:,} supervised tokens{share}, between ⟪ and ⟫"
        )


def _counts(view: TokenView) -> Table:
    names = ["tokens", "supervised"]
    has_silenced = view.num_silenced is not None
    names += ["silenced"] if has_silenced else []
    names += ["loss"] if view.has_losses else []
    table = Table("step", *(Column(name, justify="right") for name in names), box=None)
    for step in view.steps:
        cells = [f"{step.num_tokens:,}", f"{step.num_supervised:,}"]
        cells += [f"{step.num_silenced:,}"] if has_silenced else []
        if view.has_losses:
            cells.append("" if step.mean_loss is None else f"{step.mean_loss:.3f}")
        table.add_row(str(step.step), *cells)
    cells = [f"{view.num_tokens:,}", f"{view.num_supervised:,}"]
    cells += [f"{view.num_silenced:,}"] if has_silenced else []
    table.add_row("all", *cells, *([""] if view.has_losses else []))
    return table
