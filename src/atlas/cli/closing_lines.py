"""The closing lines of a command: input, output, and what was left out and why."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import typer

from atlas.presenting.outcome_shares import BY_OUTCOME, describe_shares, selection_notes
from atlas.store.paths import short_path
from atlas.terminal.visible_text import visible

# What a command's closing lines show of its summary: the keys of each line, the most wanted first.
# manifest.json holds the whole summary. A command that is not listed shows all of it.
SHOWN: dict[str, dict[str, tuple[str, ...]]] = {
    "select": {
        "out": ("trajectories", "steps", "selected_steps", "share"),
        "kinds": ("kinds",),
        "budget": ("budget",),
        "limited": ("limit", "limited"),
        "paid": ("usage", "usage_estimated_for", "cost_usd"),
    },
    "select-train": {
        "out": ("trained_trajectories", "held_out_trajectories", "held_out_tasks"),
        "measured": ("kappa", "chance_kappa", "precision", "chance_precision"),
        "chance": ("beyond_chance", "beyond_position", "better_than_chance"),
        "scores": ("calibration_error",),
    },
    "compare-selections": {
        "out": ("trajectories", "steps", "selections", "pairs"),
        "limited": ("limited",),
    },
    "report": {
        "out": ("arms", "evaluations", "episodes", "comparisons", "cautions"),
        "headline": ("headline",),
    },
    "train": {
        "out": ("num_supervised_steps", "num_steps", "num_supervised_tokens", "num_tokens"),
        "loss": ("final_loss", "held_out_loss", "held_out_loss_before", "final_kl"),
        "objective": ("silenced", "mean_factor", "num_negative_steps"),
        "run": ("optimizer_steps", "train_seconds", "precision", "num_processes"),
        "engine": ("engine", "attention"),
        "limited": ("limited",),
        "dropped": ("num_dropped_steps", "num_cut_observations", "num_held_out"),
    },
    "evaluate --skills": {
        "out": ("tasks", "items", "mean_accuracy"),
        "accuracy": ("accuracy",),
        "difference": ("difference",),
    },
    "probe": {
        "out": ("steps", "before", "after"),
        "gain": ("gain", "control_gain", "selected_minus_control"),
        "episodes": ("episodes", "ended", "broken"),
        "limited": ("limited",),
    },
    "evaluate": {
        "out": ("success_rate", "mean_steps", "mean_score"),
        "episodes": ("num_success", "num_truncated", "num_errors", "num_unknown"),
        "turns": (
            "invalid_step_share",
            "actionless_step_share",
            "repeated_step_share",
            "cut_step_share",
        ),
        "tokens": ("mean_input_tokens", "mean_output_tokens"),
        "errors": ("num_crashed", "num_refused"),
        "cost": ("cost_usd",),
        "limited": ("limit", "limited"),
    },
    "evaluate --suite": {
        "out": ("success_rate", "mean_score", "mean_steps", "num_entries", "num_worlds"),
        "episodes": ("num_episodes", "num_success", "num_truncated", "num_unknown"),
        "tokens": ("mean_input_tokens", "mean_output_tokens"),
        "errors": ("num_crashed", "num_refused"),
        "cost": ("cost_usd",),
        "limited": ("limit",),
    },
}


def say(text: str, *, is_error: bool = False) -> None:
    """Print a message. Ids and reasons in it may come from a file, so it is sanitized."""
    typer.echo(visible(text), err=is_error)


def tell(manifest: Any, out: Path) -> None:
    """Print the closing lines of a run."""
    config = manifest.config
    came_in = [f"{name} {place_of(out, given)}" for name, given in manifest.inputs.items()]
    keys = ("environment", "split", "episodes")
    came_in += [f"{key} {_name_of(config[key])}" for key in keys if config.get(key) is not None]
    if entries := (config.get("suite") or {}).get("entries"):
        came_in.append(f"suite {', '.join(entries)}")
    say(f"in:        {', '.join(came_in)}")
    for label, text in _summary_lines(manifest).items():
        say(f"{label + ':':11}{f'{out}: {text}'.removesuffix(': ') if label == 'out' else text}")
    for layer in manifest.summary.get("layers", ()):
        cost = f", {layer['cost_usd']:,.4f} USD" if layer.get("cost_usd") is not None else ""
        asked = f"{layer['requests']:,} requests{cost}" if layer["requests"] else "nothing asked"
        say(f"layer:     {layer['layer']} decided {layer['decided']:,} trajectories; {asked}")
    say(f"left out:  {left_out(out / 'problems.jsonl')}")
    _tell_outcomes(manifest, out)
    chosen = manifest.summary.get("chosen_by", {})
    names = manifest.summary.get("answered_by", {}).items()
    if names or chosen.get("asks_a_model"):
        answered = ", ".join(f"{name} ({count:,} answers)" for name, count in names)
        asked = chosen.get("model") or config.get("model")
        say(f"model:     {asked}" + (f", answered by {answered}" if answered else ""))
    if worth := chosen.get("worth"):
        say(f"worth:     {worth}")


def _summary_lines(manifest: Any) -> dict[str, str]:
    """The lines about a summary by their labels. Lines other than the first name no zeros."""
    summary = manifest.summary
    shown = SHOWN.get(manifest.command)
    # A summary of another version of atlas may lack these keys.
    if shown is None or not summary.keys() & set(shown["out"]):
        shown = {"out": tuple(summary)}
    lines = {}
    for label, keys in shown.items():
        texts = {
            key: _short_share(summary[key]) if key.endswith("_share") else _short(summary[key])
            for key in keys
            if key in summary and (label == "out" or not _is_nothing(summary[key]))
        }
        names = {key: _name_of_figure(key, label) for key in texts}
        parts = [
            f"{names[key]} {text}" if names[key] else _without_brackets(text)
            for key, text in texts.items()
            if text
        ]
        if parts or label == "out":
            lines[label] = ", ".join(parts)
    return lines


def _is_nothing(value: Any) -> bool:
    """Whether a figure is 0, missing or an unknown estimate."""
    return value in (0, None) or (isinstance(value, dict) and value.get("value", 0) is None)


def _without_brackets(text: str) -> str:
    return text[1:-1] if text.startswith("(") else text


def _name_of_figure(key: str, label: str) -> str:
    """The name of a figure in a line; empty where the label of the line says it."""
    if key == label or (key, label) == ("limit", "limited"):
        return ""
    return key.removeprefix("num_").removesuffix("_step_share").replace("_", " ")


def _tell_outcomes(manifest: Any, out: Path) -> None:
    """Print how the trajectories of the selected steps ended."""
    selected = manifest.summary.get(BY_OUTCOME)
    if not selected:
        return
    trajectories = manifest.summary.get("outcomes")
    ended = f"trajectories {describe_shares(trajectories)}; " if trajectories else ""
    say(f"outcomes:  {ended}selected steps {describe_shares(selected)}")
    given = manifest.inputs.get("trajectories")
    if given is not None:
        for note in selection_notes(manifest.summary, place_of(out, given)):
            say(f"note:      {note}")


def _name_of(value: Any) -> Any:
    """A kind with its settings is shown by its name."""
    return value.get("name", value) if isinstance(value, dict) else value


def tell_estimate(estimate: Any, config: Any) -> None:
    """Print what a selection would ask, layer by layer; nothing was sent."""
    below = estimate.below
    if below is not None:
        say(f"layer 1:   {estimate.checker}, which costs nothing")
        say("layer 2:   the smaller model, about every trajectory:")
        tell_estimate(below, config.small)
        say(f"layer 3:   only where 1 and 2 overlap by less than {config.agreement:g}; at most:")
    usage = estimate.usage
    if not estimate.has_price:
        where = config.endpoint.base_url or "this machine"
        say(f"would read: {estimate.trajectories:,} trajectories with {config.model} at {where}")
        if estimate.num_problems:
            say(f"problems:  {estimate.num_problems:,} of them cannot be read; a run says why")
        passes = f"{usage.requests:,} forward passes"
        say(f"passes:    {passes}; more where the chat template rewrites history")
        say(f"tokens:    about {usage.input_tokens:,} (4 characters a token). Nothing was read.")
        return
    if estimate.cost_usd is not None:
        price = f"about {estimate.cost_usd:,.2f} USD by {estimate.price_source}"
    else:
        price = (
            f"unknown, because no price is known of '{config.model}'; give prices=FILE with a "
            f"line such as {config.model}: {{input: 2.5, output: 10}} (USD per million tokens)"
        )
    if not estimate.is_discount_known:
        price += " at the full price, because the table does not say what batches cost (batch: 0.5)"
    requests = f"{usage.requests:,} requests{', in batches' if config.batch else ''}"
    tokens = f"about {usage.input_tokens:,} sent and {usage.output_tokens:,} received"
    say(f"would ask: {config.model} about {estimate.trajectories:,} trajectories, in {requests}")
    say(f"tokens:    {tokens} (4 characters a token)")
    say(f"price:     {price}. Nothing was sent.")
    if below is not None and None not in (below.cost_usd, estimate.cost_usd):
        low, high = below.cost_usd, below.cost_usd + estimate.cost_usd
        say(f"together:  {low:,.2f} USD if layers 1 and 2 agree everywhere, {high:,.2f} if nowhere")


def tell_pilot(pilot: Any, config: Any, command: str) -> None:
    """Print what a pilot paid, and what the other trajectories will cost."""
    if pilot.below is not None:
        tell_pilot(pilot.below, config.small, "")
        say(f"settled:   {pilot.num_settled:,} of {pilot.below.num_answered:,} by the layers below")
    cost = "" if pilot.paid_usd is None else f" ({pilot.paid_usd:,.4f} USD)"
    answers = f"{pilot.num_answered:,} have an answer, {pilot.num_problems:,} of them unusable"
    say(f"pilot:     asked {config.model} about {pilot.num_asked:,} trajectories; {answers}")
    say(f"paid:      {pilot.paid.requests:,} requests, {_tokens(pilot.paid)} tokens{cost}")
    left = [f"about {_forecast(pilot.tokens_left, ',.0f')} tokens"]
    if pilot.usd_left is not None:
        left.append(f"about {_forecast(pilot.usd_left, ',.2f')} USD")
    if pilot.seconds_left is not None:
        left.append(f"about {_forecast(pilot.seconds_left, ',.1f', 60)} minutes")
    say(f"left:      {pilot.num_left:,} trajectories: {', '.join(left)} (95 % intervals)")
    if command:
        say(f"next:      {command} pays nothing again; it asks about the others.")


def _tokens(usage: Any) -> str:
    return f"{usage.input_tokens + usage.output_tokens:,}"


def _forecast(forecast: Any, form: str, divisor: float = 1.0) -> str:
    value = format(forecast.value / divisor, form)
    if forecast.interval is None:
        return f"{value} [too few answers for an interval]"
    low, high = (format(limit / divisor, form) for limit in forecast.interval)
    return f"{value} [{low}, {high}]"


def place_of(out: Path, given: Any) -> str:
    """An input's path, absolute if that is shorter; a hub id or a digest stays as it is."""
    path = out / given.path
    if not path.exists():
        return str(given.path)
    return short_path(path)


