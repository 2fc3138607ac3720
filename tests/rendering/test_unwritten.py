"""What a template does not write is found, whatever the spelling of what it does write."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from atlas.errors import ModelError
from atlas.records import Message, Step, ToolCall, Trajectory
from atlas.rendering.chat_templates.stock import fitting_template
from atlas.rendering.count_unwritten import count_unwritten
from atlas.rendering.renderer import Renderer
from atlas.rendering.token_ownership import NO_STEP
from atlas.rendering.unwritten import Part
from tests.conftest import make_trajectory
from tests.template_families import DEEPSEEK, LLAMA_3
from tests.templates import make_tokenizer

IM = ["<|im_start|>", "<|im_end|>"]
SCHEMA = {
    "type": "function",
    "function": {
        "name": "open",
        "parameters": {"type": "object", "properties": {"door": {"type": "integer"}}},
    },
}
# How templates spell a call, with what of it is lost.
SPELLINGS: dict[str, tuple[str, bool]] = {
    "json": ("{{ '<c>' + (call.function | tojson) + '</c>' }}", False),
    "indented": ("{{ call.function.name + (call.function.arguments | tojson(indent=3)) }}", False),
    "escaped": (
        "{{ call.function.name + (call.function.arguments | tojson | replace('\"', '&q;')) }}",
        False,
    ),
    "xml": (
        "{{ '<' + call.function.name + '>' }}"
        "{% for key, value in call.function.arguments | items %}"
        "{{ '<p ' + key + '>' + value | string + '</p>' }}{% endfor %}",
        False,
    ),
    "python": (
        "{{ call.function.name + '(' }}{% for key, value in call.function.arguments | items %}"
        "{{ key ~ '=' ~ value ~ ', ' }}{% endfor %}{{ ')' }}",
        False,
    ),
    "sorted": (
        "{{ call.function.name }}{% for key, value in call.function.arguments | dictsort %}"
        "{{ key ~ ': ' ~ value ~ '\\n' }}{% endfor %}",
        False,
    ),
    "nothing": ("", True),
    "name": ("{{ call.function.name }}", True),
    "arguments": ("{{ call.function.arguments | tojson }}", True),
    "values": (
        "{{ call.function.name }}{% for key, value in call.function.arguments | items %}"
        "{{ value | string }}{% endfor %}",
        True,
    ),
    "first": ("{% if loop.first %}{{ call.function | tojson }}{% endif %}", True),
    "short": ("{{ call.function.name + (call.function.arguments | string)[:9] }}", True),
}


def template_of(spelling: str, thinks: bool, beside: bool) -> str:
    """A ChatML template that spells calls so.

    Args:
        thinks: whether it writes thinking.
        beside: whether it writes the words beside a call.
    """
    return (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
        + (
            "{{ '<think>' + m.reasoning_content + '</think>' if m.reasoning_content else '' }}"
            * thinks
        )
        + ("{{ m.content }}" if beside else "{{ '' if m.tool_calls else m.content }}")
        + "{% for call in m.tool_calls or [] %}"
        + SPELLINGS[spelling][0]
        + "{% endfor %}{{ '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )


def renderer_of(template: str, special: list[str] = IM, bos: str | None = None) -> Renderer:
    return Renderer(make_tokenizer(template, special, special[-1], bos), "m")


def conversation(*responses: Message, tools: tuple[dict[str, Any], ...] = ()) -> Trajectory:
    steps = tuple(
        Step(observation=(Message(role="user", content="Open it."),), response=response)
        for response in responses
    )
    return make_trajectory(0).model_copy(update={"steps": steps, "tools": tools, "prompt": ()})


def lost_of(renderer: Renderer, response: Message) -> set[Part]:
    (example, *_) = renderer.tokenize_trajectory(conversation(response))
    return set(example.unwritten.get(0, ()))


names = st.text("abcdefgh_", min_size=3, max_size=8)
words = st.text(st.characters(categories=["L", "N", "P", "Zs"]), min_size=1, max_size=20).filter(
    lambda text: text.strip() and "<" not in text
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-1e6, 1e6) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)
calls = st.lists(
    st.builds(
        lambda name, arguments, ascii: ToolCall(
            id="call00001", name=name, arguments=json.dumps(arguments, ensure_ascii=ascii)
        ),
        names,
        st.dictionaries(names, words | st.integers(), min_size=1, max_size=3),
        st.booleans(),
    ),
    max_size=3,
)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(("thinks", "beside"), [(True, True), (False, True), (True, False)])
@settings(max_examples=15, deadline=None)
@given(content=words | st.just(""), reasoning=words | st.none(), made=calls)
def test_exactly_what_a_template_leaves_out_is_named(
    spelling: str,
    thinks: bool,
    beside: bool,
    content: str,
    reasoning: str | None,
    made: list[ToolCall],
) -> None:
    renderer = renderer_of(template_of(spelling, thinks, beside))
    response = Message(
        role="assistant", content=content, reasoning=reasoning, tool_calls=tuple(made)
    )
    expected: set[Part] = set()
    if made and SPELLINGS[spelling][1] and (spelling != "first" or len(made) > 1):
        expected.add("calls")
    if reasoning and not thinks:
        expected.add("reasoning")
    if content and made and not beside:
        expected.add("text")
    # The name of an argument may happen to be that of a tool, and then it is written.
    assume(not any(one.name in other.arguments for one in made for other in made))
    assert lost_of(renderer, response) == expected


@settings(max_examples=60, deadline=None)
@given(arguments=st.dictionaries(names, values, max_size=3))
def test_calls_with_arguments_of_any_kind_are_found_where_they_are_written(
    arguments: dict[str, Any],
) -> None:
    call = ToolCall(id="call00001", name="open", arguments=json.dumps(arguments))
    response = Message(role="assistant", content="Hm.", tool_calls=(call,))
    for spelling in ("json", "python", "xml"):
        assert not lost_of(renderer_of(template_of(spelling, True, True)), response)
    assert lost_of(renderer_of(template_of("nothing", True, True)), response) == {"calls"}


@pytest.mark.parametrize("text", ["not json", '{"door": 1', '["a"]', "3", ""])
def test_arguments_that_are_no_object_are_seen_too(text: str) -> None:
    call = ToolCall(id="call00001", name="open", arguments=text)
    response = Message(role="assistant", content="open", tool_calls=(call,))
    written = "{{ call.function.name ~ call.function.arguments }}"
    SPELLINGS["verbatim"] = (written, False)
    try:
        assert not lost_of(renderer_of(template_of("verbatim", True, True)), response)
    finally:
        del SPELLINGS["verbatim"]
    assert lost_of(renderer_of(template_of("nothing", True, True)), response) == {"calls"}


PLAIN = template_of("nothing", False, True)


@pytest.mark.parametrize(
    ("cut", "content", "lost"),
    [
        ("m.content.split('</think>')[-1]", "<think>\nso\n</think>\n\nyes", {"reasoning"}),
        ("m.content.split('</think>')[-1]", "so\n</think>\n\nyes", {"reasoning"}),
        ("m.content.split('</think>')[-1]", "yes", set()),
        ("m.content.split('</think>')[-1]", "so </think>", {"reasoning"}),
        ("m.content.split('</think>')[0]", "<think>\nso\n</think>\n\nyes", {"text"}),
        ("m.content[:9]", "Thought: I look.", {"text"}),
        ("m.content[-7:]", "Thought: I look.", {"text"}),
        ("m.content.split('\\n')[0]", "Thought:\nI look.\nAction:\ngo", {"text"}),
        ("m.content | trim", "  yes \n", set()),
        ("m.content | tojson", 'I say "yes"\n', set()),
        ("m.content | replace('\n', ' ')", "one\ntwo", set()),
    ],
)
def test_text_and_thinking_in_the_content_are_told_apart(
    cut: str, content: str, lost: set[Part]
) -> None:
    template = PLAIN.replace("{{ m.content }}", "{{ " + cut + " }}")
    assert lost_of(renderer_of(template), Message(role="assistant", content=content)) == lost


CALL = ToolCall(id="call00001", name="open", arguments='{"door": 1}')
RESULT = Message(role="tool", content="1", tool_call_id="call00001", name="open")


def with_result(*between: Message) -> Trajectory:
    made = conversation(
        Message(role="assistant", content="Hm.", tool_calls=(CALL,)),
        Message(role="assistant", content="Done."),
        tools=(SCHEMA,),
    )
    last = made.steps[1].model_copy(update={"observation": between})
    return made.model_copy(update={"steps": (made.steps[0], last)})


# Templates that behave like published ones, in own words.
GENERATION = "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
PHI_3 = (
    "{% for m in messages %}{% if m.role in ('system', 'user', 'assistant') %}"
    "{{ '<|' + m.role + '|>\\n' + m.content + '<|end|>\\n' }}{% endif %}{% endfor %}" + GENERATION
)
LLAMA_3_0 = (
    "{% for m in messages %}{{ bos_token if loop.first else '' }}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim }}"
    "{{ '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
LLAMA_3_1 = LLAMA_3_0.replace(
    "m.content | trim }}",
    "((m.tool_calls[0].function | tojson) if m.tool_calls else m.content | trim) }}",
).replace("{% for", "{{ tools | tojson if tools else '' }}{% for", 1)
SMOLLM2 = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}"
    "{{ '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}{% endif %}"
    "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LFM2 = "{{ bos_token }}{{ '<tools>' ~ (tools | tojson) if tools else '' }}" + PLAIN
R1_DISTILL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '<｜User｜>' + m.content }}"
    "{% elif m.role == 'tool' %}{{ '<｜tool▁output▁begin｜>' + m.content }}"
    "{% elif m.content is none %}{{ m.tool_calls | tojson }}{% else %}"
    "{{ '<｜Assistant｜>' + m.content.split('</think>')[-1] + '<｜end▁of▁sentence｜>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}"
)
PHI_TOKENS = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
REAL: dict[str, tuple[Renderer, set[Part], set[Part], str]] = {
    "smollm2": (renderer_of(SMOLLM2), {"calls"}, {"schemas"}, "chatml-calls"),
    "qwen2.5-vl": (renderer_of(PLAIN), {"calls"}, {"schemas"}, "chatml-calls"),
    "lfm2": (
        renderer_of(LFM2, ["<|startoftext|>", *IM], "<|startoftext|>"),
        {"calls"},
        set(),
        "chatml-calls",
    ),
    "llama-3.0": (
        renderer_of(LLAMA_3_0, list(LLAMA_3), LLAMA_3[0]),
        {"calls"},
        {"schemas"},
        "llama-3-calls",
    ),
    "llama-3.1": (
        renderer_of(LLAMA_3_1, list(LLAMA_3), LLAMA_3[0]),
        {"text"},
        set(),
        "llama-3-calls",
    ),
    "phi-3": (renderer_of(PHI_3, PHI_TOKENS), {"calls"}, {"results", "schemas"}, "phi-3-calls"),
    "r1-distill": (
        renderer_of(R1_DISTILL, list(DEEPSEEK), DEEPSEEK[0]),
        {"calls"},
        {"schemas"},
        "text-calls",
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_published_manners_of_losing_calls_are_named_with_the_template_to_set(name: str) -> None:
    renderer, of_step, of_context, fitting = REAL[name]
    examples = renderer.tokenize_trajectory(with_result(RESULT), steps=[0, 1])
    count = count_unwritten(examples, renderer, {0, 1})
    assert set(count.of_steps) == of_step
    assert set(count.of_contexts) == of_context
    assert fitting_template(renderer.tokenizer) == fitting
    [note] = count.notes(renderer)
    assert f"chat_template={fitting}" in note


def test_a_result_whose_text_is_elsewhere_too_is_still_missed() -> None:
    renderer = REAL["phi-3"][0]
    (example,) = renderer.tokenize_trajectory(with_result(RESULT))
    assert "results" in example.unwritten[NO_STEP]


def test_only_the_first_of_several_results_written_is_a_loss() -> None:
    first = (
        "{% for m in messages %}"
        "{% if m.role != 'tool' or messages[loop.index0 - 1].role != 'tool' %}"
        "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )
    renderer = renderer_of(first)
    (one,) = renderer.tokenize_trajectory(with_result(RESULT))
    (two,) = renderer.tokenize_trajectory(with_result(RESULT, RESULT))
    assert "results" not in one.unwritten[NO_STEP]
    assert "results" in two.unwritten[NO_STEP]


def test_a_call_in_an_example_of_the_prompt_is_part_of_the_context() -> None:
    shown = Message(role="assistant", content="", tool_calls=(CALL,))
    prompt = (Message(role="user", content="Like this."), shown, RESULT)
    made = conversation(Message(role="assistant", content="Yes."))
    (example,) = REAL["smollm2"][0].tokenize_trajectory(made.model_copy(update={"prompt": prompt}))
    assert example.unwritten == {NO_STEP: ("calls",)}


def test_a_refused_conversation_with_tools_names_the_template_to_set() -> None:
    strict = "{% if m.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
    refusing = SMOLLM2.replace("{% if loop", strict + "{% if loop", 1)
    with pytest.raises(ModelError, match=r"no tools here.*=chatml-calls writes tool"):
        renderer_of(refusing).tokenize_trajectory(with_result(RESULT))


def test_a_template_that_refuses_markers_is_judged_by_its_text() -> None:
    knows = (
        "{% for m in messages %}{% for call in m.tool_calls or [] %}"
        "{% if call.function.name != 'open' %}{{ raise_exception('unknown tool') }}{% endif %}"
        "{% endfor %}{{ '<|im_start|>' + m.role + '\\n' + m.content }}"
        "{% for call in m.tool_calls or [] %}CALL{% endfor %}{{ '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )
    (lost,) = renderer_of(knows).tokenize_trajectory(with_result(RESULT))
    assert lost.unwritten[0] == ("calls",)
    written = knows.replace("CALL", "{{ call.function | tojson }}")
    (kept,) = renderer_of(written).tokenize_trajectory(with_result(RESULT))
    assert 0 not in kept.unwritten


@pytest.mark.parametrize("num_steps", [20, 80])
def test_the_number_of_extra_renderings_grows_with_the_steps_only(num_steps: int) -> None:
    renderer = renderer_of(template_of("json", True, True))
    responses = [
        Message(role="assistant", content=f"Now {index}.", tool_calls=(CALL,))
        for index in range(num_steps)
    ]
    rendered: list[int] = []
    parts = renderer.parts
    inner_response, inner_context = parts.write_response, parts.write_context
    parts.write_response = lambda *given: rendered.append(len(given[0])) or inner_response(*given)
    parts.write_context = lambda *given: rendered.append(len(given[0])) or inner_context(*given)
    renderer.tokenize_trajectory(conversation(*responses, tools=(SCHEMA,)))
    assert len(rendered) <= num_steps + 4
    assert max(rendered) <= 3


def after_result(response: Message, seen: str = "1") -> Trajectory:
    """A first step with a call, then its result and a response."""
    made = with_result(RESULT.model_copy(update={"content": seen}))
    last = made.steps[1].model_copy(update={"response": response})
    return made.model_copy(update={"steps": (made.steps[0], last)})


FOLLOWS_RESULT = "messages[loop.index0 - 1].role == 'tool'"
NO_ARGUMENTS = CALL.model_copy(update={"arguments": "{}"})
LONG = RESULT.content + " " + "You see a door.\n" * 9


@pytest.mark.parametrize("call", [CALL, NO_ARGUMENTS])
@pytest.mark.parametrize("is_dropped", [FOLLOWS_RESULT, "loop.index0 >= 3"])
def test_a_loss_that_depends_on_what_comes_before_is_found(call: ToolCall, is_dropped: str) -> None:
    response = Message(role="assistant", content="Look at it.", tool_calls=(call,))
    whole = template_of("json", True, True)
    without_call = whole.replace(
        "m.tool_calls or []", f"([] if {is_dropped} else m.tool_calls or [])"
    )
    without_text = whole.replace(
        "{{ m.content }}", f"{{{{ '' if m.tool_calls and {is_dropped} else m.content }}}}"
    )
    for template, lost in ((whole, None), (without_call, "calls"), (without_text, "text")):
        renderer = renderer_of(template)
        examples = renderer.tokenize_trajectory(after_result(response))
        found = {part for example in examples for part in example.unwritten.get(1, ())}
        assert found == ({lost} if lost else set())


@pytest.mark.parametrize(
    "value", ["'' if value is boolean else value", "value or ''", "value if value is string"]
)
@pytest.mark.parametrize("given", [True, False])
def test_truth_values_that_are_left_out_are_a_loss(value: str, given: bool) -> None:
    call = CALL.model_copy(update={"arguments": json.dumps({"door": given})})
    written = SPELLINGS["python"][0].replace("~ value ~", f"~ ({value}) ~")
    for expected, spelling in ((set(), SPELLINGS["python"][0]), ({"calls"}, written)):
        template = template_of("nothing", True, True).replace(
            "m.tool_calls or [] %}", "m.tool_calls or [] %}" + spelling
        )
        found = lost_of(renderer_of(template), Message(role="assistant", tool_calls=(call,)))
        # `value or ''` writes one of the two, and it can be told apart.
        assert found == (set() if " or " in value else expected)


@pytest.mark.parametrize(
    ("cut", "is_lost"),
    [
        ("m.content[:30]", True),
        ("m.content.split('\\n')[0]", True),
        ("m.content[-30:]", True),
        ("m.content | tojson", False),
        ("m.content | replace('\\n', ' ')", False),
        ("m.content | trim", False),
    ],
)
def test_a_piece_of_an_observation_that_is_not_written_is_a_loss(cut: str, is_lost: bool) -> None:
    template = template_of("json", True, True).replace(
        "{{ m.content }}", "{{ m.content if m.role == 'assistant' else " + cut + " }}"
    )
    trajectory = after_result(Message(role="assistant", content="Done."), LONG)
    (example,) = renderer_of(template).tokenize_trajectory(trajectory)
    assert ("results" in example.unwritten[NO_STEP]) == is_lost


@pytest.mark.parametrize("number", range(6))
def test_a_text_that_spells_a_marker_hides_no_loss(number: int) -> None:
    marker = f"zqmark{number:04}kx"
    response = Message(role="assistant", content=f"{marker} is a word.", tool_calls=(CALL,))
    assert lost_of(renderer_of(template_of("nothing", True, True)), response) == {"calls"}
    assert not lost_of(renderer_of(template_of("json", True, True)), response)
    said = after_result(Message(role="assistant", content="Done."), marker)
    phi = REAL["phi-3"][0]
    assert "results" in phi.tokenize_trajectory(said)[0].unwritten[NO_STEP]


@pytest.mark.parametrize("nothing", ["\n" * 99, " \t" * 50, "<think>" + "\n" * 99 + "</think>"])
def test_a_long_response_of_white_space_says_nothing(nothing: str) -> None:
    renderer = renderer_of(PLAIN)
    made = conversation(
        Message(role="assistant", content=nothing), Message(role="assistant", content="< yes" * 9)
    )
    examples = renderer.tokenize_trajectory(made)
    assert count_unwritten(examples, renderer, {0, 1}).empty == ((made.id, 0),)
