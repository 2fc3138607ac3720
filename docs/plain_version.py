"""ATLaS in one file: read chats, choose critical steps, mask the other tokens, train.

    python docs/plain_version.py recipes/demo/trajectories.jsonl recipes/base/model runs/plain

The input has one JSON object per line: `{"task_id": "a", "messages": [{"role": …, "content": …}]}`
in OpenAI's chat format. Every assistant message is a step. Rules on the text choose the steps, or
people: `--labels` names a file with `{"trajectory_id": task_id, "step": 0, "type": …}` per line.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from pathlib import Path

import torch
import transformers

KEYWORDS = {
    "plan": re.compile(r"\b(plan|first|in order to)\b", re.IGNORECASE),
    "error": re.compile(r"\b(cannot|failed|invalid|error|locked|nothing happens)\b", re.IGNORECASE),
    "success": re.compile(r"\b(success|done|completed|you (take|find|open))\b", re.IGNORECASE),
}


def read_chats(path):
    """One chat per line: its id and its messages."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    return [(str(row.get("task_id", number)), row["messages"]) for number, row in enumerate(rows)]


def read_labels(path):
    """The steps that people marked, by the id of the chat."""
    chosen = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        label = json.loads(line)
        if label.get("type", "critical") != "none":
            chosen.setdefault(label["trajectory_id"], set()).add(label["step"])
    return chosen


def places_of_steps(messages):
    """The index of each assistant message."""
    return [place for place, message in enumerate(messages) if message["role"] == "assistant"]


def choose_steps(messages, ratio=0.3):
    """At most a share of the steps: those with the highest score, of equal ones the earlier."""
    places = places_of_steps(messages)
    budget = max(1, int(ratio * len(places)))
    scores = {step: score_step(messages, step, places) for step in range(len(places))}
    best = sorted(scores, key=lambda step: (-scores[step], step))[:budget]
    return {step for step in best if scores[step] > 0}


def score_step(messages, step, places):
    """Points for a plan, a correction, and an action that leads to success."""
    place = places[step]
    score = 0.5 * (step == 0) + 0.4 * (step == len(places) - 1)
    score += 0.5 * bool(KEYWORDS["plan"].search(messages[place]["content"]))
    score += 0.8 * bool(step > 0 and KEYWORDS["error"].search(messages[place - 1]["content"]))
    after = messages[place + 1]["content"] if place + 1 < len(messages) else ""
    return score + 0.4 * bool(KEYWORDS["success"].search(after))


def tokenize(tokenizer, messages, steps):
    """Token ids of the chat, and for each token whether it is supervised.

    Supervised are the tokens of the chosen responses and their end of turn. Role headers, other
    responses and observations are context.
    """

    def render(part, opens_turn=False):
        return tokenizer.apply_chat_template(part, tokenize=False, add_generation_prompt=opens_turn)

    text, spans = render(messages), []
    for step, place in enumerate(places_of_steps(messages)):
        start = len(render(messages[:place], opens_turn=True))
        # The white space after the end of turn belongs to the next message.
        end = len(render(messages[: place + 1]).rstrip())
        if not text.startswith(render(messages[: place + 1])):
            raise SystemExit("this chat template rewrites earlier turns; use atlas for it")
        if step in steps:
            spans.append((start, end))
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    mask = [
        any(start <= first < last <= end for start, end in spans)
        for first, last in encoded["offset_mapping"]
    ]
    return encoded["input_ids"], mask


def sum_loss(model, token_ids, mask):
    """The summed cross-entropy of the supervised tokens, each predicted from its whole context."""
    ids = torch.tensor([token_ids], device=model.device)
    targets = torch.where(torch.tensor(mask, device=model.device), ids[0], -100)
    logits = model(ids).logits[0, :-1].float()
    return torch.nn.functional.cross_entropy(logits, targets[1:], reduction="sum")


def train(model, examples, epochs, batch_size, learning_rate, seed=0):
    """AdamW with a linear schedule. The loss of an optimizer step is a mean over its tokens."""
    batches = []
    for epoch in range(epochs):
        order = random.Random(seed + epoch).sample(examples, len(examples))
        batches += [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0)
    total, warmup = len(batches), len(batches) // 10
    model.train()
    for number, batch in enumerate(batches, start=1):
        rate = min(number / (warmup + 1), (total - number + 1) / (total - warmup))
        optimizer.param_groups[0]["lr"] = learning_rate * rate
        num_supervised = sum(sum(mask[1:]) for _, mask in batch)
        loss = 0.0
        for token_ids, mask in batch:
            part = sum_loss(model, token_ids, mask) / num_supervised
            part.backward()
            loss += part.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        print(f"step {number}/{total}: loss {loss:.4f}, {num_supervised} tokens")


def main():
    """The command line."""
    parser = argparse.ArgumentParser()
    for name in ("chats", "model", "out", "--labels"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--epochs", type=int, default=1)
    arguments = parser.parse_args()
    options = {"trust_remote_code": False}
    tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.model, **options)
    model = transformers.AutoModelForCausalLM.from_pretrained(arguments.model, **options)
    labels = read_labels(arguments.labels) if arguments.labels else None
    examples = []
    for name, messages in read_chats(arguments.chats):
        steps = choose_steps(messages) if labels is None else labels.get(name, set())
        if steps:
            examples.append(tokenize(tokenizer, messages, steps))
    train(model, examples, arguments.epochs, batch_size=32, learning_rate=1e-5)
    model.save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)


if __name__ == "__main__":
    main()
