"""Make the small base model of the demo: corpus -> tokenizer -> model.

    python recipes/base/make_base.py --out recipes/base/model

This takes under an hour on two CPU cores. The model is trained from random weights on every answer
of the corpus (corpus.py), with the code that tunes the demo's arms: first on the short
conversations, where it learns to find and name what an observation says, then on play and the rest
of the short ones.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from corpus import COLORS, KINDS, Conversation, is_play, make_conversations
from rich.console import Console
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from atlas.records import Outcome, Source, Step, Task, Trajectory
from atlas.rendering.loss_mask import labels, loss_mask
from atlas.rendering.renderer import Renderer
from atlas.terminal.progress import show_progress
from atlas.training.config import LONGEST_ROW, EngineConfig
from atlas.training.engine.choose_parts import choose_parts
from atlas.training.examples import TrainingExample
from atlas.training.follower import RunFollower
from atlas.training.schedule import Group, Schedule, schedule_examples
from atlas.training.trainer import CriticalStepTrainer, collate

VOCABULARY = 2048
# Where the tokenizer may cut: a thing with its color, a number with its direction, a run of other
# words, punctuation, line ends. So "red ball" and "2 ahead" can become one token each, in a goal as
# in an observation, and to find a thing again is to find a token.
_COLOR = "(?i:" + "|".join(COLORS) + ")"
PIECES = "|".join(
    [
        rf" ?{_COLOR}(?: (?:open|closed|locked))? (?:{'|'.join(KINDS)})",
        r" ?\d+(?: (?:ahead|left|right))?",
        rf"(?: ?(?!{_COLOR} )[A-Za-z']+)+",
        r" ?[^\sA-Za-z0-9]+\n*",
        r"\n+",
    ]
)
SPECIAL_TOKENS = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
MODEL = {
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}
TRAINING = {
    "learning_rate": 2e-3,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.03,
    "weight_decay": 0.01,
}
BATCH = 16
# The share of the short conversations that come first, without play.
SHORT_FIRST = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "model")
    episodes_help = "exploring episodes; each brings its questions and requests"
    parser.add_argument("--episodes", type=int, default=7_000, help=episodes_help)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started = time.monotonic()
    console = Console()

    conversations = collect_corpus(arguments.episodes, arguments.seed)
    tokenizer = train_tokenizer(conversations)
    renderer = Renderer(tokenizer, "the new tokenizer")
    examples = [
        to_example(str(index), conversation, renderer)
        for index, conversation in enumerate(conversations)
    ]
    num_tokens = sum(len(example.input_ids) for example in examples)
    console.print(
        f"{len(examples):,} conversations, {num_tokens:,} tokens, "
        f"{len(tokenizer)} words in the vocabulary"
    )

    schedule = schedule_lessons(conversations, examples, arguments.seed)
    partial = arguments.out.with_suffix(".partial")
    model, losses = train_model(schedule, tokenizer, arguments.seed, partial)
    model.save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)
    facts = {
        "episodes": arguments.episodes,
        "seed": arguments.seed,
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


def collect_corpus(episodes: int, seed: int) -> list[Conversation]:
    """All conversations, made in pieces of fixed size: the number of processes changes nothing."""
    size = 500
    pieces = [
        (min(size, episodes - start), seed * 1_000 + start // size)
        for start in range(0, episodes, size)
    ]
    with multiprocessing.get_context("spawn").Pool() as pool:
        return [conversation for part in pool.starmap(_piece, pieces) for conversation in part]


def _piece(episodes: int, seed: int) -> list[Conversation]:
    return list(make_conversations(episodes, seed))


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
    conversations: list[Conversation], examples: list[TrainingExample], seed: int
) -> Schedule:
    """The order of training: a share of the short conversations, then play between the others.

    Batches are all short or all play, so that little of them is padding.
    """
    rng = np.random.default_rng(seed)

    def batches(of_play: bool) -> list[tuple[Group, ...]]:
        groups = [
            (example,)
            for conversation, example in zip(conversations, examples, strict=True)
            if is_play(conversation) == of_play
        ]
        steps = schedule_examples(groups, 1, BATCH, seed).steps
        return [step for step in steps if len(step) == BATCH]

    short, play = batches(of_play=False), batches(of_play=True)
    num_first = round(SHORT_FIRST * len(short))
    mixed = short[num_first:] + play
    rng.shuffle(mixed)
    return Schedule((*short[:num_first], *mixed))


def train_tokenizer(conversations: list[Conversation]) -> transformers.PreTrainedTokenizerFast:
    """Byte-level BPE over phrases: any text can be written, and frequent phrases are one token."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(
        (message.content for conversation in conversations[:60_000] for message in conversation),
        trainer,
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw,
        eos_token="<|end|>",
        pad_token="<|end|>",
        model_max_length=MODEL["max_position_embeddings"],
    )
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL_TOKENS[1:]})
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def train_model(
    schedule: Schedule,
    tokenizer: transformers.PreTrainedTokenizerFast,
    seed: int,
    folder: Path,
) -> tuple[transformers.PreTrainedModel, list[float]]:
    """A Llama from random weights, trained on the schedule."""
    transformers.set_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **MODEL,
    )
    model = transformers.LlamaForCausalLM(config)
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,
        # One item is an optimizer step.
        per_device_train_batch_size=1,
        logging_steps=10,
        save_strategy="no",
        seed=seed,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to="none",
        dataloader_pin_memory=False,
        use_cpu=not torch.cuda.is_available(),
        max_grad_norm=1.0,
        adam_beta2=0.98,
        **TRAINING,
    )
    folder.mkdir(parents=True, exist_ok=True)
    with show_progress("training", len(schedule.steps)) as bar:
        trainer = CriticalStepTrainer(
            model=model,
            args=arguments,
            train_dataset=schedule.deal_out(1),
            data_collator=collate,
            callbacks=[RunFollower(folder, bar, epochs=1)],
            engine=choose_parts(model, EngineConfig()).engine,
            max_tokens=LONGEST_ROW,
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
    return trainer.model, [row["loss"] for row in trainer.state.log_history if "loss" in row]


if __name__ == "__main__":
    main()
