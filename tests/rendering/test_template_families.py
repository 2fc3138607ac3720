"""The templates of model families: their token ids, and what is supervised and shown of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.records import Message, Step, Trajectory
from atlas.rendering.chat_messages import fold_system, write_chat_message
from atlas.rendering.colored_tokens import color_tokens
from atlas.rendering.loss_mask import loss_mask
from atlas.rendering.renderer import Renderer
from atlas.rendering.token_ownership import NO_STEP, TokenizedExample
from tests.conftest import make_trajectory
from tests.template_families import FAMILIES, family_renderer, tool_trajectory, with_thinking

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
WITH_TOOLS = [name for name, family in FAMILIES.items() if family.has_tools]
THINKING = [name for name, family in FAMILIES.items() if family.thinks]
every_family = pytest.mark.parametrize("name", FAMILIES)


def trajectory_for(name: str, num_steps: int = 3) -> Trajectory:
    """A chat with a system turn, and with thinking where the family writes it."""
    trajectory = make_trajectory(num_steps)
    return with_thinking(trajectory) if FAMILIES[name].thinks else trajectory


def own_ids(
    renderer: Renderer, trajectory: Trajectory, num_messages: int, open_turn: bool = False
) -> list[int]:
    """What the tokenizer makes of the first messages, without the code of the renderer."""
    messages = trajectory.messages[:num_messages]
    if FAMILIES[renderer.name].folds_system:
        messages = tuple(fold_system(messages))
    made = renderer.tokenizer.apply_chat_template(
        [write_chat_message(message) for message in messages],
        tools=list(trajectory.tools) or None,
        add_generation_prompt=open_turn,
        tokenize=True,
        return_dict=True,
    )
    return list(made["input_ids"])


def supervised_text(renderer: Renderer, example: TokenizedExample, step: int) -> str:
    return str(renderer.tokenizer.decode(example.token_ids[loss_mask(example, [step])].tolist()))


def end_of(renderer: Renderer) -> str:
    return str(renderer.tokenizer.decode(list(renderer.end_of_turn)))


@every_family
def test_masks_read_as_in_the_golden_file(name: str) -> None:
    """A chat, then one with tools. To regenerate, delete the file and read the new one."""
    renderer, shown = family_renderer(name), []
    for trajectory in [trajectory_for(name)] + (
        [tool_trajectory(FAMILIES[name])] if name in WITH_TOOLS else []
    ):
        examples = renderer.tokenize_trajectory(trajectory, steps=[0, 2])
        shown += [
            color_tokens(renderer.tokenizer, example.token_ids, loss_mask(example, [0, 2])).plain
            for example in examples
        ]
    text, path = "\n=== next example ===\n".join(shown), GOLDEN / f"mask_{name}.txt"
    if not path.exists():
        path.write_text(text, encoding="utf-8")
        pytest.fail(f"{path.name} was missing and has been written: look at it, then run again")
    assert text == path.read_text(encoding="utf-8")


@every_family
def test_what_stands_before_a_response_is_what_the_tokenizer_itself_gives_at_inference(
    name: str,
) -> None:
    renderer = family_renderer(name)
    for trajectory in [trajectory_for(name)] + (
        [tool_trajectory(FAMILIES[name])] if name in WITH_TOOLS else []
    ):
        position = {
            step: index
            for index, (_, step) in enumerate(trajectory.owned_messages())
            if step != NO_STEP
        }
        for step, index in position.items():
            (example,) = [
                one
                for one in renderer.tokenize_trajectory(trajectory, steps=[step])
                if step in one.steps
            ]
            first = int(np.flatnonzero(example.step_of_token == step)[0])
            assert example.token_ids[:first].tolist() == own_ids(
                renderer, trajectory, index, open_turn=True
            )


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in THINKING])
def test_token_ids_equal_those_of_the_tokenizers_own_chat_template(name: str) -> None:
    renderer = family_renderer(name)
    for trajectory in [trajectory_for(name)] + (
        [tool_trajectory(FAMILIES[name])] if name in WITH_TOOLS else []
    ):
        (example,) = renderer.tokenize_trajectory(trajectory)
        assert example.token_ids.tolist() == own_ids(renderer, trajectory, len(trajectory.messages))


@pytest.mark.parametrize("name", ["qwen3", "qwen3-thinking"])
def test_under_a_template_that_writes_thinking_down_the_last_example_is_the_tokenizers_own_text(
    name: str,
) -> None:
    renderer, trajectory = family_renderer(name), trajectory_for(name)
    example = renderer.tokenize_trajectory(trajectory)[-1]
    assert example.token_ids.tolist() == own_ids(renderer, trajectory, len(trajectory.messages))


words = st.text(st.characters(categories=["L", "N", "P", "Zs"]), max_size=30).map(
    lambda text: f"x{text}x"
)


@every_family
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_each_step_owns_its_thinking_its_words_and_its_end_of_turn_and_nothing_else(
    name: str, data: st.DataObject
) -> None:
    renderer, family = family_renderer(name), FAMILIES[name]
    said = data.draw(st.lists(words, min_size=1, max_size=3))
    seen = data.draw(st.lists(words, min_size=len(said), max_size=len(said)))
    steps = tuple(
        Step(
            observation=(Message(role="user", content=user),),
            response=Message(
                role="assistant",
                content=text,
                reasoning=f"because {text}" if family.thinks else None,
            ),
        )
        for user, text in zip(seen, said, strict=True)
    )
    trajectory = make_trajectory(0).model_copy(update={"steps": steps})
    for example in renderer.tokenize_trajectory(trajectory):
        assert not example.unwritten
        for step in example.steps:
            owned = supervised_text(renderer, example, step)
            assert owned.endswith(end_of(renderer))
            head = (
                ""
                if not family.thinks
                else f"because {said[step]}\n</think>\n\n"
                if family.opener
                else None
            )
            expected = f"<think>\nbecause {said[step]}\n</think>\n\n" if head is None else head
            assert owned.removesuffix(end_of(renderer)).strip() == expected + said[step]


@every_family
def test_observations_that_spell_headers_and_thinking_are_never_supervised(name: str) -> None:
    renderer = family_renderer(name)
    fake = (
        renderer.render([Message(role="user", content="hi")], open_turn=True)
        + "<think>\nI am the agent\n</think>"
    )
    steps = tuple(
        Step(
            observation=(Message(role="user", content=fake),),
            response=Message(role="assistant", content=text),
        )
        for text in ("one", "two")
    )
    for example in renderer.tokenize_trajectory(
        make_trajectory(0).model_copy(update={"steps": steps})
    ):
        supervised = renderer.tokenizer.decode(
            example.token_ids[loss_mask(example, [0, 1])].tolist()
        )
        assert "I am the agent" not in supervised
        assert "one" in supervised or "two" in supervised


@pytest.mark.parametrize("name", WITH_TOOLS)
def test_calls_are_supervised_and_neither_schemas_nor_results_are(name: str) -> None:
    renderer, trajectory = family_renderer(name), tool_trajectory(FAMILIES[name])
    owned = {
        step: supervised_text(renderer, example, step)
        for example in renderer.tokenize_trajectory(trajectory)
        for step in example.steps
    }
    for step, doors in enumerate(((1, 2) if FAMILIES[name].several_calls else (1,), (3,), ())):
        assert all(f'{{"door": {door}}}' in owned[step] for door in doors)
        assert "is open" not in owned[step]
        assert '"properties"' not in owned[step]
        assert owned[step].endswith(end_of(renderer))


@pytest.mark.parametrize("name", THINKING)
def test_what_the_generation_prompt_opens_is_context_and_the_thinking_after_it_is_supervised(
    name: str,
) -> None:
    renderer, trajectory = family_renderer(name), trajectory_for(name)
    assert renderer.render(trajectory.messages[:2], open_turn=True).endswith(FAMILIES[name].opener)
    for step, example in enumerate(renderer.tokenize_trajectory(trajectory)):
        owned = supervised_text(renderer, example, step)
        assert owned.startswith(
            ("" if FAMILIES[name].opener else "<think>\n") + f"Hm {step}.\n</think>\n\nThought:"
        )
        text = renderer.tokenizer.decode(example.token_ids.tolist())
        assert text.count("Hm ") == 1, "earlier thinking is gone, as at inference"


@pytest.mark.parametrize("content", ["<think>\nso\n</think>\n\nyes", "so\n</think>\n\nyes"])
def test_thinking_that_a_model_wrote_into_its_content_is_supervised_once(content: str) -> None:
    step = Step(
        observation=(Message(role="user", content="a"),),
        response=Message(role="assistant", content=content),
    )
    trajectory = make_trajectory(0).model_copy(update={"steps": (step, step)})
    renderer = family_renderer("deepseek-r1")
    for example in renderer.tokenize_trajectory(trajectory):
        assert supervised_text(
            renderer, example, example.steps[0]
        ) == "so\n</think>\n\nyes" + end_of(renderer)


def test_a_response_without_thinking_closes_the_block_that_the_prompt_opened() -> None:
    renderer = family_renderer("deepseek-r1")
    example = renderer.tokenize_trajectory(make_trajectory(2), steps=[1])[0]
    assert supervised_text(renderer, example, 1).startswith("\n</think>\n\nThought:")


def test_thinking_is_one_example_where_tool_results_alone_follow_it() -> None:
    """Qwen3 keeps the thinking after the user's last words, so nothing is rewritten there."""
    examples = family_renderer("qwen3").tokenize_trajectory(tool_trajectory(FAMILIES["qwen3"]))
    assert [example.steps for example in examples] == [(0, 1, 2)]


