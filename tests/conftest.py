"""Shared fixtures: a tokenizer trained in-process, a tiny Llama, small trajectories. No hub."""

from __future__ import annotations

import gc
import os
import signal
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# The Java of a test lives for seconds: its second compiler would take more time than it saves.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")

from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from atlas.records import Message, Outcome, Source, Step, Task, Trajectory
from tests.templates import CHATML, tiny_tokenizer

# How long an example takes depends on what else the machine does.
settings.register_profile("atlas", deadline=None)
settings.load_profile("atlas")

# A suite that a shell started in the background ignores Ctrl-C, and passes that on to the commands
# that its tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


num_frozen = 0


def pytest_runtest_logfinish() -> None:
    """Collected tests and loaded modules stay until the end; garbage is not looked for in them.

    Each training collects garbage, which otherwise takes longer than a tiny training.
    """
    global num_frozen
    if len(sys.modules) >= num_frozen + 100:
        num_frozen = len(sys.modules)
        gc.collect()
        gc.freeze()
        # It lays out the traceback of each failed request for a log that is never written.
        if (model := sys.modules.get("inspect_ai.model._model")) is not None:
            vars(model)["format_traceback"] = lambda *error: ("", "")


def make_trajectory(
    num_steps: int = 4, name: str = "t", thought: str = "I look around."
) -> Trajectory:
    """A ReAct trajectory with `num_steps` steps and words that differ from step to step."""
    steps = tuple(
        Step(
            observation=(Message(role="user", content=f"You see a red ball {index} and a door."),),
            response=Message(
                role="assistant",
                content=f"Thought:\n{thought} Now {index}.\n\nAction:\ngo to red ball {index}",
            ),
            action=f"go to red ball {index}",
        )
        for index in range(num_steps)
    )
    return Trajectory(
        id=name,
        task=Task(id=name, environment="test", group="group"),
        prompt=(Message(role="system", content="You are in a room."),),
        steps=steps,
        outcome=Outcome(status="success", score=1.0),
        source=Source(name="test"),
    )


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return tiny_tokenizer(CHATML)


@pytest.fixture(scope="session")
def tiny_model_folder(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama with the ChatML tokenizer, saved as any instruct model is."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
    )
    folder = tmp_path_factory.mktemp("tiny") / "model"
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
