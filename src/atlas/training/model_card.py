"""The model card, `checkpoint/README.md`: what the model was made from and how."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import yaml

from atlas.config import result_settings
from atlas.models.local.load import ModelPlace
from atlas.store.run_folders import Manifest
from atlas.terminal.visible_text import one_line
from atlas.training.config import TrainConfig
from atlas.training.tally_rows import silenced_shares

METHOD = "https://arxiv.org/abs/2503.02197"
MAX_SOURCES = 5


def write_card(
    config: TrainConfig,
    base: ModelPlace,
    run: Manifest,
    trajectories: Manifest,
    selection: Manifest,
    sources: Counter[str],
    made: Mapping[str, Any],
) -> str:
    """The card as Markdown with YAML front matter, as the hub reads it.

    It names no path of this machine and sets no license.

    Args:
        run: the manifest of the training, under way.
        trajectories: the manifest of this input, as is `selection`.
        sources: how many trajectories came from which source.
        made: the summary of the training.
    """
    holds_adapters = config.lora is not None and not config.lora.merge
    front: dict[str, Any] = {
        "library_name": "peft" if holds_adapters else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["atlas", "agent", "critical-steps", *(["lora"] if config.lora else [])],
    }
    if not base.is_folder:
        front |= {
            "base_model": base.location,
            "base_model_relation": "adapter" if holds_adapters else "finetune",
        }
    digest = _short(run.inputs["model"].digest, made.get("base_model_commit"))
    share = made["num_supervised_tokens"] / max(1, made["num_tokens"])
    rows = {
        "base model": f"{_code(_base_name(config.model))}, content {_code(digest)}",
        "trajectories": _trajectories(trajectories, sources, made),
        "selection": _selection(selection),
        "supervised steps": f"{made['num_supervised_steps']:,} of {made['num_steps']:,}",
        "supervised tokens": f"{made['num_supervised_tokens']:,} of {made['num_tokens']:,} "
        f"({share:.1%})",
        "chat template": f"content {_code(made['template_digest'])}",
        "settings": _listed(result_settings(config)),
        "engine": f"{_code(made['engine'])}, {made['precision']}, "
        f"processes: {made['num_processes']}",
        "optimizer steps": f"{made['optimizer_steps']:,}",
        "loss at the end": f"{made['final_loss']} nats per {_unit(config)} (mean of the last ten "
        "logged)",
        **_held_out(made),
        **_negative(made),
        **_silenced(made),
        "code": _listed(run.versions),
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"""---
{yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip()}
---

# An agent tuned on its critical steps

The model saw whole trajectories and had loss on the selected steps only, after
[ATLaS: Agent Tuning via Learning Critical Steps]({METHOD}). This card does not say how well the
agent does: evaluate it on tasks of the same kind and on others.

| | |
|---|---|
{table}

A content is the beginning of a SHA-256; the run's manifest holds all of it. The owner sets the
license: those of the base model and of the trajectories apply.
"""


def _held_out(made: Mapping[str, Any]) -> dict[str, str]:
    if "held_out_loss" not in made:
        return {}
    return {
        "held-out loss": f"{made['held_out_loss']} after and {made['held_out_loss_before']} before "
        f"the training, on {made['num_held_out']:,} other trajectories"
    }


def _negative(made: Mapping[str, Any]) -> dict[str, str]:
    if "num_negative_steps" not in made:
        return {}
    return {
        "trained away from": f"{made['num_negative_steps']:,} steps with a negative weight "
        f"({made['negative_weight_share']:.1%} of the weights), each of their tokens while its "
        f"probability is at least {made['negative_floor']:g}"
    }


def _silenced(made: Mapping[str, Any]) -> dict[str, str]:
    shares = silenced_shares(made)
    listed = ", ".join(f"{label} {share:.1%}" for label, share in shares.items())
    return {"silenced tokens": listed} if shares else {}


def _unit(config: TrainConfig) -> str:
    """What the loss is a mean over, and what else it contains."""
    unit = "supervised token"
    if config.loss_normalizer != "tokens":
        unit += f", {config.loss_normalizer} counted equally"
    if config.step_weights != "none":
        unit += f", steps weighted by {config.step_weights}"
    if config.lowest_weight < 0:
        unit += f" (from {config.lowest_weight:g})"
    if config.objective.name != "none":
        unit += f", objective `{config.objective.name}`"
    if config.kl_weight:
        unit += f", with {config.kl_weight:g} times the KL to the base model"
    return unit


def _trajectories(run: Manifest, sources: Counter[str], made: Mapping[str, Any]) -> str:
    common = [f"{count:,} from {_code(name)}" for name, count in sources.most_common(MAX_SOURCES)]
    others = len(sources) - len(common)
    listed = ", ".join(common) + (f" and {others} other sources" if others else "")
    return (
        f"{made['num_trajectories']:,} by `atlas {run.command}`, content "
        f"{_code(_short(run.digest))}: {listed}"
    )


def _selection(run: Manifest) -> str:
    chosen_by = run.summary.get("chosen_by", {})
    shown = {"selector": chosen_by.get("selector"), "steps": chosen_by.get("sentence")}
    if chosen_by.get("asks_a_model") and chosen_by.get("model") is not None:
        shown["model"] = _base_name(chosen_by["model"])
    names = ("ratio", "rounding", "min_steps", "scope", "seed")
    shown |= {name: run.config[name] for name in names if name in run.config}
    return f"{_listed(shown)}, content {_code(_short(run.digest))}"


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {_code(value)}" for name, value in values.items() if value is not None
    )


def _base_name(value: Any) -> str:
    """A name that may be a path, without its folders: the card travels and they do not."""
    text = str(value)
    is_path = text.startswith(("/", ".", "~")) or text.count("/") > 1
    return text.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] if is_path else text


def _code(value: Any) -> str:
    """Untrusted text as one line of code in a table cell, without characters that end either."""
    text = one_line(str(value))
    return f"`{text.replace('`', chr(39)).replace('|', '/').strip() or '-'}`"


def _short(digest: str | None, otherwise: str | None = None) -> str:
    return (digest or otherwise or "unknown")[:12]