def test_thinking_that_the_template_does_not_write_is_named() -> None:
    (example,) = family_renderer("qwen2.5").tokenize_trajectory(
        with_thinking(make_trajectory(3)), steps=[0, 2]
    )
    assert example.unwritten == dict.fromkeys(range(3), ("reasoning",))


def test_what_closes_a_whole_conversation_is_not_part_of_a_turn() -> None:
    """Phi-3 writes <|endoftext|> after the last message, which no model generates there."""
    renderer = family_renderer("phi-3")
    assert end_of(renderer) == "<|end|>"
    assert len(renderer.tokenize_trajectory(make_trajectory(4))) == 1


@every_family
def test_a_system_turn_is_written_once_before_the_first_answer_under_every_template(
    name: str,
) -> None:
    renderer, trajectory = family_renderer(name), trajectory_for(name)
    assert renderer.folds_system == FAMILIES[name].folds_system
    for example in renderer.tokenize_trajectory(trajectory):
        text = renderer.tokenizer.decode(example.token_ids.tolist())
        assert text.count("You are in a room.") == 1
        assert text.index("You are in a room.") < text.index("You see a red ball 0")


def test_folded_system_text_is_lost_nowhere() -> None:
    def chat(*turns: str) -> list[tuple[str, str]]:
        messages = [
            Message(role=role, content=text) for role, text in (turn.split(":") for turn in turns)
        ]  # type: ignore[arg-type]
        return [(message.role, message.content) for message in fold_system(messages)]

    assert chat("system:a", "system:b", "user:c", "assistant:d") == [
        ("user", "a\n\nb\n\nc"),
        ("assistant", "d"),
    ]
    assert chat("user:a", "system:b", "assistant:c") == [
        ("user", "a"),
        ("user", "b"),
        ("assistant", "c"),
    ]
    assert chat("user:a", "assistant:b", "system:c", "user:d") == [
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c\n\nd"),
    ]
    assert chat("system:a") == [("user", "a")]


@every_family
def test_turn_by_turn_encoding_is_encoding_the_whole_or_says_that_it_cannot_be(name: str) -> None:
    """What evaluation feeds to a model is what training has before the next response."""
    renderer, trajectory = family_renderer(name), make_trajectory(3)
    messages = list(trajectory.prompt) + list(trajectory.steps[0].observation)
    ids = renderer.opening_ids(messages)
    for step, following in zip(trajectory.steps, trajectory.steps[1:], strict=False):
        text = (
            step.response.content
            if not FAMILIES[name].thinks
            else f"<think>\nso\n</think>\n\n{step.response.content}"
        )
        if FAMILIES[name].opener:
            text = text.removeprefix(FAMILIES[name].opener)
        messages.append(step.response.model_copy(update={"content": text}))
        added = renderer.continuation_ids(messages, following.observation)
        assert (added is None) == FAMILIES[name].thinks
        spaced = f" {text}" if name in ("llama-2", "mistral-v0.3") else text
        ids += renderer.encode(spaced) + list(renderer.end_of_turn) + (added or [])
        messages += following.observation
    if not FAMILIES[name].thinks:
        assert ids == renderer.opening_ids(messages)
