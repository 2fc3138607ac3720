"""A stand-in for a language model that says what it is told and keeps the tokens it was fed."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch

from atlas.models.local.chat_batch import ChatBatch
from atlas.models.local.decoders import SingleDecoder
from atlas.records import Message, Trajectory
from atlas.rendering.renderer import Renderer


class ScriptedModel:
    """Answers one conversation with given tokens; `fed` are the tokens of the present history."""

    device = torch.device("cpu")
    config = SimpleNamespace(get_text_config=SimpleNamespace)

    def __init__(self, num_tokens: int, keeps_cache: bool) -> None:
        self.keeps_cache = keeps_cache
        self.fed: list[int] = []
        self.script: list[int] = []
        self._num_tokens = num_tokens

    def __call__(self, **given: Any) -> Any:
        return self.forward(**given)

    def forward(self, input_ids: Any, past_key_values: Any = None, **_: Any) -> Any:
        if past_key_values is None:
            self.fed = []
        self.fed += input_ids[0].tolist()
        logits = torch.zeros(1, 1, self._num_tokens)
        logits[0, 0, self.script.pop(0)] = 1.0
        return SimpleNamespace(logits=logits, past_key_values=self if self.keeps_cache else None)


def play_recorded(
    renderer: Renderer,
    trajectory: Trajectory,
    answers: Sequence[Sequence[int]],
    keeps_cache: bool = True,
) -> list[list[int]]:
    """The tokens that the player feeds before each answer, if the model says `answers`."""
    model = ScriptedModel(len(renderer.tokenizer), keeps_cache)
    batch = ChatBatch(
        model,
        renderer,
        temperature=0,
        max_tokens=10_000,
        max_context=10**6,
        decoder=SingleDecoder(model, keeps_cache),
    )
    prompts = []
    new: list[Message] = list(trajectory.prompt)
    for step, answer in zip(trajectory.steps, answers, strict=True):
        new += step.observation
        model.script = list(answer)
        batch.submit("a", new, trajectory.tools)
        batch.next_answers()
        # The last tokens fed are those of the answer but for its last.
        prompts.append(model.fed[: len(model.fed) - (len(answer) - 1)])
        new = []
    return prompts
