"""Log-probabilities of given responses, from a model on a server with `/v1/completions`.

With `echo`, this older OpenAI protocol reports the log-probabilities of a prompt that is sent as
token ids. So the local tokenizer's chat template determines the tokens and which step owns each of
them. vLLM and SGLang support `echo`; llama.cpp's server and OpenAI's newer models do not.

A server reports only the most likely tokens of a position, not the whole distribution. The entropy
is computed as if all other tokens were one outcome, so it is a lower bound.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.errors import DataError, EndpointError, ModelError
from atlas.models.endpoints.endpoint import Endpoint
from atlas.models.endpoints.json_endpoint import JsonEndpoint, RejectedError, UnreadError
from atlas.models.local.step_tokens import (
    Measured,
    ScoringPrompt,
    StepTokens,
    count_unwritten_steps,
    scoring_prompts,
    tokens_by_step,
)
from atlas.records import Trajectory
from atlas.rendering.count_unwritten import UnwrittenCount
from atlas.rendering.renderer import Renderer

# A log-probability may exceed 0 by this much because of rounding in half precision.
ROUNDING = 1e-3
# The lowest log-probability in any precision is far above this.
LOWEST = -1e6
# Maximum bytes of an answer, which has an entry for each likely token at each position.
LARGEST_SCORES = 64 * 1024 * 1024
EXPECTED = (
    "expected a server that scores prompts: /v1/completions with echo and logprobs, as in vLLM and "
    "SGLang. Ask such a server, or run the model on this machine (leave base_url out)."
)


class CompletionsScorer:
    """Scores trajectories, written by `renderer`, with the model called `model` at an endpoint.

    Args:
        num_likeliest: how many tokens the server reports per position; with more, the entropy is
            more accurate.
    """

    def __init__(
        self, model: str, endpoint: Endpoint, renderer: Renderer, *, num_likeliest: int
    ) -> None:
        self.name = model
        self.renderer = renderer
        self._endpoint = JsonEndpoint("/completions", model, endpoint, largest=LARGEST_SCORES)
        self._num_likeliest = num_likeliest
        self._has_scored = False
        self.unwritten = UnwrittenCount()

    async def read(self, trajectory: Trajectory, is_counted: bool = True) -> list[StepTokens]:
        """The tokens of each step, one entry a step.

        Args:
            is_counted: whether what the template leaves out is counted in `unwritten`.

        Raises:
            DataError: the template or the server refuses this trajectory (too long, say).
            EndpointError: no usable answer after all retries.
            ModelError: the server has no such model, refuses the key, or does not score prompts.
        """
        prompts = scoring_prompts(trajectory, self.renderer, None, self.name)
        if is_counted:
            self.unwritten += count_unwritten_steps(prompts, self.renderer, trajectory)
        measured = [(prompt, await self._measure(prompt)) for prompt in prompts]
        return tokens_by_step(len(trajectory.steps), measured)

    async def close(self) -> None:
        await self._endpoint.close()

    async def _measure(self, prompt: ScoringPrompt) -> Measured:
        # One token is generated and thrown away: not every server takes 0.
        body = {
            "model": self.name,
            "prompt": prompt.token_ids.tolist(),
            "max_tokens": 1,
            "temperature": 0,
            "echo": True,
            "logprobs": self._num_likeliest,
        }
        url = self._endpoint.url
        try:
            answer = await self._endpoint.ask(body, lambda answer: answer)
        except RejectedError as error:
            said = str(error)
            # The same error would occur for every other trajectory.
            if not self._has_scored and ("echo" in said or "logprobs" in said):
                raise ModelError(f"{url} refuses to score prompts: {said}; {EXPECTED}") from None
            raise DataError(f"refused: {said}") from None
        except UnreadError as error:
            raise DataError(f"the server sent {error}") from None
        try:
            # This takes a second for a long prompt; in the event loop, other answers would wait.
            measured = await asyncio.to_thread(
                read_log_probs, answer, prompt.owned, len(prompt.token_ids)
            )
        except ValueError as error:
            said = self._endpoint.censor.quote(error)
            message = f"{url} gave no log-probabilities of the prompt for model '{self.name}'"
            # The server scored prompts before, so another try may succeed.
            if self._has_scored:
                raise EndpointError(f"{message}: {said}.") from None
            raise ModelError(f"{message}: {said}; {EXPECTED}") from None
        self._has_scored = True
        return measured


def read_log_probs(answer: Any, owned: NDArray[np.int64], num_tokens: int) -> Measured:
    """The log-probabilities of the prompt's tokens at the positions `owned`, and their entropies.

    The decoded `answer` may also hold generated tokens after the prompt's `num_tokens` tokens.

    Raises:
        ValueError: the answer lacks them.
    """
    try:
        found = answer["choices"][0]["logprobs"]
        log_probs, tops = found["token_logprobs"], found.get("top_logprobs")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ValueError("the answer holds no choices[0].logprobs.token_logprobs") from None
    if not isinstance(log_probs, list) or len(log_probs) < num_tokens:
        count = len(log_probs) if isinstance(log_probs, list) else "no"
        raise ValueError(f"{count} log-probabilities for a prompt of {num_tokens} tokens")
    if not isinstance(tops, list) or len(tops) < num_tokens:
        raise ValueError("the answer lacks the likeliest tokens (top_logprobs) of the prompt")
    chosen = [_checked(log_probs[position], position) for position in owned.tolist()]
    entropies = [_least_entropy(tops[position], position) for position in owned.tolist()]
    _refuse_shifted(log_probs, answer.get("usage"), num_tokens)
    return np.array(chosen, dtype=np.float64), np.array(entropies, dtype=np.float64)


def _refuse_shifted(log_probs: list[Any], usage: Any, num_tokens: int) -> None:
    """Raise if the server added a token, or left out the entry of the first token."""
    read = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    if isinstance(read, int) and read != num_tokens:
        raise ValueError(
            f"the server read {read} tokens where {num_tokens} were sent, "
            "so its log-probabilities belong to other tokens"
        )
    found = f"{len(log_probs)} log-probabilities for a prompt of {num_tokens} tokens"
    # One more entry belongs to the generated token.
    if len(log_probs) > num_tokens + 1:
        raise ValueError(f"{found} and the one after it")
    if len(log_probs) == num_tokens and log_probs[0]:
        raise ValueError(
            f"{found}, though the first token has none: it is left out, so each belongs to the "
            "next token"
        )


def _least_entropy(top: Any, position: int) -> float:
    """The entropy in nats, with all tokens that are not reported taken as one outcome."""
    if not isinstance(top, dict) or not top:
        found = f"position {position} has the likeliest tokens {top!r:.60}"
        raise ValueError(f"{found}, expected an object of log-probabilities")
    log_probs = [_checked(log_prob, position) for log_prob in top.values()]
    others = max(0.0, 1.0 - sum(map(math.exp, log_probs)))
    of_others = others * math.log(others) if others else 0.0
    return -sum(math.exp(log_prob) * log_prob for log_prob in log_probs) - of_others


def _checked(log_prob: Any, position: int) -> float:
    is_number = isinstance(log_prob, int | float) and not isinstance(log_prob, bool)
    # A whole number may be too large for a float.
    if not is_number or not LOWEST <= log_prob <= ROUNDING:
        found = f"position {position} has the log-probability {log_prob!r:.60}"
        raise ValueError(f"{found}, expected a finite number of at most 0")
    return min(float(log_prob), 0.0)
