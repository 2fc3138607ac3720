"""Every built-in chat template: calls come back, and history is never rewritten."""

from __future__ import annotations

import json
from functools import cache
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.records import Message, Step, ToolCall, Trajectory
from atlas.rendering.chat_messages import write_chat_message
from atlas.rendering.chat_templates.stock import (
    FOLDER,
    STOCK,
    fitting_template,
    set_chat_template,
    stock_text,
)
from atlas.rendering.colored_tokens import color_tokens
from atlas.rendering.loss_mask import loss_mask
from atlas.rendering.openai_messages import decode_arguments
from atlas.rendering.renderer import Renderer
from atlas.rendering.text_calls import read_text_calls, writes_text_calls
from atlas.rendering.token_ownership import NO_STEP, TokenizedExample
from tests.conftest import make_trajectory
from tests.rendering.test_unwritten import REAL
from tests.template_families import FAMILIES, Family
from tests.template_families import FOLDER as FAMILY_FOLDER
from tests.templates import make_tokenizer

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
# The models under which each row is tried: it replaces their template, or stands before it.
MODELS: dict[str, tuple[str, ...]] = {
    "chatml-calls": ("qwen2.5",),
    "llama-3-calls": ("llama-3.1",),
    "phi-3-calls": ("phi-3",),
    "gemma-calls": ("gemma-strict",),
    "text-calls": (
        "llama-2",
        "mistral-v0.3",
        "gemma-strict",
        "phi-4",
        "hermes",
        "llama-3.1",
    ),
}
EVERY = [(name, model) for name, models in MODELS.items() for model in models]
every_row = pytest.mark.parametrize(("name", "model"), EVERY)


@cache
def renderer_of(name: str, model: str) -> Renderer:
    family: Family = FAMILIES[model]
    template = (FAMILY_FOLDER / f"{family.file}.jinja").read_text(encoding="utf-8")
    tokenizer = make_tokenizer(template, list(family.special), family.eos, family.bos)
    set_chat_template(tokenizer, name, model)
    return Renderer(tokenizer, model)


SCHEMAS: tuple[dict[str, Any], ...] = tuple(
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"{name} a door.",
            "parameters": {
                "type": "object",
                "properties": {key: {"type": "string"}},
                "required": [key],
            },
        },
    }
    for name, key in (("open", "door"), ("close", "gate"))
)


def call(number: int, **arguments: Any) -> ToolCall:
    return ToolCall(id=f"call0000{number}", name="open", arguments=json.dumps(arguments))


def result(number: int, text: str) -> Message:
    return Message(role="tool", content=text, tool_call_id=f"call0000{number}", name="open")


def everything(has_system: bool = True) -> Trajectory:
    """Words, thinking, single and parallel calls with and without words, results, a last answer."""

    def say(text: str, *calls: ToolCall, thought: str | None = None) -> Message:
        return Message(role="assistant", content=text, reasoning=thought, tool_calls=calls)

    steps = (
        Step(
            observation=(Message(role="user", content="Open the doors."),),
            response=say("First one.", call(1, door="1"), thought="Which door?"),
        ),
        Step(
            observation=(result(1, "Door 1 is open."),),
            response=say("", call(2, door="2"), call(3, door='3 & "4"', wide=True)),
        ),
        Step(
            observation=(result(2, "Door 2 is open."), result(3, "Door 3 is stuck.")),
            response=say("One is stuck.", thought="Hm."),
        ),
        Step(
            observation=(Message(role="user", content="Again."),),
            response=say("", call(4, door="3"), thought="Once more."),
        ),
        Step(observation=(result(4, "Open."),), response=say("Done.")),
    )
    prompt = (Message(role="system", content="You open doors."),) if has_system else ()
    made = make_trajectory(0)
    return made.model_copy(update={"prompt": prompt, "tools": SCHEMAS, "steps": steps})


def render_all(renderer: Renderer, trajectory: Trajectory) -> TokenizedExample:
    (example,) = renderer.tokenize_trajectory(trajectory)
    return example


def said(renderer: Renderer, example: TokenizedExample, step: int) -> str:
    """The supervised text of a step, without its end of turn."""
    ids = example.token_ids[loss_mask(example, [step])].tolist()
    end = renderer.tokenizer.decode(list(renderer.end_of_turn))
    return str(renderer.tokenizer.decode(ids)).removesuffix(end)


def test_every_row_is_tried_and_every_file_is_a_row() -> None:
    assert set(MODELS) == set(STOCK)
    files = {path.name for path in FOLDER.glob("*.jinja")}
    assert files == {row.file for row in STOCK.values()} | {"calls.jinja"}


def test_the_page_lists_every_row() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "chat-templates.md").read_text()
    for name, row in STOCK.items():
        assert f"| `{name}` | {row.families} |" in page


@every_row
@pytest.mark.parametrize("has_system", [True, False])
def test_nothing_is_left_out(name: str, model: str, has_system: bool) -> None:
    example = render_all(renderer_of(name, model), everything(has_system))
    assert example.unwritten == {}
    assert example.steps == tuple(range(5))


@every_row
def test_masks_read_as_in_the_golden_file(name: str, model: str) -> None:
    """To regenerate, delete the file and read the new one."""
    renderer = renderer_of(name, model)
    example = render_all(renderer, everything())
    mask = loss_mask(example, [0, 1, 3])
    text = color_tokens(renderer.tokenizer, example.token_ids, mask).plain
    path = GOLDEN / f"mask_{name}_{model}.txt"
    if not path.exists():
        path.write_text(text, encoding="utf-8")
        pytest.fail(f"{path.name} was missing and has been written: look at it, then run again")
    assert text == path.read_text(encoding="utf-8")


