"""Templates that open or close turns in unusual ways; each is named for a family that does it."""

from __future__ import annotations

import pytest

from atlas.errors import ModelError
from atlas.records import Message, Step, ToolCall, Trajectory
from atlas.rendering.loss_mask import loss_mask
from atlas.rendering.renderer import Renderer
from tests.conftest import make_trajectory
from tests.templates import make_tokenizer

HEADER = "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
# The last turn ends in another token than the turns before it.
GPT_OSS = (
    "{% for m in messages %}{{ '<|start|>' + m.role }}"
    "{% if m.reasoning_content is defined and loop.last %}"
    "{{ '<|channel|>analysis<|message|>' + m.reasoning_content + '<|end|><|start|>assistant' }}"
    "{% endif %}{{ '<|message|>' + m.content }}"
    "{% if m.tool_calls %}{{ m.tool_calls[0].function | tojson + '<|call|>' }}"
    "{% elif m.role == 'assistant' and loop.last %}{{ '<|return|>' }}"
    "{% else %}{{ '<|end|>' }}{% endif %}{% endfor %}" + HEADER
)
OLMO_3 = (
    "{% for m in messages %}{{ '<|start|>' + m.role + '\\n' + m.content }}"
    "{{ eos_token if loop.last and m.role == 'assistant' else '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant\\n' }}{% endif %}"
)
# A turn ends in the header of the next one.
GLM_TRAINING = (
    "{% for m in messages %}"
    "{% if m.role == 'assistant' %}{{ '<|assistant|>\\n' + m.content }}"
    "{% for call in m.tool_calls or [] %}{{ call.function | tojson }}{% endfor %}"
    "{{ '<|observation|>' if m.tool_calls else '<|user|>' }}"
    "{% else %}"
    "{% if loop.first or loop.previtem.role != 'assistant' %}{{ '<|' + m.role + '|>' }}{% endif %}"
    "{{ '\\n' + m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
# The prompt opens thinking, and a response without it has an empty block.
NEMOTRON_3 = (
    "{% set asked = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}"
    "{% set asked.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{{ '<|start|>' + m.role + '\\n' }}"
    "{% if m.role == 'assistant' %}"
    "{% if m.reasoning_content and loop.index0 > asked.last %}"
    "{{ '<think>\\n' + m.reasoning_content + '\\n</think>\\n' }}"
    "{% else %}{{ '<think></think>' }}{% endif %}"
    "{{ m.content.split('</think>')[-1] }}"
    "{% for call in m.tool_calls or [] %}{{ call.function | tojson }}{% endfor %}"
    "{% else %}{{ m.content }}{% endif %}{{ '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant\\n<think>\\n' }}{% endif %}"
)
# The prompt has an empty block of thoughts that is not written, like Gemma-4's.
EMPTY_THOUGHT = (
    "{% for m in messages %}{{ '<|start|>' + m.role + '\\n' + m.content + '<|end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start|>assistant\\n<|channel|>thought\\n<|channel|>' }}{% endif %}"
)
# Results stand in the turn of their call, which is closed only where nothing follows.
GEMMA_4 = (
    "{% for m in messages %}"
    "{% if m.role == 'tool' %}{{ '<|result|>' + m.content }}"
    "{{ '<|end|>\\n' if loop.last }}"
    "{% else %}{{ '<|start|>' + m.role + '\\n' + m.content }}"
    "{% if m.tool_calls %}{{ '<|call|>' + m.tool_calls[0].function | tojson + '<|result|>' }}"
    "{% else %}{{ '<|end|>\\n' }}{% endif %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt and messages[-1].role != 'tool' %}"
    "{{ '<|start|>assistant\\n' }}{% endif %}"
)
# Arguments are joined as text, and results are closed only where no call follows.
DEEPSEEK_V3 = (
    "{% for m in messages %}"
    "{% if m.role == 'tool' %}{{ '<|result|>' + m.content }}"
    "{{ '<|end|>' if loop.last or not loop.nextitem.tool_calls }}"
    "{% elif m.tool_calls %}"
    "{{ '<|start|>assistant' if loop.previtem.role != 'tool' else '\\n' }}"
    "{{ (m.content or '') + '<|call|>' + m.tool_calls[0].function.name + '\\n' }}"
    "{{ m.tool_calls[0].function.arguments + '<|return|>' }}"
    "{% elif m.role == 'assistant' and loop.previtem.role == 'tool' %}"
    "{{ m.content + '<|return|>' }}"
    "{% else %}{{ '<|start|>' + m.role + m.content }}"
    "{{ '<|return|>' if m.role == 'assistant' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt and messages[-1].role != 'tool' %}"
    "{{ '<|start|>assistant' }}{% endif %}"
)
ALL = {
    "gpt-oss": GPT_OSS,
    "olmo-3": OLMO_3,
    "glm-training": GLM_TRAINING,
    "nemotron-3": NEMOTRON_3,
    "empty thought": EMPTY_THOUGHT,
    "gemma-4": GEMMA_4,
    "deepseek-v3": DEEPSEEK_V3,
}
WITH_CALLS = ("gpt-oss", "glm-training", "nemotron-3", "gemma-4", "deepseek-v3")
SPECIAL = [
    *("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>"),
    *("<|user|>", "<|assistant|>", "<|observation|>", "<|system|>", "<|result|>", "<|eos|>"),
]


def renderer_of(name: str) -> Renderer:
    return Renderer(make_tokenizer(ALL[name], SPECIAL, "<|eos|>"), name)


def with_calls(num_steps: int = 3) -> Trajectory:
    """A question, a call and its result for each step but the last, an answer."""
    steps = []
    for index in range(num_steps):
        call = ToolCall(id=f"call_{index}", name="open", arguments=f'{{"door": {index}}}')
        seen = Message(role="user", content="Open the doors.")
        if index:
            text = f"Door {index - 1} is open."
            seen = Message(role="tool", content=text, tool_call_id=f"call_{index - 1}")
        calls = () if index == num_steps - 1 else (call,)
        said = Message(role="assistant", content="" if calls else "Done.", tool_calls=calls)
        steps.append(Step(observation=(seen,), response=said))
    return make_trajectory(0).model_copy(update={"prompt": (), "steps": tuple(steps)})


def owned(renderer: Renderer, trajectory: Trajectory) -> dict[int, str]:
    """The supervised text of each step; what stands before it is the text of its prompt."""
    found = {}
    positions = [i for i, (_, step) in enumerate(trajectory.owned_messages()) if step >= 0]
    for example in renderer.tokenize_trajectory(trajectory):
        for step in example.steps:
            places = loss_mask(example, [step]).nonzero()[0]
            before = renderer.tokenizer.decode(example.token_ids[: places[0]])
            messages = trajectory.messages[: positions[step]]
            assert before == renderer.render(messages, open_turn=True, tools=trajectory.tools)
            found[step] = str(renderer.tokenizer.decode(example.token_ids[places]))
            assert int(example.token_ids[places[-1]]) in renderer.stop_ids
    return found


@pytest.mark.parametrize(
    ("name", "before", "end"),
    [
        ("gpt-oss", "<|message|>", "<|return|>"),
        ("olmo-3", "", "<|eos|>"),
        ("glm-training", "\n", "<|user|>"),
        ("nemotron-3", "</think>", "<|end|>"),
        ("empty thought", "", "<|end|>"),
        ("gemma-4", "", "<|end|>"),
        ("deepseek-v3", "", "<|return|>"),
    ],
)
def test_a_response_follows_the_prompt_and_ends_as_a_last_turn_does(
    name: str, before: str, end: str
) -> None:
    trajectory = make_trajectory(3)
    found = owned(renderer_of(name), trajectory)
    for index, step in enumerate(trajectory.steps):
        assert found[index] == before + step.response.content + end


@pytest.mark.parametrize("name", WITH_CALLS)
def test_each_call_is_supervised_with_its_name_arguments_and_end(name: str) -> None:
    found = owned(renderer_of(name), with_calls())
    for index in range(2):
        assert "open" in found[index]
        assert f'{{"door": {index}}}' in found[index]
        assert "is open" not in found[index]
    assert "Done." in found[2]


@pytest.mark.parametrize("name", ["nemotron-3", "gpt-oss"])
def test_thinking_after_such_a_prompt_is_supervised(name: str) -> None:
    steps = tuple(
        step.model_copy(
            update={"response": step.response.model_copy(update={"reasoning": f"Hm {index}."})}
        )
        for index, step in enumerate(make_trajectory(3).steps)
    )
    found = owned(renderer_of(name), make_trajectory(3).model_copy(update={"steps": steps}))
    assert all(f"Hm {index}." in text and "Hm" in text for index, text in found.items())
    assert len(found) == 3


def test_a_prompt_with_an_empty_block_leaves_no_room_for_thinking() -> None:
    template = (
        "{% for m in messages %}{{ '<|start|>' + m.role + '\\n' }}{% if m.role == 'assistant' %}"
        "{{ '<think>\\n' + (m.reasoning_content or '') + '\\n</think>\\n\\n' }}{% endif %}"
        "{{ m.content + '<|end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start|>assistant\\n<think>\\n\\n</think>\\n\\n' }}"
        "{% endif %}"
    )
    renderer = Renderer(make_tokenizer(template, SPECIAL, "<|eos|>"), "no thinking")
    step = Step(
        observation=(Message(role="user", content="a"),),
        response=Message(role="assistant", content="yes", reasoning="Hm."),
    )
    trajectory = make_trajectory(0).model_copy(update={"steps": (step, step)})
    assert owned(renderer, trajectory) == {0: "yes<|end|>", 1: "yes<|end|>"}
    examples = renderer.tokenize_trajectory(trajectory)
    assert [example.unwritten for example in examples] == [
        {0: ("reasoning",)},
        {1: ("reasoning",)},
    ]


def test_a_template_that_never_closes_a_turn_is_still_refused() -> None:
    glm = (
        "{% for m in messages %}{{ '<|' + m.role + '|>\\n' + m.content }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    )
    renderer = Renderer(make_tokenizer(glm, SPECIAL, "<|eos|>"), "glm")
    with pytest.raises(ModelError, match="without a special token"):
        renderer.tokenize_trajectory(make_trajectory(2))


def test_a_template_that_drops_an_observation_is_refused() -> None:
    forgetful = (
        "{% for m in messages %}{% if loop.last or m.role == 'assistant' %}"
        "{{ '<|start|>' + m.role + m.content + '<|end|>' }}{% endif %}{% endfor %}" + HEADER
    )
    renderer = Renderer(make_tokenizer(forgetful, SPECIAL, "<|eos|>"), "forgetful")
    with pytest.raises(ModelError, match="generation prompt"):
        renderer.tokenize_trajectory(make_trajectory(2))


@pytest.mark.parametrize("ids", ["call_Xyzzy_1234567", "abcdefghi"])
def test_ids_are_shortened_where_a_template_refuses_longer_ones(ids: str) -> None:
    mistral = (
        "{% for m in messages %}{% for call in m.tool_calls or [] %}{% if call.id | length != 9 %}"
        "{{ raise_exception('nine letters') }}{% endif %}"
        "{{ '<|call|>' + call.id + call.function | tojson }}{% endfor %}"
        "{{ '<|start|>' + m.role + (m.tool_call_id or '') + m.content + '<|end|>' }}{% endfor %}"
        + HEADER
    )
    renderer = Renderer(make_tokenizer(mistral, SPECIAL, "<|eos|>"), "mistral")
    call = ToolCall(id=ids, name="open", arguments="{}")
    text = renderer.render(
        [
            Message(role="user", content="a"),
            Message(role="assistant", tool_calls=(call,)),
            Message(role="tool", content="b", tool_call_id=ids),
        ]
    )
    short = "1234567".rjust(9, "y")[-9:] if len(ids) > 9 else ids
    assert text.count(short[-7:]) == 2
