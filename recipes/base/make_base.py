"""Make a small base model: corpus -> tokenizer -> model.

    python recipes/base/make_base.py --settings recipes/base/demo.yaml --out recipes/base/model

The model is trained from random weights on every answer of the corpus (lessons.py), with the code
that tunes the arms: first on the short conversations, where it learns to find and name what an
observation says, then on play and the rest of the short ones. A killed command goes on at its last
checkpoint.
"""

from __future__ import annotations

import argparse
import json
import pickle
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
import yaml
from lessons import collect_corpus, names_of
from rich.console import Console
from tokenizer import MOST_CONVERSATIONS, train_tokenizer
from transformers.trainer_utils import get_last_checkpoint
from worlds.common import Conversation, is_play

from atlas.records import Outcome, Source, Step, Task, Trajectory
from atlas.rendering.loss_mask import labels, loss_mask
from atlas.rendering.renderer import Renderer
from atlas.terminal.progress import show_progress
from atlas.training.config import EngineConfig
from atlas.training.engine.choose_parts import choose_parts
from atlas.training.examples import TrainingExample
from atlas.training.follower import RunFollower
from atlas.training.schedule import Group, Schedule, schedule_examples
from atlas.training.trainer import CriticalStepTrainer, collate

SAVE_EVERY = 250


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    here = Path(__file__).parent
    parser.add_argument("--settings", type=Path, default=here / "demo.yaml")
    parser.add_argument("--out", type=Path, default=here / "model")
    parser.add_argument("--processes", type=int, default=2, help="processes that make the corpus")
    arguments = parser.parse_args()
    settings = yaml.safe_load(arguments.settings.read_text(encoding="utf-8"))
    started = time.monotonic()
    console = Console()

    partial = arguments.out.with_suffix(".partial")
    partial.mkdir(parents=True, exist_ok=True)
    conversations = load_corpus(settings, partial, arguments.processes)
    tokenizer = make_tokenizer(settings, conversations)
    renderer = Renderer(tokenizer, "the new tokenizer")
    conversations = drop_short(conversations, settings)
    are_play = [is_play(conversation) for conversation in conversations]
    examples = [
        to_example(str(index), conversation, renderer)
        for index, conversation in enumerate(conversations)
    ]
    del conversations
    num_tokens = sum(len(example.input_ids) for example in examples)
    console.print(
        f"{len(examples):,} conversations, {num_tokens:,} tokens, "
        f"{len(tokenizer)} words in the vocabulary"
    )

    schedule = schedule_lessons(are_play, examples, settings)
    model, losses = train_model(schedule, tokenizer, settings, partial)
    model.save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)
    facts = {
        "lessons": settings["lessons"],
        "seed": settings["seed"],
        "conversations": len(examples),
        "tokens": num_tokens,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "final_loss": round(float(np.mean(losses[-50:])), 4),
        "minutes": round((time.monotonic() - started) / 60, 1),
        "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
    }
    text = json.dumps(facts, indent=2) + "\n"
    (arguments.out / "training.json").write_text(text, encoding="utf-8")
    shutil.rmtree(partial, ignore_errors=True)
    console.print(facts)


def load_corpus(settings: dict[str, Any], partial: Path, processes: int) -> list[Conversation]:
    """The corpus; one that was made before a killed command is read."""
    kept = partial / "corpus.pickle"
    if kept.is_file():
        with kept.open("rb") as file:
            read: list[Conversation] = pickle.load(file)
        return read
    made = collect_corpus(settings["lessons"], settings["seed"], processes)
    with kept.with_suffix(".new").open("wb") as file:
        pickle.dump(made, file)
    kept.with_suffix(".new").replace(kept)
    return made


def drop_short(conversations: list[Conversation], settings: dict[str, Any]) -> list[Conversation]:
    """All play, and the share `short_used` of the short conversations (by default all)."""
    rng = np.random.default_rng(settings["seed"])
    used = rng.random(len(conversations)) < settings.get("short_used", 1.0)
    return [one for one, kept in zip(conversations, used, strict=True) if kept or is_play(one)]


