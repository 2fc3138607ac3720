from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rich.console import Console

from atlas.records import CriticalStep, Selection, Trajectory
from atlas.rendering.loss_mask import count_run, loss_mask
from atlas.rendering.measured_tokens import MeasuredTokens
from atlas.rendering.renderer import Renderer
from atlas.rendering.token_ownership import TokenizedExample
from atlas.rendering.token_texts import token_texts
from atlas.viewing.terminal.show_tokens import print_tokens
from atlas.viewing.token_view import describe_tokens
from tests.conftest import make_trajectory
from tests.templates import CHATML, SPECIAL_TOKENS, tiny_tokenizer


def select(trajectory: Trajectory, *indices: int) -> Selection:
    num = len(trajectory.steps)
    steps = tuple(CriticalStep(index=index) for index in indices)
    return Selection(
        trajectory_id=trajectory.id,
        selector="test",
        num_steps=num,
        budget=num,
        critical_steps=steps,
    )


def every_other(example: TokenizedExample, positions: NDArray[np.integer]) -> MeasuredTokens:
    """A meter: the loss is the position, and odd positions are silenced."""
    return MeasuredTokens(positions.astype(float), positions % 2 == 1)


@pytest.mark.parametrize("family", ["chatml", "llama-3", "mistral", "gemma"])
@pytest.mark.parametrize("max_tokens", [None, 200, 60, 5])
def test_counts_equal_those_of_the_loss_mask(family: str, max_tokens: int | None) -> None:
    template = SPECIAL_TOKENS[family][0]
    trajectory = make_trajectory(5)
    chosen = select(trajectory, 1, 3)
    renderer = Renderer(tiny_tokenizer(template), family)
    view = describe_tokens(trajectory, chosen, renderer, max_tokens)
    (example,) = renderer.tokenize_trajectory(trajectory, max_tokens, chosen.indices)
    mask = loss_mask(example, chosen.indices)
    assert view.num_supervised == mask.sum()
    assert view.num_not_run == len(mask) - count_run(mask)
    for step in view.steps:
        assert step.num_supervised == (mask & (example.step_of_token == step.step)).sum()
        assert step.is_chosen == (step.step in chosen.indices)
    (whole,) = renderer.tokenize_trajectory(trajectory, None, chosen.indices)
    (viewed,) = view.examples
    assert viewed.token_ids.tolist() == whole.token_ids.tolist()
    assert view.num_tokens + view.num_cut == len(whole.token_ids)


@given(st.sets(st.integers(0, 3)), st.one_of(st.none(), st.integers(1, 300)))
@settings(max_examples=30)
def test_every_token_is_supervised_context_or_cut(steps: set[int], limit: int | None) -> None:
    trajectory = make_trajectory(4)
    renderer = Renderer(tiny_tokenizer(CHATML), "chatml")
    chosen = select(trajectory, *sorted(steps))
    view = describe_tokens(trajectory, chosen, renderer, limit, every_other)
    for viewed in view.examples:
        assert not viewed.mask[viewed.num_run :].any()
        assert len(viewed.token_ids) == len(viewed.owners)
        assert viewed.silenced is None or not (viewed.silenced & ~viewed.mask).any()
    silenced = [step.num_silenced for step in view.steps]
    assert view.num_silenced is None or sum(filter(None, silenced)) == view.num_silenced


def test_losses_are_those_of_the_meter_at_the_tokens_of_all_steps() -> None:
    trajectory = make_trajectory(3)
    renderer = Renderer(tiny_tokenizer(CHATML), "chatml")
    view = describe_tokens(trajectory, select(trajectory, 1), renderer, None, every_other)
    (viewed,) = view.examples
    assert viewed.losses is not None
    owned = viewed.example.step_of_token >= 0
    assert (np.isnan(viewed.losses) == ~owned).all()
    for step in view.steps:
        places = np.flatnonzero(viewed.example.step_of_token == step.step)
        assert step.mean_loss == pytest.approx(places.mean())


def test_the_terminal_marks_what_is_silenced_and_says_how_much() -> None:
    trajectory = make_trajectory(2)
    console = Console(file=io.StringIO(), width=400, highlight=False)
    renderer = Renderer(tiny_tokenizer(CHATML), "chatml")
    print_tokens(console, trajectory, select(trajectory, 0), renderer, 90, every_other)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "⟪" in shown
    assert "silenced by the objective at the first step: " in shown
    assert "cut off: " in shown
    assert "not run: " in shown


@pytest.mark.parametrize("family", list(SPECIAL_TOKENS))
def test_texts_of_tokens_joined_are_the_decoded_text(family: str) -> None:
    template = SPECIAL_TOKENS[family][0]
    tokenizer: Any = tiny_tokenizer(template)
    text = "Thought: größer 🙂 日本 \n\n  x<|im_end|>"
    ids = np.array(tokenizer(text, add_special_tokens=False)["input_ids"])
    texts = token_texts(tokenizer, ids)
    whole = tokenizer.decode(ids.tolist(), clean_up_tokenization_spaces=False)
    assert "".join(texts) == whole
    for start in range(0, len(ids), 7):
        assert len(token_texts(tokenizer, ids, start, start + 7)) == len(ids[start : start + 7])


def test_a_part_of_the_tokens_has_the_texts_of_the_whole(tiny_model_folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_folder)
    ids = np.array(tokenizer("go to red ball 1 and 🙂 look around " * 5)["input_ids"])
    texts = token_texts(tokenizer, ids)
    assert token_texts(tokenizer, ids, 10, 25) == texts[10:25]
