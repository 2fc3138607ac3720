"""The tokens of a trajectory as a trainer sees them: supervised or not, counts, and warnings."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from atlas.records import Selection, Trajectory
from atlas.rendering.colored_tokens import color_tokens
from atlas.rendering.loss_mask import loss_mask
from atlas.rendering.renderer import Renderer
from atlas.rendering.token_ownership import TokenizedExample


def print_tokens(
    console: Console,
    trajectory: Trajectory,
    selection: Selection | None,
    renderer: Renderer,
    max_tokens: int | None,
) -> None:
    """All examples of the trajectory, then a table of counts and the warnings.

    Without a selection every step is supervised.
    """
    chosen = selection.indices if selection else frozenset(range(len(trajectory.steps)))
    examples = renderer.tokenize_trajectory(trajectory, max_tokens, chosen)
    for number, example in enumerate(examples, start=1):
        console.print()
        name = (
            f" {number} of {len(examples)}, for step {', '.join(map(str, example.steps))}"
            if len(examples) > 1
            else ""
        )
        console.print(
            Text(f"tokens of example{name} under {renderer.name}", style="bold"), soft_wrap=True
        )
        console.print(
            color_tokens(renderer.tokenizer, example.token_ids, loss_mask(example, chosen)),
            soft_wrap=True,
        )
    console.print()
    console.print(_counts(trajectory, examples, chosen))
    for warning in warnings_of(renderer, examples, chosen):
        console.print(Text(f"warning: {warning}", style="bold red"), soft_wrap=True)


def warnings_of(
    renderer: Renderer, examples: list[TokenizedExample], chosen: frozenset[int]
) -> Iterator[str]:
    """What would make training on this trajectory useless, or less than it seems."""
    masks = [loss_mask(example, chosen) for example in examples]
    if not any(mask.any() for mask in masks):
        yield "no token is supervised, so this trajectory teaches nothing"
    if len(examples) > 1:
        yield (
            "the chat template rewrites history (for example, it strips earlier thinking): one "
            "example per critical step"
        )
    yield from renderer.notes
    for example in examples:
        if example.unwritten_thinking:
            steps = ", ".join(map(str, example.unwritten_thinking))
            yield f"the chat template does not write the thinking of steps {steps}"
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


def _counts(
    trajectory: Trajectory, examples: list[TokenizedExample], chosen: frozenset[int]
) -> Table:
    table = Table(
        "step", Column("tokens", justify="right"), Column("supervised", justify="right"), box=None
    )
    supervised = 0
    owned = (
        {
            step: max(int((example.step_of_token == step).sum()) for example in examples)
            for step in range(len(trajectory.steps))
        }
        if examples
        else {}
    )
    for step, count in owned.items():
        trained = sum(
            int(loss_mask(example, [step]).sum())
            for example in examples
            if step in example.steps and step in chosen
        )
        supervised += trained
        table.add_row(Text(str(step)), Text(f"{count:,}"), Text(f"{trained:,}"))
    total = sum(len(example.token_ids) for example in examples)
    table.add_row(Text("all"), Text(f"{total:,}"), Text(f"{supervised:,}"))
    return table
