"""Makes the chats of `train.py --chats` from real trajectories and a selection.

    python benchmarks/real_chats.py --model smollm2 --trajectories babyai_train.json
        --labels babyai.jsonl --number 8 --out chats.json

`--trajectories` is a file that `atlas import` reads, such as a part of AgentTraj. `--labels` has
the critical steps that a language model named: JSON Lines with `id`, as `atlas import` gives it,
and `answer` in the form that the prompt of the selector `oracle` asks for. The trajectories are
drawn from a seed. `--model` is a folder with a tokenizer and a chat template. The result has token
ids and labels, so that every trainer gets the same tokens.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path

from atlas.models.local.load import load_renderer, locate_model
from atlas.rendering.loss_mask import labels, loss_mask
from atlas.selection.judging.answer import read_answer
from atlas.store.readers import read_trajectories
from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--trajectories", required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--number", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rows = [json.loads(line) for line in given.labels.read_text(encoding="utf-8").splitlines()]
    chosen = random.Random(given.seed).sample(rows, given.number)
    answers = {row["id"]: json.dumps(row["answer"]) for row in chosen}
    renderer = load_renderer(locate_model(given.model))
    chats = []
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        import_trajectories(ImportConfig(paths=(given.trajectories,)), run)
        for trajectory in read_trajectories(run):
            if (answer := answers.pop(trajectory.id, None)) is None:
                continue
            num_steps = len(trajectory.steps)
            steps = {step.index for step in read_answer(answer, range(num_steps), num_steps)}
            for example in renderer.tokenize_trajectory(trajectory):
                found = labels(example, loss_mask(example, steps))
                chats.append({"ids": example.token_ids.tolist(), "labels": found.tolist()})
    if answers:
        raise SystemExit(f"{len(answers)} ids of {given.labels} are not in {given.trajectories}")
    given.out.write_text(json.dumps(chats) + "\n", encoding="utf-8")
    lengths = sorted(len(chat["ids"]) for chat in chats)
    supervised = sum(label != -100 for chat in chats for label in chat["labels"])
    print(
        f"{len(chats)} chats of {lengths[0]:,} to {lengths[-1]:,} tokens, {sum(lengths):,} in all, "
        f"{supervised:,} supervised"
    )


if __name__ == "__main__":
    main()
