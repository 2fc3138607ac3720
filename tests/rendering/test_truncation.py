"""Sequences beyond the token limit: what is cut, in which order, and that nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.records import Message, Step, Trajectory
from atlas.rendering.loss_mask import loss_mask
from atlas.rendering.renderer import Renderer
from atlas.rendering.token_ownership import TokenizedExample
from atlas.rendering.truncation import MARKER
from tests.conftest import make_trajectory
from tests.template_families import FAMILIES, family_renderer, tool_trajectory, with_thinking
from tests.templates import make_tokenizer

NAMES = ["llama-2", "phi-3", "qwen2.5", "qwen3", "deepseek-r1", "gemma-strict"]


def trajectory_of(lengths: list[int], thinks: bool) -> Trajectory:
    """Observations of so many words."""
    steps = tuple(
        Step(
            observation=(Message(role="user", content=" ".join([f"door {index}"] * length)),),
            response=Message(role="assistant", content=f"I go to door {index}."),
        )
        for index, length in enumerate(lengths)
    )
    trajectory = make_trajectory(0).model_copy(update={"steps": steps})
    return with_thinking(trajectory) if thinks else trajectory


def all_cut(renderer: Renderer, trajectory: Trajectory) -> Trajectory:
    """Every observation but the first with the marker, where that is shorter; made by hand."""
    steps = list(trajectory.steps)
    for index in range(1, len(steps)):
        (seen,) = steps[index].observation
        if len(renderer.encode(seen.content)) > len(renderer.encode(MARKER)):
            steps[index] = steps[index].model_copy(
                update={"observation": (seen.model_copy(update={"content": MARKER}),)}
            )
    return trajectory.model_copy(update={"steps": tuple(steps)})


def end_of_step(example: TokenizedExample, step: int) -> int:
    return int(np.flatnonzero(example.step_of_token == step)[-1]) + 1


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_as_few_observations_as_needed_give_way_and_no_step_is_lost_that_could_fit(
    name: str, data: st.DataObject
) -> None:
    renderer = family_renderer(name)
    lengths = data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=6))
    chosen = sorted(data.draw(st.sets(st.integers(0, len(lengths) - 1), min_size=1)))
    max_tokens = data.draw(st.integers(20, 400))
    trajectory = trajectory_of(lengths, FAMILIES[name].thinks)
    plain = renderer.tokenize_trajectory(trajectory, max_tokens, chosen)
    cut = renderer.tokenize_trajectory(trajectory, max_tokens, chosen, "cut_observations")
    again = renderer.tokenize_trajectory(trajectory, max_tokens, chosen, "cut_observations")
    whole = renderer.tokenize_trajectory(trajectory, steps=chosen)
    shortest = renderer.tokenize_trajectory(all_cut(renderer, trajectory), steps=chosen)
    assert len(plain) == len(cut) == len(shortest)
    for dropping, example, same, untouched, least in zip(
        plain, cut, again, whole, shortest, strict=True
    ):
        assert len(example.token_ids) <= max_tokens
        assert example.token_ids.tolist() == same.token_ids.tolist()
        assert sorted([*example.steps, *example.dropped_steps]) == list(untouched.steps)
        assert {step for step in untouched.steps if end_of_step(least, step) <= max_tokens} <= set(
            example.steps
        )
        assert set(dropping.steps) <= set(example.steps)
        if not dropping.dropped_steps or example.steps == dropping.steps:
            assert example.cut_observations == (), "nothing is cut where that keeps no step"
            assert example.token_ids.tolist() == dropping.token_ids.tolist()
        for step in example.steps:
            said = untouched.token_ids[loss_mask(untouched, [step])].tolist()
            assert example.token_ids[loss_mask(example, [step])].tolist() == said, (
                "responses are never cut"
            )
        text = renderer.tokenizer.decode(example.token_ids.tolist())
        assert text.count(MARKER) <= len(example.cut_observations)


def test_far_observations_go_first_and_the_task_and_what_the_step_answers_go_last() -> None:
    renderer = family_renderer("qwen2.5")
    trajectory = trajectory_of([20] * 7, thinks=False)
    (whole,) = renderer.tokenize_trajectory(trajectory, steps=[2, 6])
    length, each = (
        end_of_step(whole, 6),
        len(renderer.encode(" ".join(["door 4"] * 20))) - len(renderer.encode(MARKER)),
    )

    def cut(num: int) -> tuple[int, ...]:
        limit = length - (num - 1) * each - 1
        (example,) = renderer.tokenize_trajectory(trajectory, limit, [2, 6], "cut_observations")
        assert example.steps == (2, 6)
        return example.cut_observations

    assert [cut(num) for num in range(1, 7)] == [
        (4,),
        (1, 4),
        (1, 3, 4),
        (1, 3, 4, 5),
        (1, 2, 3, 4, 5),
        (1, 2, 3, 4, 5, 6),
    ]


def test_results_of_tools_give_way_together_and_keep_their_calls() -> None:
    renderer = family_renderer("hermes")
    trajectory = tool_trajectory(FAMILIES["hermes"])
    long = tuple(
        step.model_copy(
            update={
                "observation": tuple(
                    message.model_copy(update={"content": message.content * 9})
                    for message in step.observation
                )
            }
        )
        for step in trajectory.steps
    )
    trajectory = trajectory.model_copy(update={"steps": long})
    (whole,) = renderer.tokenize_trajectory(trajectory, steps=[2])
    (example,) = renderer.tokenize_trajectory(
        trajectory, len(whole.token_ids) - 60, [2], "cut_observations"
    )
    assert example.cut_observations == (1,)
    assert (
        renderer.tokenizer.decode(example.token_ids.tolist()).count(
            f"<tool_response>\n{MARKER}\n</tool_response>"
        )
        == 2
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("max_tokens", [120, 200, 280])
def test_no_observation_gives_way_to_steps_that_do_not_matter(name: str, max_tokens: int) -> None:
    renderer = family_renderer(name)
    trajectory = trajectory_of([12] * 6, FAMILIES[name].thinks)
    alone = renderer.tokenize_trajectory(trajectory, max_tokens, [1, 2], "cut_observations")
    beside = renderer.tokenize_trajectory(
        trajectory, max_tokens, [1, 2], "cut_observations", others=[0, 3, 4, 5]
    )
    for step in (1, 2):
        (one,), (other,) = (
            [made for made in examples if step in made.steps] or [None]
            for examples in (alone, beside)
        )
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert one.cut_observations == other.cut_observations
            assert (
                one.token_ids[: end_of_step(one, step)].tolist()
                == other.token_ids[: end_of_step(other, step)].tolist()
            )


def test_a_template_that_takes_the_marker_for_a_question_gives_an_example_per_step() -> None:
    # Like Qwen3's, whose user turns may hold results of tools in words.
    template = (
        "{% set asked = namespace(last=-1) %}{% for m in messages %}"
        "{% if m.role == 'user' and not m.content.startswith('<tool_response>') %}"
        "{% set asked.last = loop.index0 %}{% endif %}{% endfor %}"
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.reasoning_content and loop.index0 > asked.last %}"
        "{{ '<think>\n' + m.reasoning_content + '\n</think>\n\n' }}{% endif %}"
        "{{ m.content + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    renderer = Renderer(make_tokenizer(template, ["<|im_start|>", "<|im_end|>"], "<|im_end|>"))
    steps = list(trajectory_of([3, 20, 20, 20], thinks=True).steps)
    for index in range(1, 4):
        (seen,) = steps[index].observation
        result = seen.model_copy(
            update={"content": f"<tool_response>{seen.content}</tool_response>"}
        )
        steps[index] = steps[index].model_copy(update={"observation": (result,)})
    trajectory = make_trajectory(0).model_copy(update={"steps": tuple(steps)})
    (whole,) = renderer.tokenize_trajectory(trajectory, steps=[1, 3])
    made = renderer.tokenize_trajectory(
        trajectory, len(whole.token_ids) - 30, [1, 3], "cut_observations"
    )
    assert [example.steps for example in made] == [(1,), (3,)]
    assert all(example.cut_observations == (2,) for example in made)
    for example, step in zip(made, (1, 3), strict=True):
        assert f"Hm {step}." in renderer.tokenizer.decode(
            example.token_ids[loss_mask(example, [step])].tolist()
        )
