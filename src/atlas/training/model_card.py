"""The model card, `checkpoint/README.md`: what the model was made from and how, for whoever meets it without its run folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import yaml

from atlas.models.local.load import ModelPlace
from atlas.store.run_folders import Manifest
from atlas.terminal.visible_text import one_line
from atlas.training.config import TrainConfig

METHOD = "https://arxiv.org/abs/2503.02197"
ASKS_A_MODEL = (
    "oracle",
    "rejection",
    "perplexity",
    "entropy",
    "excess-loss",
    "rollout-value",
    "learned",
)
MAX_SOURCES = 5
NOT_TOLD = (
    "model",
    "save_every",
    "log_every",
    "report_to",
    "engine",
    "push_to_hub",
    "hub_private",
)  # said elsewhere, or this machine's


def write_card(
    config: TrainConfig,
    base: ModelPlace,
    run: Manifest,
    trajectories: Manifest,
    selection: Manifest,
    sources: Counter[str],
    made: Mapping[str, Any],
) -> str:
    """The card as Markdown with YAML front matter, as the hub reads it. It names no path of this machine and gives no licence.

    Args:
        run: of the training, under way; trajectories and selection: of its inputs.
        sources: how many trajectories came from where.
        made: the summary of the training.
    """
    front: dict[str, Any] = {
        "library_name": "peft" if config.lora else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["atlas", "agent", "critical-steps", *(["lora"] if config.lora else [])],
    }
    if not base.is_folder:
        front |= {
            "base_model": base.location,
            "base_model_relation": "adapter" if config.lora else "finetune",
        }
    rows = {
        "base model": f"{_name(config.model)}, content {_code(_short(run.inputs['model'].digest, made.get('base_model_commit')))}",
        "trajectories": _trajectories(trajectories, sources, made),
        "selection": _selection(selection),
        "supervised steps": f"{made['num_supervised_steps']:,} of {made['num_steps']:,}",
        "supervised tokens": f"{made['num_supervised_tokens']:,} of {made['num_tokens']:,} "
        f"({made['num_supervised_tokens'] / max(1, made['num_tokens']):.1%})",
        "chat template": f"content {_code(made['template_digest'])}",
        "settings": _listed(
            {
                name: value
                for name, value in config.model_dump(mode="json").items()
                if name not in NOT_TOLD
            }
        ),
        "engine": f"{_code(made['engine'])}, {made['precision']}, processes: {made['num_processes']}",
        "optimiser steps": f"{made['optimizer_steps']:,}",
        "loss at the end": f"{made['final_loss']} nats per {_unit(config)} (mean of the last ten logged)",
        "code": _listed(run.versions),
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"""---
{yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip()}
---

# An agent tuned on the steps that matter

The whole trajectory stood in the context; the loss was on the selected steps alone, after [ATLaS: Agent Tuning via Learning Critical
Steps]({METHOD}). Nothing here says how well the agent does: evaluate it on tasks of its own kind and on others.

| | |
|---|---|
{table}

A content is the beginning of a SHA-256; the run's manifest holds the whole. The licence is for the owner to set: those of the base model
and of the trajectories apply.
"""


def _unit(config: TrainConfig) -> str:
    """What the loss is a mean over, and what else is in it."""
    alike = (
        ""
        if config.loss_normalizer == "tokens"
        else f", {config.loss_normalizer} counting the same each"
    )
    weighed = "" if config.step_weights == "none" else f", steps weighed by {config.step_weights}"
    held = f", with {config.kl_weight:g} times the KL to the base model" if config.kl_weight else ""
    return f"supervised token{alike}{weighed}{held}"


def _trajectories(run: Manifest, sources: Counter[str], made: Mapping[str, Any]) -> str:
    common = [f"{count:,} from {_code(name)}" for name, count in sources.most_common(MAX_SOURCES)]
    others = len(sources) - len(common)
    told = ", ".join(common) + (f" and {others} other sources" if others else "")
    return f"{made['num_trajectories']:,} by `atlas {run.command}`, content {_code(_short(run.digest))}: {told}"


def _selection(run: Manifest) -> str:
    settings = run.config
    names = ["selector", "ratio", "rounding", "min_steps", "scope", "seed"] + ["model"] * (
        settings.get("selector") in ASKS_A_MODEL
    )
    told = ", ".join(f"{name} {_name(settings[name])}" for name in names if name in settings)
    return f"{told}, content {_code(_short(run.digest))}"


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {_code(value)}" for name, value in values.items() if value is not None
    )


def _name(value: Any) -> str:
    """A name that may be a path: of a path its last part alone, for a card travels and folders of this machine do not."""
    text = str(value)
    return _code(
        text.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
        if text.startswith(("/", ".", "~")) or text.count("/") > 1
        else text
    )


def _code(value: Any) -> str:
    """Text from outside, inert in a table cell: one line of code, without what would end the code or the cell."""
    text = one_line(str(value))
    return f"`{text.replace('`', chr(39)).replace('|', '/').strip() or '-'}`"


def _short(digest: str | None, otherwise: str | None = None) -> str:
    return (digest or otherwise or "unknown")[:12]
