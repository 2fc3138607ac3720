"""Scoring over a network: the same figures as on this machine, a clear error for each fault."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import DataError, EndpointError, ModelError
from atlas.models.endpoints.completions_api import CompletionsScorer, read_log_probs
from atlas.models.endpoints.endpoint import Endpoint
from atlas.models.local.load import load_model, locate_model
from atlas.models.local.log_probabilities import LocalScorer
from atlas.models.local.step_tokens import StepTokens
from atlas.records import Trajectory
from atlas.rendering.renderer import Renderer
from tests.conftest import make_trajectory
from tests.models.endpoints.chat_server import HTML_PAGE, Reply, failure
from tests.models.endpoints.completions_server import Misbehave, TinyEngine, serve_scores
from tests.templates import THINKING, tiny_tokenizer

KEY = "sk-very-secret-0123456789"
TRAJECTORY = make_trajectory(3)


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture(scope="module")
def engine(tiny_model_folder: Path) -> TinyEngine:
    return TinyEngine(tiny_model_folder)


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    from tests.templates import CHATML

    return Renderer(tiny_tokenizer(CHATML))


def read(
    url: str, renderer: Renderer, *trajectories: Trajectory, **settings: Any
) -> list[StepTokens]:
    """What one client reads in the last of the trajectories."""

    async def run() -> list[StepTokens]:
        values = {"max_retries": 2, "timeout_seconds": 5.0, **settings}
        num_likeliest = values.pop("num_likeliest", 5)
        endpoint = Endpoint(base_url=url, **values)
        scorer = CompletionsScorer("tiny", endpoint, renderer, num_likeliest=num_likeliest)
        try:
            for trajectory in trajectories or (TRAJECTORY,):
                found = await scorer.read(trajectory)
            return found
        finally:
            await scorer.close()

    return asyncio.run(run())


def asked(
    engine: TinyEngine, renderer: Renderer, misbehave: Misbehave, **settings: Any
) -> tuple[str, int]:
    """The message of the error `settings["error"]`, and the number of requests."""
    error = settings.pop("error")
    with serve_scores(engine, misbehave) as server, pytest.raises(error) as caught:
        read(server.url, renderer, **settings)
    assert type(caught.value) is error
    return str(caught.value), len(server.requests)


def without(**changes: Any) -> Reply:
    """An answer whose log-probabilities have been changed; None takes a part out."""
    found = {
        "tokens": ["a"] * 999,
        "token_logprobs": [None, *[-1.0] * 998],
        "top_logprobs": [None, *[{"a": -1.0}] * 998],
    } | changes
    return Reply(
        json.dumps(
            {
                "choices": [
                    {"logprobs": {key: value for key, value in found.items() if value is not None}}
                ]
            }
        )
    )


@pytest.mark.parametrize("thinking", [False, True])
def test_a_server_tells_what_the_model_itself_tells_here(
    thinking: bool, engine: TinyEngine, renderer: Renderer, tiny_model_folder: Path
) -> None:
    trajectory = make_trajectory(4)
    if thinking:
        # A template that rewrites history: one prompt a step.
        steps = [
            step.model_copy(
                update={"response": step.response.model_copy(update={"reasoning": "Hm."})}
            )
            for step in trajectory.steps
        ]
        trajectory, renderer = (
            trajectory.model_copy(update={"steps": tuple(steps)}),
            Renderer(tiny_tokenizer(THINKING)),
        )
    local = LocalScorer(
        load_model(locate_model(str(tiny_model_folder)), "float32", "cpu"), renderer, "tiny"
    ).read(trajectory)
    with serve_scores(engine) as server:
        there = read(
            server.url, renderer, trajectory, num_likeliest=999
        )  # all tokens: nothing is left in one bucket
    assert len(server.requests) == (4 if thinking else 1)
    for one, other in zip(local, there, strict=True):
        np.testing.assert_allclose(one.log_probs, other.log_probs, atol=1e-4)
        np.testing.assert_allclose(one.entropies, other.entropies, atol=1e-4)


def test_a_few_likeliest_tokens_give_a_lower_bound_that_more_of_them_raise(
    engine: TinyEngine, renderer: Renderer
) -> None:
    with serve_scores(engine) as server:
        few, more, all_ = (
            read(server.url, renderer, num_likeliest=count)[1].entropies for count in (2, 20, 999)
        )
    assert [body["logprobs"] for body in server.requests] == [2, 20, 999]
    assert (few <= more + 1e-9).all()
    assert (more <= all_ + 1e-9).all()
    assert (few < all_ - 1e-3).any()


@given(st.lists(st.floats(0.01, 10), min_size=2, max_size=12), st.integers(1, 12))
def test_entropy_of_named_tokens_and_the_rest_never_exceeds_the_whole(
    weights: list[float], count: int
) -> None:
    probabilities = sorted((weight / sum(weights) for weight in weights), reverse=True)
    top = {
        str(index): math.log(probability) for index, probability in enumerate(probabilities[:count])
    }
    answer = {
        "choices": [{"logprobs": {"token_logprobs": [None, -1.0], "top_logprobs": [None, top]}}]
    }
    _, [bound] = read_log_probs(answer, np.array([1]), 2)
    whole = -sum(probability * math.log(probability) for probability in probabilities)
    assert bound >= -1e-9
    assert bound <= whole + 1e-9
    if count >= len(probabilities):
        assert bound == pytest.approx(whole, abs=1e-9)


def test_tokens_are_sent_up_to_the_last_that_counts_with_the_key_and_nothing_else(
    engine: TinyEngine, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with serve_scores(engine) as server:
        read(server.url, renderer, api_key_variable="MY_KEY")
        read(server.url + "/", renderer)
    [example] = renderer.tokenize_trajectory(TRAJECTORY)
    last = int(np.flatnonzero(example.step_of_token >= 0)[-1])
    assert server.requests[0]["prompt"] == example.token_ids[: last + 1].tolist()
    assert server.requests[0].keys() == {
        "model",
        "prompt",
        "max_tokens",
        "temperature",
        "echo",
        "logprobs",
    }
    assert server.authorizations == [f"Bearer {KEY}", "Bearer no-key"]


@pytest.mark.parametrize(
    "first",
    [
        failure(429, "busy", Retry_After="0"),
        failure(500),
        replace(failure(200), is_cut=True),
        HTML_PAGE,
        Reply("{", delay=1.3),
    ],
    ids=["busy", "broken", "cut", "html", "slow"],
)
def test_a_server_that_fails_once_is_asked_again(
    first: Reply, engine: TinyEngine, renderer: Renderer
) -> None:
    with serve_scores(engine, lambda body, number: None if number else first) as server:
        assert len(read(server.url, renderer, timeout_seconds=1.0)) == 3
    assert len(server.requests) == 2


def test_a_busy_server_is_asked_again_when_it_says(engine: TinyEngine, renderer: Renderer) -> None:
    with serve_scores(
        engine, lambda body, number: None if number else failure(429, Retry_After="1.5")
    ) as server:
        read(server.url, renderer)
    assert server.times[1] - server.times[0] >= 1.4


def test_a_server_that_stays_broken_gave_no_answer(engine: TinyEngine, renderer: Renderer) -> None:
    said, count = asked(
        engine,
        renderer,
        lambda body, number: failure(503, "overloaded"),
        error=EndpointError,
        max_retries=1,
    )
    assert "overloaded" in said
    assert count == 2


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (without(token_logprobs=None), "no choices"),
        (Reply('{"choices": [{"logprobs": null}]}'), "no choices"),
        (Reply('{"choices": []}'), "no choices"),
        (Reply("[1]"), "no choices"),
        (
            without(token_logprobs=[-0.5]),
            "1 log-probabilities for a prompt of",
        ),  # llama.cpp: only of generated tokens
        (without(token_logprobs=[None] * 999), "the log-probability None"),
        (without(token_logprobs=["-1"] * 999), "the log-probability '-1'"),
        (without(token_logprobs=[0.5] * 999), "the log-probability 0.5"),
        (without(token_logprobs=[float("nan")] * 999), "the log-probability nan"),
        (without(top_logprobs=None), "the answer lacks the likeliest tokens"),
        (without(top_logprobs=[None] * 999), "the likeliest tokens None"),
        (without(top_logprobs=[{"a": "b"}] * 999), "the log-probability 'b'"),
    ],
)
def test_a_server_that_does_not_score_prompts_stops_the_run(
    reply: Reply, expected: str, engine: TinyEngine, renderer: Renderer
) -> None:
    said, count = asked(engine, renderer, lambda body, number: reply, error=ModelError)
    assert expected in said
    assert "vLLM" in said
    assert count == 1


def shifted(answer: dict[str, Any], how: str, num_tokens: int) -> dict[str, Any]:
    found = answer["choices"][0]["logprobs"]
    for name in ("tokens", "token_logprobs", "top_logprobs"):
        found[name] = found[name][1:] if how == "first left out" else [None, *found[name]]
    if how == "one more, nothing generated":
        for name in ("tokens", "token_logprobs", "top_logprobs"):
            found[name].pop()
        answer["usage"] = {"prompt_tokens": num_tokens + 1}
    if how == "one more":
        found["token_logprobs"][1] = found["top_logprobs"][1] = None
    return answer


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("first left out", "though the first token has none"),
        ("one more", "and the one after it"),
        ("one more, nothing generated", "the server read"),
    ],
)
def test_log_probabilities_of_neighboring_tokens_are_refused(
    how: str, expected: str, engine: TinyEngine, renderer: Renderer
) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return Reply(json.dumps(shifted(engine.answer(body), how, len(body["prompt"]))))

    said, count = asked(engine, renderer, answer, error=ModelError)
    assert expected in said
    assert count == 1


def test_a_server_that_scored_before_and_does_not_this_time_gave_no_answer(
    engine: TinyEngine, renderer: Renderer
) -> None:
    with (
        serve_scores(
            engine, lambda body, number: without(token_logprobs=None) if number else None
        ) as server,
        pytest.raises(EndpointError, match="gave no log-probabilities"),
    ):
        read(server.url, renderer, TRAJECTORY, TRAJECTORY)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_or_model_is_final(
    status: int, engine: TinyEngine, renderer: Renderer
) -> None:
    said, count = asked(
        engine, renderer, lambda body, number: failure(status, "not for you"), error=ModelError
    )
    assert "not for you" in said
    assert count == 1


def test_a_trajectory_that_the_server_refuses_is_data(
    engine: TinyEngine, renderer: Renderer
) -> None:
    said, count = asked(
        engine,
        renderer,
        lambda body, number: failure(400, "maximum context length exceeded"),
        error=DataError,
    )
    assert "refused: " in said
    assert "maximum context length" in said
    assert count == 1


def test_a_server_that_refuses_to_echo_stops_the_run(
    engine: TinyEngine, renderer: Renderer
) -> None:
    said, _ = asked(
        engine,
        renderer,
        lambda body, number: failure(400, "Only no echo is supported"),
        error=ModelError,
    )
    assert "refuses to score prompts" in said


def test_a_redirect_is_not_followed_with_the_key(engine: TinyEngine, renderer: Renderer) -> None:
    with serve_scores(engine) as other:
        moved = Reply("moved", 307, {"Location": f"{other.url}/completions"})
        said, _ = asked(engine, renderer, lambda body, number: moved, error=ModelError)
    assert "307" in said
    assert other.requests == []


@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_a_key_that_the_server_repeats_is_redacted(
    status: int, engine: TinyEngine, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with (
        serve_scores(engine, lambda body, number: Reply(f"bad key {KEY}", status)) as server,
        pytest.raises(Exception) as caught,
    ):
        read(server.url, renderer, max_retries=0)
    assert "bad key [key]" in str(caught.value)
    assert KEY not in str(caught.value)


def test_no_server_at_all_gave_no_answer(engine: TinyEngine, renderer: Renderer) -> None:
    with serve_scores(engine) as server:
        pass
    with pytest.raises(EndpointError, match="gave no answer"):
        read(server.url, renderer, max_retries=0)
