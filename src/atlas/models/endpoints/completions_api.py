"""Log-probabilities of given responses by a model on a server: OpenAI's older protocol `/v1/completions`, which can score a prompt.

A chat endpoint tells the log-probabilities of what it generates. A completions endpoint that knows `echo` tells those of the
prompt too, and takes it as token ids: so the local tokenizer's chat template decides what is read, and who owns each token,
exactly as with a model on this machine. vLLM and SGLang serve this; llama.cpp's server refuses `echo`, OpenAI itself takes
`logprobs` with `echo` for its oldest models at most.

A server names the few likeliest tokens of a position, not the whole distribution. The entropy is computed with all others as
one outcome, and so is a lower bound: splitting that outcome up again could only raise it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.errors import DataError, EndpointError, ModelError
from atlas.models.endpoints.json_endpoint import JsonEndpoint, RejectedError
from atlas.models.local.step_tokens import (
    Measured,
    Question,
    StepTokens,
    questions_about,
    tokens_by_step,
)
from atlas.records import Trajectory
from atlas.rendering.renderer import Renderer

ROUNDING = 1e-3  # how far above 0 a log-probability may come out of half precision
EXPECTED = (
    "expected a server that scores prompts: /v1/completions with echo and logprobs, as vLLM and SGLang have it. "
    "Ask such a server, or run the model on this machine (leave base_url out)."
)


class CompletionsScorer:
    """One model at `base_url`, asked by its name there, that reads trajectories written by `renderer`.

    Args:
        num_likeliest: how many of the likeliest tokens the server names for each position; more make the entropy closer.
        max_retries: tries after the first, where the server is busy or breaks; as late as its Retry-After says.
    """

    def __init__(
        self,
        model: str,
        base_url: str,
        renderer: Renderer,
        *,
        num_likeliest: int,
        api_key_variable: str | None = None,
        timeout_seconds: float = 120.0,
        max_retries: int = 5,
    ) -> None:
        self.name = model
        self.renderer = renderer
        self._endpoint = JsonEndpoint(
            base_url.rstrip("/") + "/completions",
            model,
            api_key_variable=api_key_variable,
            timeout_seconds=timeout_seconds,
            max_retries=max_retries,
        )
        self._num_likeliest = num_likeliest
        self._has_scored = False

    async def read(self, trajectory: Trajectory) -> list[StepTokens]:
        """The tokens of each step, one entry a step.

        Raises:
            DataError: the trajectory cannot be read: its template refuses it, or the server does (too long, say).
            EndpointError: no usable answer after all retries.
            ModelError: the server does not know the model, refuses the key, or does not score prompts.
        """
        questions = questions_about(trajectory, self.renderer, None, self.name)
        return tokens_by_step(
            len(trajectory.steps),
            [(question, await self._measure(question)) for question in questions],
        )

    async def close(self) -> None:
        await self._endpoint.close()

    async def _measure(self, question: Question) -> Measured:
        # One token is generated and thrown away: not every server takes 0.
        body = {
            "model": self.name,
            "prompt": question.token_ids.tolist(),
            "max_tokens": 1,
            "temperature": 0,
            "echo": True,
        }
        url, quote = self._endpoint.url, self._endpoint.censor.quote
        try:
            answer = await self._endpoint.ask(
                body | {"logprobs": self._num_likeliest}, lambda answer: answer
            )
        except RejectedError as error:
            said = str(error)
            if not self._has_scored and (
                "echo" in said or "logprobs" in said
            ):  # so no trajectory will fare better
                raise ModelError(f"{url} refuses to score prompts: {said}; {EXPECTED}") from None
            raise DataError(f"refused: {said}") from None
        try:
            measured = read_log_probs(answer, question.owned, len(question.token_ids))
        except ValueError as error:
            message = f"{url} gave no log-probabilities of the prompt for model '{self.name}': {quote(error)}"
            if self._has_scored:  # it can, and did not this time
                raise EndpointError(f"{message}.") from None
            raise ModelError(f"{message}; {EXPECTED}") from None
        self._has_scored = True
        return measured


def read_log_probs(answer: Any, owned: NDArray[np.int64], num_tokens: int) -> Measured:
    """The log-probabilities of the prompt's tokens at the positions `owned`, and the entropies there (lower bounds).

    Args:
        answer: a completions answer, decoded.
        num_tokens: the length of the prompt; what was generated after it is not read.

    Raises:
        ValueError: the answer does not hold them.
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
        raise ValueError(
            "the answer names no likeliest tokens (top_logprobs) for each token of the prompt"
        )
    places = owned.tolist()
    chosen = [_checked(log_probs[place], place) for place in places]
    entropies = [_least_entropy(tops[place], place) for place in places]
    _refuse_shifted(log_probs, answer.get("usage"), num_tokens)
    return np.array(chosen, dtype=np.float64), np.array(entropies, dtype=np.float64)


def _refuse_shifted(log_probs: list[Any], usage: Any, num_tokens: int) -> None:
    """A server that adds a token of its own, or leaves out the first token (which has no log-probability), tells those of neighbours."""
    read = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    if isinstance(read, int) and read != num_tokens:
        raise ValueError(
            f"the server read {read} tokens where {num_tokens} were sent, so its log-probabilities are of other tokens"
        )
    if len(log_probs) > num_tokens + 1:  # the one that was generated
        raise ValueError(
            f"{len(log_probs)} log-probabilities for a prompt of {num_tokens} tokens and the one after it"
        )
    if len(log_probs) == num_tokens and log_probs[0]:
        raise ValueError(
            f"{num_tokens} log-probabilities for as many tokens, though the first can have none: it is left out, so they are of the next"
        )


def _least_entropy(top: Any, place: int) -> float:
    """The entropy in nats of the named tokens and of all others as one outcome."""
    if not isinstance(top, dict) or not top:
        raise ValueError(
            f"position {place} has the likeliest tokens {top!r:.60}, expected an object of log-probabilities"
        )
    log_probs = [_checked(log_prob, place) for log_prob in top.values()]
    others = max(0.0, 1.0 - sum(map(math.exp, log_probs)))
    return -sum(math.exp(log_prob) * log_prob for log_prob in log_probs) - (
        others * math.log(others) if others else 0.0
    )


def _checked(log_prob: Any, place: int) -> float:
    if (
        isinstance(log_prob, bool)
        or not isinstance(log_prob, int | float)
        or not math.isfinite(log_prob)
        or log_prob > ROUNDING
    ):
        raise ValueError(
            f"position {place} has the log-probability {log_prob!r:.60}, expected a finite number of at most 0"
        )
    return min(float(log_prob), 0.0)
