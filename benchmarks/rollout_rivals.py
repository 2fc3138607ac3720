"""Players for `rollout.py` that answer with transformers' own ways to generate.

Both keep the same tokens of a conversation as the local player, and send the whole history at each
turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from atlas.models.local.load import load_model, load_renderer, locate_model
from atlas.models.local.local_player import LocalPlayerConfig
from atlas.models.players import PlayerAnswer
from atlas.records import Message, Usage
from atlas.store.run_folders import Input


class WholeHistoryPlayer:
    """Answers in rounds; a rival is `generate`, which continues all histories."""

    Config = LocalPlayerConfig

    def __init__(self, config: LocalPlayerConfig, model: str, seed: int) -> None:
        place = locate_model(model)
        self.renderer = load_renderer(place)
        self.model = load_model(place, "float32", "cpu")
        self.max_tokens = config.max_new_tokens
        self.stop_ids = sorted(self.renderer.stop_ids)
        self._messages: dict[str, list[Message]] = {}
        self._ids: dict[str, list[int]] = {}
        self._asked: list[str] = []

    @staticmethod
    def describe_model(model: str, out: Path) -> Input:
        return Input(path=model)

    def submit(
        self, name: str, new_messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        messages = self._messages.setdefault(name, [])
        added = self.renderer.continuation_ids(messages, new_messages) if messages else None
        messages += new_messages
        if added is None:
            self._ids[name] = self.renderer.opening_ids(messages)
        else:
            self._ids[name] += added
        self._asked.append(name)

    def next_answers(self, timeout: float | None = None) -> dict[str, PlayerAnswer]:
        asked, self._asked = self._asked, []
        if not asked:
            return {}
        said = self.generate([self._ids[name] for name in asked])
        return {name: self._read(name, ids) for name, ids in zip(asked, said, strict=True)}

    def generate(self, histories: list[list[int]]) -> list[list[int]]:
        """The tokens that follow each history, up to and with the first stop token."""
        raise NotImplementedError

    def close(self, name: str) -> None:
        self._messages.pop(name, None)
        self._ids.pop(name, None)

    def end(self) -> None:
        pass

    def _read(self, name: str, said: list[int]) -> PlayerAnswer:
        stopped = said[-1] in self.stop_ids
        words = said[:-1] if stopped else said
        text = self.renderer.tokenizer.decode(words, skip_special_tokens=True)
        message = Message(role="assistant", content=text)
        num_prompt = len(self._ids[name])
        self._messages[name].append(message)
        self._ids[name] += [*said, *(() if stopped else self.renderer.end_of_turn)]
        usage = Usage(requests=1, input_tokens=num_prompt, output_tokens=len(said))
        return PlayerAnswer(message, "stop" if stopped else "length", usage=usage)


class GeneratePlayer(WholeHistoryPlayer):
    """`model.generate` with one padded batch for each round."""

    @torch.inference_mode()
    def generate(self, histories: list[list[int]]) -> list[list[int]]:
        width, pad = max(map(len, histories)), self.stop_ids[0]
        fed = torch.full((len(histories), width), pad)
        mask = torch.zeros_like(fed)
        for row, ids in enumerate(histories):
            fed[row, width - len(ids) :] = torch.tensor(ids)
            mask[row, width - len(ids) :] = 1
        output = self.model.generate(
            input_ids=fed,
            attention_mask=mask,
            max_new_tokens=self.max_tokens,
            do_sample=False,
            use_cache=True,
            eos_token_id=self.stop_ids,
            pad_token_id=pad,
        )
        answers = [row[width:].tolist() for row in output]
        stops = set(self.stop_ids)
        ends = [
            next((index for index, token in enumerate(answer) if token in stops), len(answer) - 1)
            for answer in answers
        ]
        return [answer[: end + 1] for answer, end in zip(answers, ends, strict=True)]


class ContinuousPlayer(WholeHistoryPlayer):
    """transformers' continuous batching, with its paged cache."""

    def generate(self, histories: list[list[int]]) -> list[list[int]]:
        from transformers import GenerationConfig
        from transformers.generation.configuration_utils import ContinuousBatchingConfig

        output = self.model.generate_batch(
            histories,
            generation_config=GenerationConfig(
                max_new_tokens=self.max_tokens,
                do_sample=False,
                eos_token_id=self.stop_ids,
                pad_token_id=self.stop_ids[0],
            ),
            continuous_batching_config=ContinuousBatchingConfig(
                page_size=32, num_blocks=4096, max_batch_tokens=512, use_cuda_graph=False
            ),
            warmup=False,
            progress_bar=False,
        )
        # The results are keyed by request, in the order of the requests.
        answers = sorted(output.values(), key=lambda each: int(each.request_id.split("_")[-1]))
        return [list(answer.generated_tokens) for answer in answers]
