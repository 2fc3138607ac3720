"""How a command ends on the terminal: what came in, what went out, what was left out and why."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import typer

from atlas.terminal.visible_text import visible


def say(text: str, *, is_error: bool = False) -> None:
    """A message on the terminal. Ids and reasons in it may come from a stranger's file, so it moves no cursor and changes no colour."""
    typer.echo(visible(text), err=is_error)


def tell(manifest: Any, out: Path) -> None:
    """The three closing lines: what came in, what went out, what was left out and why."""
    came_in = [f"{name} {place_of(out, given)}" for name, given in manifest.inputs.items()]
    came_in = came_in or [
        f"{key} {manifest.config[key]}"
        for key in ("environment", "split", "episodes")
        if key in manifest.config
    ]
    went_out = [
        f"{key.replace('_', ' ')} {text}"
        for key, value in manifest.summary.items()
        if (text := _short(value))
    ]
    say(f"in:        {', '.join(came_in)}")
    say(f"out:       {out}: {', '.join(went_out)}")
    say(f"left out:  {left_out(out / 'problems.jsonl')}")


def tell_estimate(estimate: Any, config: Any) -> None:
    """What a selection would ask, nothing of which was sent."""
    usage = estimate.usage
    price = (
        f"about {estimate.cost_usd:,.2f} USD"
        if estimate.cost_usd is not None
        else f"unknown, for no table has a price of '{config.model}'; give prices=FILE with a line such as "
        f"{config.model}: {{input: 2.5, output: 10}} (USD per million tokens)"
    )
    manner = ", in batches" if config.batch else ""
    say(
        f"would ask: {config.model} about {estimate.trajectories:,} trajectories, in {usage.requests:,} requests{manner}"
    )
    say(
        f"tokens:    about {usage.input_tokens:,} sent and {usage.output_tokens:,} received (4 characters a token)"
    )
    if not estimate.is_discount_known:
        price += " at the full price, for the table does not say what batches cost (batch: 0.5)"
    say(f"price:     {price}. Nothing was sent.")


def place_of(out: Path, given: Any) -> str:
    """An input as seen from where the command runs; what is no path (a hub id, a digest) stays as it is."""
    return os.path.relpath(out / given.path) if (out / given.path).exists() else str(given.path)


def left_out(problems: Path) -> str:
    """How many items the problems file names, with the most common reasons."""
    if not problems.exists():
        return "nothing"
    with open(
        problems, "rb"
    ) as lines:  # split at newlines alone: a reason may hold other line separators
        reasons = Counter(json.loads(line)["reason"] for line in lines)
    if not reasons:
        return "nothing"
    common = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common(3))
    return f"{reasons.total()} ({common}{'; …' if len(reasons) > 3 else ''}), see {problems}"


def _short(value: Any) -> str:
    """A number of a summary in a few characters; tables within it (per group) are for the files, not for the closing lines."""
    if isinstance(value, dict):
        if value.keys() == {"value", "low", "high"}:
            if value["value"] is None:
                return "unknown"
            known = (
                value["low"] is not None and value["high"] is not None
            )  # a few equal values have no interval
            return (
                f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
                if known
                else f"{value['value']:.3f} [no interval]"
            )
        if "sentence" in value:
            # Who chose the steps: for reports, and too long for this line.
            return ""
        if not any(value.values()):
            return ""  # a usage of nothing, say, where no model was asked
        inner = [
            f"{key} {_short(part)}" for key, part in value.items() if not isinstance(part, dict)
        ]
        return f"({', '.join(inner)})" if inner else ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value).removesuffix(".")  # a sentence among others
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
