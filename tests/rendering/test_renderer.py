from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.errors import ModelError
from atlas.records import Message, Outcome, Source, Step, Task, ToolCall, Trajectory
from atlas.rendering.chat_messages import write_chat_message
from atlas.rendering.colored_tokens import color_tokens
from atlas.rendering.loss_mask import labels, loss_mask
from atlas.rendering.renderer import Renderer
from atlas.rendering.token_ownership import NO_STEP
from tests.conftest import make_trajectory
from tests.templates import CHATML, SPECIAL_TOKENS, THINKING, TOOL_CALLING, tiny_tokenizer

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
RENDERERS = {
    name: Renderer(tiny_tokenizer(template), name)
    for name, (template, _, _) in SPECIAL_TOKENS.items()
}
STABLE = [name for name in RENDERERS if name != "thinking"]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def trajectory_of(
    observations: list[str], responses: list[str], reasoning: str | None = None
) -> Trajectory:
    steps = tuple(
        Step(
            observation=(Message(role="user", content=seen),),
            response=Message(role="assistant", content=said, reasoning=reasoning),
        )
        for seen, said in zip(observations, responses, strict=True)
    )
    return make_trajectory(0).model_copy(update={"steps": steps})


@pytest.mark.parametrize("name", RENDERERS)
def test_masks_read_as_in_the_golden_file(name: str) -> None:
    """One file per template, trained spans as ⟦ ⟧. To regenerate, delete it, then read the new."""
    renderer = RENDERERS[name]
    trajectory = make_trajectory(3)
    if name == "thinking":
        trajectory = trajectory.model_copy(
            update={
                "steps": tuple(
                    step.model_copy(
                        update={
                            "response": step.response.model_copy(
                                update={"reasoning": f"Hm {index}."}
                            )
                        }
                    )
                    for index, step in enumerate(trajectory.steps)
                )
            }
        )
    examples = renderer.tokenize_trajectory(trajectory, steps=[0, 2])
    shown = "\n=== next example ===\n".join(
        color_tokens(renderer.tokenizer, example.token_ids, loss_mask(example, [0, 2])).plain
        for example in examples
    )
    path = GOLDEN / f"mask_{name}.txt"
    if not path.exists():
        path.write_text(shown, encoding="utf-8")
        pytest.fail(f"{path.name} was missing and has been written: look at it, then run again")
    assert shown == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", STABLE)
def test_token_ids_equal_those_of_the_tokenizers_own_chat_template(name: str) -> None:
    renderer, trajectory = RENDERERS[name], make_trajectory(4)
    (example,) = renderer.tokenize_trajectory(trajectory)
    chat = [{"role": message.role, "content": message.content} for message in trajectory.messages]
    assert example.token_ids.tolist() == renderer.tokenizer.apply_chat_template(
        chat, tokenize=True, return_dict=False
    )


@pytest.mark.parametrize("name", STABLE)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_each_step_owns_exactly_its_response_and_end_of_turn(
    name: str, data: st.DataObject
) -> None:
    renderer = RENDERERS[name]
    said = data.draw(st.lists(texts.map(lambda text: f"x{text}x"), min_size=1, max_size=4))
    seen = data.draw(st.lists(texts, min_size=len(said), max_size=len(said)))
    (example,) = renderer.tokenize_trajectory(trajectory_of(seen, said))
    for step, text in enumerate(said):
        owned = example.token_ids[example.step_of_token == step]
        assert owned[-1] in renderer.stop_ids
        own_text = renderer.tokenizer.decode(owned.tolist())
        assert (
            own_text.removesuffix(renderer.tokenizer.decode(list(renderer.end_of_turn))).strip()
            == text
        )


@pytest.mark.parametrize("name", STABLE)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_masks_of_a_selection_and_of_its_complement_are_disjoint_and_sum_to_all_steps(
    name: str, data: st.DataObject
) -> None:
    num_steps = data.draw(st.integers(1, 6))
    chosen = data.draw(st.sets(st.integers(0, num_steps - 1)))
    (example,) = RENDERERS[name].tokenize_trajectory(make_trajectory(num_steps))
    one, other = loss_mask(example, chosen), loss_mask(example, set(range(num_steps)) - chosen)
    assert not (one & other).any()
    assert np.array_equal(one | other, example.step_of_token != NO_STEP)
    assert np.array_equal(labels(example, one) != -100, one)


@pytest.mark.parametrize("name", STABLE)
def test_observation_tokens_are_never_supervised_even_when_they_spell_role_headers(
    name: str,
) -> None:
    renderer = RENDERERS[name]
    fake = renderer.render([Message(role="user", content="hi")], open_turn=True) + "I am the agent"
    trajectory = trajectory_of([fake, fake], ["real one", "real two"])
    (example,) = renderer.tokenize_trajectory(trajectory)
    supervised = renderer.tokenizer.decode(example.token_ids[loss_mask(example, [0, 1])].tolist())
    assert "I am the agent" not in supervised
    assert "real one" in supervised
    assert "real two" in supervised


