"""Show: `trajectory (+ selection, + tokenizer) -> text in the terminal`, to look before training.

The output is also readable without colors: critical steps have a sign (▶), and supervised tokens
are between ⟦ and ⟧.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, repeat
from pathlib import Path

from pydantic import Field
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from atlas.config import Config
from atlas.errors import DataError
from atlas.records import CriticalStep, Message, Selection, Step, Trajectory
from atlas.rendering.chat_templates.stock import CHAT_TEMPLATE_HELP
from atlas.rendering.measured_tokens import Meter
from atlas.rendering.renderer import Renderer
from atlas.rendering.tool_schemas import TOOLS_HELP, read_tools, with_tools
from atlas.store.readers import (
    describe_limit,
    limits_of,
    read_selected,
    read_selections,
    read_trajectories,
)
from atlas.terminal.visible_text import one_line, print_text, print_whole, shortened, visible
from atlas.viewing.terminal.show_tokens import print_tokens

NUM_LISTED = 20


class ShowConfig(Config):
    """How the tokens of a trajectory are shown."""

    tokenizer: str | None = Field(
        default=None,
        description="whose tokens are shown: a hub id, a model folder, or a run folder of train",
    )
    max_tokens: int | None = Field(
        default=None, ge=1, description="cut the sequence at this many tokens, as training would"
    )
    chat_template: str | None = Field(default=None, description=CHAT_TEMPLATE_HELP)
    tools: str | None = Field(default=None, description=TOOLS_HELP)

    def needed_extras(self) -> tuple[str, ...]:
        return () if self.tokenizer is None else ("train",)


CRITICAL, PLAIN = "▶", " "


def show_trajectories(
    console: Console, run: Path, selection: Path | None = None, num: int = NUM_LISTED
) -> None:
    """A table of the first trajectories of a run, with the ids that `--trajectory` takes.

    Raises:
        RunError: an input is not a finished run of its kind, or the selection was made from another
            run.
    """
    pairs: Iterator[tuple[Trajectory, Selection | None]] = (
        read_selected(selection, run) if selection else zip(read_trajectories(run), repeat(None))
    )
    columns = ("trajectory", "task", Column("steps", justify="right"), "outcome")
    table = Table(*columns, *(["critical steps"] if selection else []), box=None)
    for trajectory, chosen in islice(pairs, num):
        table.add_row(
            Text(one_line(trajectory.id, 400)),
            Text(one_line(trajectory.task.id, 80)),
            Text(str(len(trajectory.steps))),
            Text(trajectory.outcome.status),
            *([Text(one_line(_indices(chosen), 80))] if chosen else []),
        )
    print_whole(console, table)
    for limited in limits_of(run, *([selection] if selection else [])):
        print_text(console, visible(limited))
    if left := sum(1 for _ in pairs):
        console.print(
            Text(f"… and {left:,} more. Show one with --trajectory and the beginning of its id.")
        )


def show_trajectory(
    console: Console,
    run: Path,
    id_prefix: str,
    selection: Path | None = None,
    renderer: Renderer | None = None,
    max_tokens: int | None = None,
    tools: str | None = None,
    meter: Meter | None = None,
    *,
    whole: bool = False,
) -> None:
    """One trajectory: header, prompt, and numbered steps with the critical ones highlighted.

    With a renderer, its tokens are shown too. Long texts are shortened, unless `whole`.

    Args:
        tools: a file of tool schemas, for a trajectory without any.
        meter: measures the tokens, if they are shown.

    Raises:
        DataError: no id begins with `id_prefix`, or several do.
        RunError: an input is not a finished run of its kind.
    """
    trajectory = find_trajectory(read_trajectories(run), id_prefix, run)
    trajectory = with_tools(trajectory, read_tools(tools))
    chosen = None
    if selection is not None:
        chosen = read_selections(selection, run).get(trajectory.id)
        if chosen is None:
            limited = describe_limit(selection) or f"{selection} does not hold it"
            raise DataError(f"trajectory '{trajectory.id}' was not selected from: {limited}.")
    print_trajectory(console, trajectory, chosen, whole=whole)
    if renderer is not None:
        print_tokens(console, trajectory, chosen, renderer, max_tokens, meter)


def find_trajectory(trajectories: Iterable[Trajectory], prefix: str, run: Path) -> Trajectory:
    """The trajectory of this id, or the one whose id begins with it.

    Raises:
        DataError: there is none, or several ids begin with it.
    """
    found: list[Trajectory] = []
    for trajectory in trajectories:
        if trajectory.id == prefix:
            return trajectory
        if trajectory.id.startswith(prefix) and len(found) < 4:
            found.append(trajectory)
    if not found:
        raise DataError(
            f"{run} has no trajectory '{prefix}'. Leave --trajectory out to see the ids."
        )
    if len(found) > 1:
        names = ", ".join([*(one.id for one in found[:3]), *["…"] * (len(found) > 3)])
        raise DataError(
            f"'{prefix}' is the beginning of several ids in {run}: {names}. Give more of it."
        )
    return found[0]


def print_trajectory(
    console: Console,
    trajectory: Trajectory,
    selection: Selection | None,
    *,
    whole: bool = False,
) -> None:
    """All steps of a trajectory without tokens. Long texts are shortened, unless `whole`."""
    for name, value in _header(trajectory, selection).items():
        if value:
            line = Text.assemble((f"{name:11}", "bold"), one_line(value, None if whole else 200))
            console.print(line, soft_wrap=True)
    if trajectory.prompt:
        console.print(Text("prompt", style="bold"))
    for message in trajectory.prompt:
        if whole:
            _print_observation(console, message, whole)
        else:
            print_text(console, f"  {message.role}: {one_line(message.content, 160)}", "dim")
    critical_steps = selection.critical_steps if selection else ()
    chosen = {step.index: step for step in critical_steps}
    for index, step in enumerate(trajectory.steps):
        print_step(console, index, step, chosen.get(index), whole=whole)
    for message in trajectory.final_observation:
        console.print()
        _print_observation(console, message, whole, before="at the end, ")


def print_step(
    console: Console,
    index: int,
    step: Step,
    critical: CriticalStep | None = None,
    *,
    whole: bool = False,
) -> None:
    """Print a step: the observation (only its beginning, unless `whole`) and the response."""
    console.print()
    _print_step_title(console, index, critical, step.reward)
    for message in step.observation:
        _print_observation(console, message, whole)
    style = "bold yellow" if critical else ""
    _print_block(console, "assistant", visible(_body(step.response)), style)


def _header(trajectory: Trajectory, selection: Selection | None) -> dict[str, str]:
    task, source, outcome = trajectory.task, trajectory.source, trajectory.outcome
    place = f", {source.path}" if source.path else ""
    if source.line is not None:
        place += f" line {source.line}"
    elif source.row is not None:
        place += f" row {source.row}"
    where = ", ".join(filter(None, (task.environment, task.group, task.split)))
    score = f", score {outcome.score:g}" if outcome.score is not None else ""
    tools = f", {len(trajectory.tools)} tools" if trajectory.tools else ""
    return {
        "trajectory": trajectory.id,
        "task": f"{task.id} ({where})",
        "goal": task.goal or "",
        "outcome": outcome.status + score + (f" ({outcome.reason})" if outcome.reason else ""),
        "source": source.name + place,
        "steps": f"{len(trajectory.steps)}{tools}",
        "selection": _choice(selection) if selection else "",
    }


def _choice(selection: Selection) -> str:
    problem = f"; {selection.problem}" if selection.problem else ""
    budget = f"at most {selection.budget} of {selection.num_steps} steps"
    return f"by {selection.selector}: critical steps {_indices(selection)} ({budget}){problem}"


def _indices(selection: Selection) -> str:
    return ", ".join(str(step.index) for step in selection.critical_steps) or "none"


def _print_step_title(
    console: Console, index: int, critical: CriticalStep | None, reward: float | None
) -> None:
    title = f"{CRITICAL if critical else PLAIN} step {index}"
    title += f"  reward {reward:g}" if reward is not None else ""
    if critical:
        title += f"  critical: {', '.join(critical.kinds).replace('_', ' ') or 'no kind given'}"
        title += f"  score {critical.score:g}" if critical.score is not None else ""
    print_text(console, title, "bold reverse yellow" if critical else "bold")
    if critical and critical.reason:
        print_text(console, f"    because: {one_line(critical.reason, 400)}", "yellow")


def _print_observation(console: Console, message: Message, whole: bool, before: str = "") -> None:
    """Print a message of the environment (only its beginning, unless `whole`) after `before`."""
    body = _body(message)
    text = visible(body) if whole else shortened(body, max_lines=6, max_chars=600)
    details = ", ".join(one_line(part, 60) for part in (message.name, message.tool_call_id) if part)
    name = f"{before}{message.role}" + (f" ({details})" if details else "")
    _print_block(console, name, text, "dim")


def _print_block(console: Console, name: str, text: str, style: str) -> None:
    body = "\n".join(f"    {line}" for line in text.split("\n"))
    print_text(console, f"  {name}:\n{body}", style)


def _body(message: Message) -> str:
    parts = [f"[reasoning] {message.reasoning}"] if message.reasoning is not None else []
    parts += [message.content] if message.content or not message.tool_calls else []
    parts += [f"[calls] {call.name}({call.arguments})" for call in message.tool_calls]
    return "\n".join(parts)
