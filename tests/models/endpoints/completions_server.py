"""A loopback HTTP server that scores prompts with a tiny model: `/v1/completions` with `echo`."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from atlas.models.local.load import load_model, locate_model
from tests.models.endpoints.chat_server import ChatServer, Reply, serve

Misbehave = Callable[[dict[str, Any], int], Reply | None]


class TinyEngine:
    """Answers like vLLM: log-probabilities of the prompt (not of its first token) and one more."""

    def __init__(self, folder: Path) -> None:
        self._model = load_model(locate_model(str(folder)), "float32", "cpu")
        self._lock = threading.Lock()

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        assert body["echo"] is True
        assert body["max_tokens"] == 1
        ids = torch.tensor(body["prompt"])
        with self._lock, torch.inference_mode():
            log_probs = torch.log_softmax(
                self._model(input_ids=ids[None]).logits[0].double(), dim=-1
            )
        generated = int(log_probs[-1].argmax())
        tokens = [*body["prompt"], generated]
        top = [
            self._top(row, token, body["logprobs"])
            for row, token in zip(log_probs, tokens[1:], strict=True)
        ]
        chosen = [float(row[token]) for row, token in zip(log_probs, tokens[1:], strict=True)]
        found = {
            "tokens": [f"token_{token}" for token in tokens],
            "token_logprobs": [None, *chosen],
            "top_logprobs": [None, *top],
        }
        return {
            "object": "text_completion",
            "choices": [{"index": 0, "text": "", "logprobs": found, "finish_reason": "length"}],
        }

    def _top(self, log_probs: torch.Tensor, token: int, count: int) -> dict[str, float]:
        values, ids = log_probs.topk(min(count, len(log_probs)))
        named = {
            f"token_{id_}": value for id_, value in zip(ids.tolist(), values.tolist(), strict=True)
        }
        return named | {f"token_{token}": float(log_probs[token])}


@contextmanager
def serve_scores(
    engine: TinyEngine, misbehave: Misbehave = lambda body, number: None
) -> Iterator[ChatServer]:
    """`misbehave(body, number)` may answer in the engine's place."""

    def answer(body: dict[str, Any], number: int) -> Reply:
        return misbehave(body, number) or Reply(json.dumps(engine.answer(body)))

    with serve(answer, path="/v1/completions") as server:
        yield server
