"""What each objective silences at the first step: the shares under a model that is not tuned yet.

    python benchmarks/objective_shares.py --data AGENTTRAJ --labels LABELS --model MODEL
        [--world babyai] [--num 20] [--precision fp32] [--out objective_shares.json]

AGENTTRAJ, LABELS and the steps are those of objective_training.py. Each trajectory has one forward
pass. At the first step the model is its own base, so its KL to it is 0 and the ratio 1.

First the distribution of entropy and probability over the supervised tokens, then for each
objective and limit the share of tokens with a factor below 0.1, by the kind of the step, and the
mean factor.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from objective_training import make_runs

from atlas.kinds import Choice
from atlas.models.local.load import load_model, load_renderer, locate_model
from atlas.models.local.precision import dtype_name
from atlas.store.readers import read_selected
from atlas.training.config import TrainConfig
from atlas.training.examples import TrainingExample, build_examples
from atlas.training.objectives.base import make_objective
from atlas.training.objectives.eaft import entropy
from atlas.training.token_loss import Targets, TokenLoss, describe_tally, log_probs_at

CHOICES: dict[str, dict[str, Any]] = {
    "dft": {},
    "eaft": {},
    "clip": {},
    **{f"eksft max_entropy={limit}": {"max_entropy": limit} for limit in (0.5, 1.0, 2.0, 3.0, 4.0)},
    **{
        f"mask_low_probability min_probability={limit}": {"min_probability": limit}
        for limit in (0.01, 0.1, 0.4)
    },
}
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.8, 0.9)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of AgentTraj's files")
    parser.add_argument("--labels", type=Path, required=True, help="the folder of labels")
    parser.add_argument("--model", required=True)
    parser.add_argument("--world", default="babyai")
    parser.add_argument("--num", type=int, default=20, help="trajectories, at most")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--out", type=Path, default=Path("objective_shares.json"))
    given = parser.parse_args()
    losses = {
        label: TokenLoss(make_objective(Choice(label.split()[0], settings)))
        for label, settings in CHOICES.items()
    }
    entropies, probabilities = [], []
    with tempfile.TemporaryDirectory() as name:
        print(make_runs(given, Path(name)), flush=True)
        examples = read_examples(Path(name), given.model)
    print(f"{sum(one.num_supervised_tokens for one in examples):,} supervised tokens", flush=True)
    for targets, logits in predictions(given.model, given.precision, examples):
        entropies.append(entropy(logits.log_softmax(-1)))
        probabilities.append(log_probs_at(logits, targets.tokens).exp())
        for loss in losses.values():
            loss(logits, targets, logits)
    rows: dict[str, Any] = {
        "entropy, nats": quantiles(entropies),
        "probability": quantiles(probabilities),
    }
    for label, values in rows.items():
        print(f"{label:42}" + ", ".join(f"{name} {value:.3g}" for name, value in values.items()))
    for label, loss in losses.items():
        assert loss.tally is not None
        rows[label] = describe_tally(loss.tally)
        print(f"{label:42}" + ", ".join(f"{key} {one:.3f}" for key, one in rows[label].items()))
    given.out.write_text(json.dumps(rows, indent=2) + "\n")


def read_examples(folder: Path, model: str) -> tuple[TrainingExample, ...]:
    # Any objective: examples then have the kinds of their steps.
    config = TrainConfig(model=model, objective=Choice("dft"))
    selected = read_selected(folder / "selection", folder / "trajectories")
    return build_examples(selected, load_renderer(locate_model(model)), config).examples


@torch.no_grad()
def predictions(
    name: str, precision: Literal["fp32", "bf16"], examples: tuple[TrainingExample, ...]
) -> Iterator[tuple[Targets, torch.Tensor]]:
    """The supervised tokens of each example, and the logits that predict them, shape [N, V]."""
    model = load_model(locate_model(name), dtype_name(precision))
    for one in examples:
        places = np.flatnonzero(one.labels[1:] != -100)
        ids = torch.from_numpy(one.input_ids).long()[None].to(model.device)
        kept = torch.from_numpy(places).to(model.device)
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=kept).logits[0].float()
        tokens = torch.from_numpy(one.labels[1:][places]).to(model.device)
        assert one.target_kinds is not None
        yield (
            Targets(
                tokens,
                torch.ones(len(tokens), device=model.device),
                log_probs_at(logits, tokens),
                torch.from_numpy(one.target_kinds).to(model.device),
            ),
            logits,
        )


def quantiles(values: list[torch.Tensor]) -> dict[str, float]:
    whole = np.concatenate([one.cpu().numpy() for one in values])
    return {f"{share:.0%}": float(np.quantile(whole, share)) for share in QUANTILES}


if __name__ == "__main__":
    main()