def left_out(problems: Path) -> str:
    """How many items were left out, with the most common reasons."""
    if not problems.exists():
        return "nothing"
    # Binary mode splits lines at newlines only; a reason may contain other line separators.
    with problems.open("rb") as lines:
        reasons = Counter(json.loads(line)["reason"] for line in lines)
    if not reasons:
        return "nothing"
    common = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common(3))
    return f"{reasons.total()} ({common}{'; …' if len(reasons) > 3 else ''}), see {problems}"


def _short_share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _short(value: Any) -> str:
    """A value of a summary as a few characters. Nested tables (per group) are left out."""
    if isinstance(value, dict):
        return _short_table(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        # In a list of sentences, the last period is removed.
        return str(value).removesuffix(".")
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _short_table(table: dict[str, Any]) -> str:
    if table.keys() == {"value", "low", "high"}:
        value, low, high = table["value"], table["low"], table["high"]
        if value is None:
            return "unknown"
        # Equal values have no interval.
        has_interval = low is not None and high is not None
        digits = 3 if abs(value) <= 1 else 1
        interval = f"{low:.{digits}f}, {high:.{digits}f}" if has_interval else "no interval"
        return f"{value:.{digits}f} [{interval}]"
    # The sentence on who chose the steps is too long for this line. A table of zeros is, for
    # example, the usage of a run that asked no model.
    if "sentence" in table or not any(table.values()):
        return ""
    inner = [f"{key} {_short(part)}" for key, part in table.items() if not isinstance(part, dict)]
    return f"({', '.join(inner)})" if inner else ""
