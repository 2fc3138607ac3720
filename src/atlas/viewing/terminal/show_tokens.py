"""The tokens of a trajectory as a trainer sees them: supervised or not, counts, and warnings."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Column, Table

from atlas.records import Selection, Trajectory
from atlas.rendering.colored_tokens import color_tokens
from atlas.rendering.count_unwritten import advise, count_unwritten
from atlas.rendering.loss_mask import loss_mask
from atlas.rendering.renderer import Renderer
from atlas.rendering.token_ownership import NO_STEP, TokenizedExample
from atlas.rendering.unwritten import WORDS, name_parts
from atlas.terminal.visible_text import print_text, print_whole


def print_tokens(
    console: Console,
    trajectory: Trajectory,
    selection: Selection | None,
    renderer: Renderer,
    max_tokens: int | None,
) -> None:
    """Print all examples of the trajectory, a table of counts, and warnings.

    Without a selection every step is supervised.
    """
    chosen = selection.indices if selection else frozenset(range(len(trajectory.steps)))
    examples = renderer.tokenize_trajectory(trajectory, max_tokens, chosen)
    for number, example in enumerate(examples, start=1):
        console.print()
        steps = ", ".join(map(str, example.steps))
        name = f" {number} of {len(examples)}, for step {steps}" if len(examples) > 1 else ""
        print_text(console, f"tokens of example{name} under {renderer.name}", "bold")
        mask = loss_mask(example, chosen)
        tokens = color_tokens(renderer.tokenizer, example.token_ids, mask)
        console.print(tokens, soft_wrap=True)
    console.print()
    print_whole(console, _counts(trajectory, examples, chosen))
    for warning in _warnings(renderer, examples, chosen):
        print_text(console, f"warning: {warning}", "bold red")


def _warnings(
    renderer: Renderer, examples: list[TokenizedExample], chosen: frozenset[int]
) -> Iterator[str]:
    """Warnings about training on this trajectory, for example steps that do not fit."""
    if not any(loss_mask(example, chosen).any() for example in examples):
        yield "no token is supervised, so this trajectory teaches nothing"
    if len(examples) > 1:
        yield (
            "the chat template rewrites history (for example, it strips earlier thinking): one "
            "example per critical step"
        )
    yield from renderer.notes
    yield from _losses(renderer, examples, chosen)
    for example in examples:
        if example.dropped_steps:
            steps = ", ".join(map(str, example.dropped_steps))
            kept = f"{len(example.token_ids):,} tokens are kept"
            yield f"critical steps beyond the token limit, left out: {steps} ({kept})"
        for step in example.steps:
            owned = example.token_ids[loss_mask(example, [step])]
            if len(owned) and int(owned[-1]) not in renderer.stop_ids:
                yield (
                    f"step {step}: its end of turn is not supervised, so the model would not learn "
                    "to stop there"
                )


def _losses(
    renderer: Renderer, examples: list[TokenizedExample], chosen: frozenset[int]
) -> Iterator[str]:
    """What the template does not write, by part; and steps of which only the end of turn is."""
    lost = {step: parts for example in examples for step, parts in example.unwritten.items()}
    of_context = lost.pop(NO_STEP, ())
    template = "the chat template does not write"
    for part, word in WORDS.items():
        if found := sorted(step for step, parts in lost.items() if part in parts):
            yield f"{template} the {word} of steps {', '.join(map(str, found))}"
    if of_context:
        yield f"{template} the {name_parts(of_context)} of the context"
    unwritten = count_unwritten(examples, renderer, chosen)
    if unwritten.empty:
        steps = ", ".join(str(step) for _, step in unwritten.empty)
        yield f"only the end of turn is written of steps {steps}: training would stop here"
    if lost or of_context or unwritten.empty:
        yield advise(renderer, unwritten)


def _counts(
    trajectory: Trajectory, examples: list[TokenizedExample], chosen: frozenset[int]
) -> Table:
    columns = (Column(name, justify="right") for name in ("tokens", "supervised"))
    table = Table("step", *columns, box=None)
    supervised = 0
    for step in range(len(trajectory.steps) if examples else 0):
        owned = max(int((example.step_of_token == step).sum()) for example in examples)
        trained = sum(
            int(loss_mask(example, [step]).sum())
            for example in examples
            if step in example.steps and step in chosen
        )
        supervised += trained
        table.add_row(str(step), f"{owned:,}", f"{trained:,}")
    total = sum(len(example.token_ids) for example in examples)
    table.add_row("all", f"{total:,}", f"{supervised:,}")
    return table
