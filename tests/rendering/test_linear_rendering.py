"""Rendering costs a number of characters that grows with the conversation, not with its square."""

from __future__ import annotations

import pytest

from atlas.records import Message
from atlas.rendering.renderer import Renderer
from benchmarks.rendering import CountedTemplate, make_trajectory, measure
from tests.templates import make_tokenizer


@pytest.mark.parametrize("row", ["qwen2.5/chat", "qwen2.5/calls", "gemma-strict/chat"])
def test_template_calls_and_characters_are_linear_in_the_steps(row: str) -> None:
    name, kind = row.split("/")
    found = {steps: measure(name, kind, steps, None, "drop_tail") for steps in (20, 80, 320)}
    for steps, one in found.items():
        assert one["examples"] == 1
        # A response with calls is rendered again, without its history, to see what is not written.
        assert one["calls"] <= (6 if kind == "calls" else 4) * steps + 40
        assert one["characters"] <= 10


@pytest.mark.parametrize("row", ["qwen2.5/chat", "qwen3/calls", "qwen3/chat", "deepseek-r1/chat"])
@pytest.mark.parametrize("truncation", ["drop_tail", "cut_observations"])
def test_what_lies_beyond_the_limit_costs_little(row: str, truncation: str) -> None:
    name, kind = row.split("/")
    few, many = (measure(name, kind, steps, 2000, truncation) for steps in (60, 240))
    length = {60: 60 * few["characters"], 240: 240 * many["characters"]}
    assert length[240] <= 4.5 * length[60]


def test_a_template_that_looks_far_back_is_rendered_whole_and_right() -> None:
    # It numbers the turns, and strips all thinking before the last five turns.
    template = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
        "{% if m.role == 'assistant' %}{{ loop.index ~ ' ' }}"
        "{% if m.reasoning_content and (messages | length - loop.index0) // 2 <= 5 %}"
        "{{ '<think>' + m.reasoning_content + '</think>' }}{% endif %}{% endif %}"
        "{{ m.content + '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )
    tokenizer = make_tokenizer(template, ["<|im_start|>", "<|im_end|>"], "<|im_end|>")
    renderer = Renderer(tokenizer, "far")
    trajectory = make_trajectory(12, "chat", thinks=True)
    messages = trajectory.messages
    for example in renderer.tokenize_trajectory(trajectory):
        for step in example.steps:
            end = int((example.step_of_token == step).nonzero()[0][-1]) + 1
            text = renderer.render(messages[: 2 * step + 3]).removesuffix("\n")
            assert renderer.tokenizer.decode(example.token_ids[:end]) == text


def test_a_long_beginning_is_not_rendered_for_every_step() -> None:
    trajectory = make_trajectory(100, "chat", thinks=False)
    prompt = (Message(role="system", content="You are an agent. " * 5000),)
    trajectory = trajectory.model_copy(update={"prompt": prompt})
    renderer = Renderer(
        make_tokenizer(
            "{% for m in messages %}"
            "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
            ["<|im_start|>", "<|im_end|>"],
            "<|im_end|>",
        )
    )
    length = len(renderer.render(trajectory.messages))
    with CountedTemplate(renderer) as template:
        renderer.tokenize_trajectory(trajectory)
    assert template.characters <= 25 * length


def test_a_template_that_knows_its_tools_is_rendered_in_linear_time() -> None:
    # It refuses the markers in the copies of calls, with and without the messages before them.
    template = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content }}"
        "{% for call in m.tool_calls or [] %}{% if call.function.name not in ['open', 'xyzzy'] %}"
        "{{ raise_exception('unknown tool') }}{% endif %}{{ call.function | tojson }}{% endfor %}"
        "{{ '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )
    renderer = Renderer(make_tokenizer(template, ["<|im_start|>", "<|im_end|>"], "<|im_end|>"))
    given = {}
    for steps in (40, 160):
        with CountedTemplate(renderer) as template_calls:
            renderer.tokenize_trajectory(make_trajectory(steps, "calls", thinks=False))
        given[steps] = template_calls.messages
    assert given[160] <= 4.5 * given[40]