def make_tokenizer(
    settings: dict[str, Any], conversations: list[Conversation]
) -> transformers.PreTrainedTokenizerFast:
    """The tokenizer, trained on a part of the corpus: an even share of it if it has many worlds."""
    part = conversations[:MOST_CONVERSATIONS]
    if len(settings["lessons"]) > 1:
        many = min(MOST_CONVERSATIONS, len(conversations))
        part = [conversations[index * len(conversations) // many] for index in range(many)]
    return train_tokenizer(
        part,
        settings["vocabulary"],
        names_of(settings["lessons"]),
        settings["model"]["max_position_embeddings"],
    )


def to_example(name: str, conversation: Conversation, renderer: Renderer) -> TrainingExample:
    """A conversation with loss on every answer."""
    prompt, *turns = conversation
    pairs = zip(turns[::2], turns[1::2], strict=True)
    steps = tuple(Step(observation=(seen,), response=said) for seen, said in pairs)
    trajectory = Trajectory(
        id=name,
        task=Task(id=name, environment="base"),
        prompt=(prompt,),
        steps=steps,
        outcome=Outcome(status="unknown"),
        source=Source(name="base"),
    )
    (example,) = renderer.tokenize_trajectory(trajectory)
    mask = loss_mask(example, range(len(steps)))
    return TrainingExample(name, example.token_ids, labels(example, mask))


def schedule_lessons(
    are_play: list[bool], examples: list[TrainingExample], settings: dict[str, Any]
) -> Schedule:
    """The order of training: a share of the short conversations, then play between the others.

    Batches are all short or all play, so that little of them is padding.
    """
    rng = np.random.default_rng(settings["seed"])
    batch = settings["batch"]

    def batches(of_play: bool) -> list[tuple[Group, ...]]:
        groups = [
            (example,)
            for is_of_play, example in zip(are_play, examples, strict=True)
            if is_of_play == of_play
        ]
        steps = schedule_examples(groups, 1, batch, settings["seed"]).steps
        return [step for step in steps if len(step) == batch]

    short, play = batches(of_play=False), batches(of_play=True)
    num_first = round(settings["short_first"] * len(short))
    mixed = short[num_first:] + play
    rng.shuffle(mixed)
    return Schedule((*short[:num_first], *mixed))


def train_model(
    schedule: Schedule,
    tokenizer: transformers.PreTrainedTokenizerFast,
    settings: dict[str, Any],
    folder: Path,
) -> tuple[transformers.PreTrainedModel, list[float]]:
    """A Llama from random weights, trained on the schedule."""
    transformers.set_seed(settings["seed"])
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **settings["model"],
    )
    model = transformers.LlamaForCausalLM(config)
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,
        # One item is an optimizer step.
        per_device_train_batch_size=1,
        logging_steps=10,
        save_strategy="steps",
        save_steps=SAVE_EVERY,
        save_total_limit=2,
        seed=settings["seed"],
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to="none",
        dataloader_pin_memory=False,
        use_cpu=not torch.cuda.is_available(),
        bf16=settings.get("bf16", False),
        max_grad_norm=1.0,
        adam_beta2=0.98,
        **settings["training"],
    )
    with show_progress("training", len(schedule.steps)) as bar:
        trainer = CriticalStepTrainer(
            model=model,
            args=arguments,
            train_dataset=schedule.deal_out(1),
            data_collator=collate,
            callbacks=[RunFollower(folder, bar, epochs=1)],
            engine=choose_parts(model, EngineConfig()).engine,
            max_tokens=EngineConfig().micro_batch_tokens,
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)))
    return trainer.model, [row["loss"] for row in trainer.state.log_history if "loss" in row]


if __name__ == "__main__":
    main()