@every_row
def test_the_tokens_before_each_response_are_those_of_its_generation_prompt(
    name: str, model: str
) -> None:
    renderer, trajectory = renderer_of(name, model), everything()
    example = render_all(renderer, trajectory)
    owned = list(trajectory.owned_messages())
    for step, index in ((step, i) for i, (_, step) in enumerate(owned) if step != NO_STEP):
        prompt = renderer.render(trajectory.messages[:index], open_turn=True, tools=SCHEMAS)
        first = int(np.flatnonzero(example.step_of_token == step)[0])
        before = renderer.tokenizer.decode(example.token_ids[:first].tolist())
        assert before == prompt


@every_row
def test_history_is_never_rewritten(name: str, model: str) -> None:
    renderer, messages = renderer_of(name, model), everything().messages
    ends = [
        renderer.render(messages[: index + 1], tools=SCHEMAS).removesuffix(
            renderer.tokenizer.eos_token if model == "phi-3" else ""
        )
        for index, message in enumerate(messages)
        if message.role == "assistant"
    ]
    assert all(later.startswith(earlier) for earlier, later in pairwise(ends))


@every_row
def test_calls_are_read_back_from_the_text_of_a_response(name: str, model: str) -> None:
    renderer, trajectory = renderer_of(name, model), everything()
    assert writes_text_calls(renderer)
    example = render_all(renderer, trajectory)
    for index, step in enumerate(trajectory.steps):
        read = read_text_calls(said(renderer, example, index))
        assert [(one.name, decode_arguments(one.arguments)) for one in read.tool_calls] == [
            (one.name, decode_arguments(one.arguments)) for one in step.response.tool_calls
        ]
        assert read.content.strip().endswith(step.response.content)


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30).filter(
    lambda text: text == text.strip() and "<" not in text
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | words | st.just("</tool_call>\n<tool_call>"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("name", STOCK)
@settings(max_examples=40, deadline=None)
@given(
    text=words,
    made=st.lists(
        st.tuples(words.filter(bool), st.dictionaries(words, json_values, max_size=3)),
        min_size=1,
        max_size=3,
    ),
)
def test_any_words_and_calls_come_back_as_they_were(
    name: str, text: str, made: list[tuple[str, dict[str, Any]]]
) -> None:
    renderer = renderer_of(name, MODELS[name][0])
    calls = tuple(
        ToolCall(
            id=f"call{number:05}", name=called, arguments=json.dumps(given, ensure_ascii=False)
        )
        for number, (called, given) in enumerate(made)
    )
    response = Message(role="assistant", content=text, tool_calls=calls)
    step = Step(observation=(Message(role="user", content="Go."),), response=response)
    trajectory = make_trajectory(0).model_copy(update={"steps": (step,), "tools": SCHEMAS})
    # What the tokenizer of the tests writes of some letters is not what it reads.
    text_of_step = renderer.render(trajectory.messages, tools=SCHEMAS)
    prompt = renderer.render(trajectory.messages[:-1], open_turn=True, tools=SCHEMAS)
    end = renderer.tokenizer.decode(list(renderer.end_of_turn))
    written = text_of_step.removeprefix(prompt).rpartition(end)[0].strip()
    assert read_text_calls(written) == response


@pytest.mark.parametrize(
    "text",
    [
        "no call",
        "<tool_call>\nno json\n</tool_call>",
        '<tool_call>\n{"name": "open"}\n</tool_call>',
        '<tool_call>\n{"name": 1, "arguments": {}}\n</tool_call>',
        '<tool_call>\n{"name": "open", "arguments": {}}',
        '<tool_call>\n{"name": "open", "arguments": {}}\n</tool_call> and more',
        '<tool_call>\n{"name": "open", "arguments": {}}\n</tool_call>\n<tool_call>\n',
        "<tool_call>\n" + "[" * 100_000,
    ],
)
def test_text_that_does_not_keep_the_form_stays_text(text: str) -> None:
    assert read_text_calls(text) == Message(role="assistant", content=text)


@pytest.mark.parametrize("model", REAL)
def test_the_template_that_a_note_names_writes_what_was_lost(model: str) -> None:
    own, _, _, fitting = REAL[model]
    tokenizer = make_tokenizer(
        own.tokenizer.chat_template,
        [*own.tokenizer.added_tokens_encoder],
        own.tokenizer.eos_token,
        own.tokenizer.bos_token,
    )
    set_chat_template(tokenizer, fitting, model)
    for example in Renderer(tokenizer, model).tokenize_trajectory(everything(False)):
        # The template of R1-Distill cuts thinking, which is left to it.
        expected = ("reasoning",) if model == "r1-distill" else ()
        assert set(chain.from_iterable(example.unwritten.values())) <= {*expected}


@pytest.mark.parametrize(
    "model", [model for model, case in REAL.items() if case[3] != "text-calls"]
)
def test_a_chat_without_tools_is_written_as_the_models_own_template_writes_it(model: str) -> None:
    own, _, _, fitting = REAL[model]
    chat = [write_chat_message(message) for message in make_trajectory(3).messages]
    given = {"tokenize": False, "add_generation_prompt": True}
    before = own.tokenizer.apply_chat_template(chat, **given)
    template = stock_text(fitting)
    assert before == own.tokenizer.apply_chat_template(chat, chat_template=template, **given)
    assert fitting_template(own.tokenizer) == fitting


@every_row
def test_a_template_is_saved_with_its_tokenizer(name: str, model: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    renderer = renderer_of(name, model)
    renderer.tokenizer.save_pretrained(tmp_path)
    loaded = Renderer(AutoTokenizer.from_pretrained(tmp_path), model)
    messages = everything().messages
    assert loaded.render(messages, tools=SCHEMAS) == renderer.render(messages, tools=SCHEMAS)