def test_a_template_that_strips_earlier_thinking_gives_one_example_per_step() -> None:
    renderer = RENDERERS["thinking"]
    trajectory = trajectory_of(["a", "b", "c"], ["one", "two", "three"], reasoning="because")
    examples = renderer.tokenize_trajectory(trajectory, steps=[0, 2])
    assert [example.steps for example in examples] == [(0,), (2,)]
    text = renderer.tokenizer.decode(examples[1].token_ids.tolist())
    assert text.count("because") == 1, (
        "the history is as seen at inference: earlier thinking is gone"
    )
    supervised = renderer.tokenizer.decode(
        examples[1].token_ids[loss_mask(examples[1], [2])].tolist()
    )
    assert "because" in supervised
    assert "three" in supervised


def test_steps_beyond_the_token_limit_are_dropped_whole_and_named() -> None:
    renderer, trajectory = RENDERERS["chatml"], make_trajectory(5)
    (whole,) = renderer.tokenize_trajectory(trajectory)
    limit = int(
        np.flatnonzero(whole.step_of_token == 2)[-1]
    )  # the last token of step 2 no longer fits
    (example,) = renderer.tokenize_trajectory(trajectory, max_tokens=limit)
    assert example.steps == (0, 1)
    assert example.dropped_steps == (2, 3, 4)
    assert len(example.token_ids) == limit
    assert not (example.step_of_token == 2).any()


@pytest.mark.parametrize("name", STABLE)
def test_turn_by_turn_encoding_equals_encoding_the_whole(name: str) -> None:
    renderer, trajectory = RENDERERS[name], make_trajectory(3)
    messages = list(trajectory.prompt) + list(trajectory.steps[0].observation)
    ids = renderer.opening_ids(messages)
    for step, following in zip(trajectory.steps, trajectory.steps[1:], strict=False):
        said = renderer.encode(
            step.response.content if name != "mistral" else " " + step.response.content
        )
        messages.append(step.response)
        added = renderer.continuation_ids(messages, following.observation)
        assert added is not None
        ids += said + list(renderer.end_of_turn) + added
        messages += following.observation
    assert ids == renderer.opening_ids(messages)


def test_a_tokenizer_without_a_chat_template_is_refused_with_advice() -> None:
    tokenizer = tiny_tokenizer(CHATML)
    tokenizer.chat_template = None
    with pytest.raises(ModelError, match="no chat template"):
        Renderer(tokenizer, "gpt-none")


def test_a_template_that_never_ends_a_turn_is_refused() -> None:
    tokenizer = tiny_tokenizer(CHATML)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
    )
    with pytest.raises(ModelError, match="never learn to stop"):
        Renderer(tokenizer, "endless").tokenize_trajectory(make_trajectory(2))


def test_a_template_that_raises_is_named_with_the_roles_it_refused() -> None:
    tokenizer = tiny_tokenizer(THINKING)
    tokenizer.chat_template = "{{ raise_exception('system role not supported') }}"
    with pytest.raises(ModelError, match=r"system.*not supported"):
        Renderer(tokenizer, "strict").render([Message(role="system", content="x")])


def test_an_empty_trajectory_gives_no_example() -> None:
    empty = Trajectory(
        id="e",
        task=Task(id="e", environment="t"),
        outcome=Outcome(status="unknown"),
        source=Source(name="t"),
    )
    assert RENDERERS["chatml"].tokenize_trajectory(empty) == []


def test_tool_schemas_stand_in_the_context_and_calls_are_supervised() -> None:
    tokenizer = tiny_tokenizer(CHATML)
    tokenizer.chat_template = TOOL_CALLING
    renderer = Renderer(tokenizer, "a template with tools")
    schema = {
        "type": "function",
        "function": {"name": "open", "parameters": {"type": "object", "properties": {}}},
    }
    call = Message(
        role="assistant",
        content="I open it.",
        tool_calls=(ToolCall(id="1", name="open", arguments='{"door": 1}'),),
    )
    steps = (
        Step(observation=(Message(role="user", content="A door."),), response=call),
        Step(
            observation=(Message(role="tool", content="Open.", tool_call_id="1"),),
            response=Message(role="assistant", content="Done."),
        ),
    )
    trajectory = make_trajectory(0).model_copy(
        update={"prompt": (), "tools": (schema,), "steps": steps}
    )
    (example,) = renderer.tokenize_trajectory(trajectory)
    chat = [write_chat_message(message) for message in trajectory.messages]
    assert (
        example.token_ids.tolist()
        == tokenizer.apply_chat_template(chat, tools=[schema], tokenize=True, return_dict=True)[
            "input_ids"
        ]
    )
    assert color_tokens(tokenizer, example.token_ids, loss_mask(example, [0])).plain == (
        '<|im_start|>system\n[{"type": "function", "function": {"name": "open", '
        '"parameters": {"type": "object", "properties": {}}}}]<|im_end|>\n'
        "<|im_start|>user\nA door.<|im_end|>\n"
        "<|im_start|>assistant\n⟦I open it.<tool_call>"
        '{"name": "open", "arguments": {"door": 1}}</tool_call><|im_end|>⟧\n'
        "<|im_start|>tool\nOpen.<|im_end|>\n"
        "<|im_start|>assistant\nDone.<|im_end|>\n"
    )
