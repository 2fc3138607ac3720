from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from atlas.models.local.chat_batch import ChatBatch
from atlas.models.local.load import load_model, load_renderer, locate_model
from atlas.models.players import PlayerAnswer
from atlas.records import Message
from atlas.rendering.renderer import Renderer
from tests.tool_runs import SCHEMA


@pytest.fixture(scope="module")
def model_and_renderer(tiny_model_folder: Path) -> tuple[Any, Renderer]:
    place = locate_model(str(tiny_model_folder))
    return load_model(place, "float32", "cpu"), load_renderer(place)


def observe(text: str) -> list[Message]:
    return [Message(role="user", content=text)]


def respond(batch: ChatBatch, new: Mapping[str, list[Message]]) -> dict[str, PlayerAnswer]:
    for name, messages in new.items():
        batch.submit(name, messages)
    answers: dict[str, PlayerAnswer] = {}
    while len(answers) < len(new):
        answers |= batch.next_answers()
    return answers


class Alone:
    """The reference: one conversation, whose tokens are all fed again at every new token."""

    def __init__(self, model: Any, renderer: Renderer) -> None:
        self.model, self.renderer = model, renderer
        self.messages: list[Message] = []
        self.ids: list[int] = []

    def respond(self, new: list[Message], max_tokens: int) -> str:
        if self.ids:
            added = self.renderer.continuation_ids(self.messages, new)
            assert added is not None
            self.ids += added
        else:
            self.ids = self.renderer.opening_ids(new)
        said: list[int] = []
        while len(said) < max_tokens and not (said and said[-1] in self.renderer.stop_ids):
            with torch.no_grad():
                said.append(
                    int(
                        self.model(input_ids=torch.tensor([self.ids + said])).logits[0, -1].argmax()
                    )
                )
        stopped = said[-1] in self.renderer.stop_ids
        text = str(
            self.renderer.tokenizer.decode(said[:-1] if stopped else said, skip_special_tokens=True)
        )
        self.ids += said if stopped else [*said, *self.renderer.end_of_turn]
        self.messages += [*new, Message(role="assistant", content=text)]
        return text


def test_greedy_answers_over_many_turns_equal_encoding_the_whole_history_each_time(
    model_and_renderer: tuple[Any, Renderer],
) -> None:
    model, renderer = model_and_renderer
    batch = ChatBatch(model, renderer, temperature=0, max_tokens=12, max_context=2000)
    alone: dict[str, Alone] = {}
    # All open conversations answer in each round; "b" is closed after the second, "d" joins
    # in the third.
    rounds = [["a", "b", "c"], ["a", "b", "c"], ["c", "d", "a"], ["a", "c", "d"], ["d", "a", "c"]]
    compared = 0
    for number, names in enumerate(rounds):
        if number == 2:
            batch.close("b")
        new = {
            name: observe(f"You see {'a red ball ' * (number + index)}{name} {number}.")
            for index, name in enumerate(names)
        }
        for name, reply in respond(batch, new).items():
            assert reply.message.content == alone.setdefault(name, Alone(model, renderer)).respond(
                new[name], 12
            ), (number, name)
            compared += 1
    assert compared == 15


def test_where_the_prompt_opens_thinking_every_turn_has_the_history_that_training_has(
    tiny_model_folder: Path,
) -> None:
    """The cache may not keep the opener: the template writes earlier responses without it."""
    place = locate_model(str(tiny_model_folder))
    model, renderer = load_model(place, "float32", "cpu"), load_renderer(place)
    renderer.tokenizer.chat_template = (
        "{% for m in messages %}"
        "{{ '<|im_start|>' + m.role + '\n' + m.content.split('</think>')[-1] + '<|im_end|>\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
    )
    batch, messages = ChatBatch(model, renderer, temperature=0, max_tokens=9, max_context=2000), []
    for turn in range(3):
        new = observe(f"You see a red ball {turn}.")
        messages += new
        reply = respond(batch, {"a": new})["a"]
        ids = renderer.opening_ids(messages)
        said: list[int] = []
        while len(said) < 9 and not (said and said[-1] in renderer.stop_ids):
            with torch.no_grad():
                said.append(int(model(input_ids=torch.tensor([ids + said])).logits[0, -1].argmax()))
        text = renderer.tokenizer.decode(
            said[:-1] if said[-1] in renderer.stop_ids else said, skip_special_tokens=True
        )
        assert reply.message.content == text
        assert reply.usage.input_tokens == len(ids)
        messages.append(Message(role="assistant", content=text))


def test_answers_of_unequal_length_leave_the_batch_as_they_end(tiny_model_folder: Path) -> None:
    place = locate_model(str(tiny_model_folder))
    model, renderer = load_model(place, "float32", "cpu"), load_renderer(place)
    vars(renderer)["stop_ids"] = renderer.stop_ids | set(
        range(0, len(renderer.tokenizer), 9)
    )  # a random model stops now and then
    batch = ChatBatch(model, renderer, temperature=0, max_tokens=25, max_context=4000)
    heights: list[int] = []
    model.register_forward_pre_hook(
        lambda _, __, given: heights.append(given["input_ids"].numel()), with_kwargs=True
    )
    names = list("abcdefgh")
    alone = {name: Alone(model, renderer) for name in names}
    for number in range(3):
        new = {
            name: observe(f"You see {'a red ball ' * (number + index)}{name} {number}.")
            for index, name in enumerate(names)
        }
        replies = respond(batch, new)
        assert len({reply.usage.output_tokens for reply in replies.values()}) > 2
        assert min(heights) <= len(names) // 4, (
            "conversations that ended were run to the end of the round"
        )
        for name in names:
            assert replies[name].message.content == alone[name].respond(new[name], 25), (
                number,
                name,
            )
        heights.clear()


def test_a_closed_conversation_frees_its_row_and_others_go_on_unchanged(
    model_and_renderer: tuple[Any, Renderer],
) -> None:
    model, renderer = model_and_renderer

    def second_answer(close: bool) -> PlayerAnswer:
        batch = ChatBatch(model, renderer, temperature=0, max_tokens=8, max_context=2000)
        respond(
            batch,
            {"a": observe("one"), "b": observe("a much longer observation than the other one")},
        )
        if close:
            batch.close("b")
        return respond(batch, {"a": observe("two")} | ({} if close else {"b": observe("three")}))[
            "a"
        ]

    assert second_answer(close=True) == second_answer(close=False)


def test_sampling_depends_on_seed_and_name_and_not_on_the_others(
    model_and_renderer: tuple[Any, Renderer],
) -> None:
    model, renderer = model_and_renderer

    def answers(names: list[str], seed: int) -> dict[str, str]:
        batch = ChatBatch(
            model, renderer, temperature=1.0, max_tokens=10, max_context=2000, seed=seed
        )
        return {
            name: reply.message.content
            for name, reply in respond(batch, {name: observe("go") for name in names}).items()
        }

    together, alone = answers(["a", "b", "c"], 1), answers(["b"], 1)
    assert together["b"] == alone["b"]
    assert together["a"] != together["c"]
    assert answers(["b"], 2)["b"] != alone["b"]


def test_a_history_that_leaves_no_room_is_answered_with_context_and_not_generated(
    model_and_renderer: tuple[Any, Renderer],
) -> None:
    model, renderer = model_and_renderer
    batch = ChatBatch(model, renderer, temperature=0, max_tokens=8, max_context=60)
    reply = respond(batch, {"a": observe("You see a red ball. " * 40)})["a"]
    assert (reply.finish, reply.message.content, reply.usage.output_tokens) == ("no_room", "", 0)
    assert reply.reason == "the history needs more than 60 tokens"


def test_an_answer_cut_by_length_is_closed_before_the_next_turn(
    model_and_renderer: tuple[Any, Renderer],
) -> None:
    model, renderer = model_and_renderer
    batch = ChatBatch(model, renderer, temperature=0, max_tokens=3, max_context=2000)
    first = respond(batch, {"a": observe("one")})["a"]
    assert first.finish in ("length", "stop")
    conversation = batch._conversations["a"]
    if first.finish == "length":
        assert conversation.ids[-len(renderer.end_of_turn) :] == list(renderer.end_of_turn)
    before = len(conversation.ids)
    second = respond(batch, {"a": observe("two")})["a"]
    assert second.usage.input_tokens > before


def test_a_round_of_more_than_a_batch_gives_the_same_answers_and_encodes_nothing_again(
    model_and_renderer: tuple[Any, Renderer],
) -> None:
    model, renderer = model_and_renderer
    names = list("abcdefg")

    def answers(batch_size: int) -> list[dict[str, str]]:
        batch = ChatBatch(
            model,
            renderer,
            temperature=0,
            max_tokens=8,
            max_context=2000,
            batch_size=batch_size,
        )
        fed: list[int] = []
        hook = model.register_forward_pre_hook(
            lambda _, __, given: fed.append(given["input_ids"].numel()), with_kwargs=True
        )
        rounds = []
        for number in range(3):
            new = {name: observe(f"You see {name} {number}.") for name in names}
            fed.clear()
            replies = respond(batch, new)
            rounds.append({name: replies[name].message.content for name in names})
            if number:
                assert sum(fed) < 60 * len(names), "a history was encoded again"
        hook.remove()
        return rounds

    assert answers(64) == answers(3) == answers(1)


def test_the_template_writes_the_tools_that_are_offered(tiny_model_folder: Path) -> None:
    place = locate_model(str(tiny_model_folder))
    model, renderer = load_model(place, "float32", "cpu"), load_renderer(place)
    template = renderer.tokenizer.chat_template
    renderer.tokenizer.chat_template = "{% if tools %}{{ tools | tojson }}{% endif %}" + template
    tool = {"type": "function", "function": {"name": "push", "parameters": {}}}
    num_tokens = []
    for tools in ((), (tool,)):
        batch = ChatBatch(model, renderer, temperature=0, max_tokens=4, max_context=2000)
        for text in ("one", "two"):
            batch.submit("a", observe(text), tools)
            answer = batch.next_answers()["a"]
        num_tokens.append(answer.usage.input_tokens)
    assert num_tokens[1] > num_tokens[0] + 5


CALL = '<tool_call>\n{"name": "open", "arguments": {"door": 1}}\n</tool_call>'


def say(batch: ChatBatch, text: str, tools: list[dict[str, Any]]) -> PlayerAnswer:
    """The answer of a model that said `text`."""
    renderer = batch._renderer
    batch.submit("a", observe("Open it."), tools)
    batch.next_answers()
    conversation = batch._conversations["a"]
    del conversation.messages[-1]
    said = [*renderer.encode(text), *renderer.end_of_turn]
    conversation.said = said
    return batch._finish(conversation)


def batch_under(tiny_model_folder: Path, chat_template: str | None) -> ChatBatch:
    place = locate_model(str(tiny_model_folder))
    model, renderer = load_model(place, "float32", "cpu"), load_renderer(place, chat_template)
    return ChatBatch(model, renderer, temperature=0, max_tokens=2, max_context=2000)


@pytest.mark.parametrize("template", ["chatml-calls", "text-calls"])
def test_calls_as_text_are_read_under_a_template_that_writes_them_so(
    tiny_model_folder: Path, template: str
) -> None:
    batch = batch_under(tiny_model_folder, template)
    answer = say(batch, f"I do.\n{CALL}", [SCHEMA])
    assert answer.message.content == "I do."
    assert [(call.name, call.arguments) for call in answer.message.tool_calls] == [
        ("open", '{"door": 1}')
    ]
    # The history holds what the model wrote, so that it is the same text again.
    history = batch._conversations["a"].messages[-1]
    assert history == Message(role="assistant", content=f"I do.\n{CALL}")
    written = [message.model_copy(update={"tool_calls": ()}) for message in [history]]
    asked = observe("Open it.")
    assert batch._renderer.render([*asked, *written]) == batch._renderer.render(
        [*asked, answer.message]
    )


def test_calls_as_text_stay_text_without_tools_or_under_other_templates(
    tiny_model_folder: Path,
) -> None:
    for template, tools in (("chatml-calls", []), (None, [SCHEMA])):
        answer = say(batch_under(tiny_model_folder, template), CALL, tools)
        assert answer.message == Message(role="assistant", content=CALL)


def test_ids_of_calls_differ_within_a_conversation(tiny_model_folder: Path) -> None:
    batch = batch_under(tiny_model_folder, "chatml-calls")
    first = say(batch, f"{CALL}\n{CALL}", [SCHEMA]).message
    said = batch._renderer.encode(f"{CALL}\n{CALL}") + list(batch._renderer.end_of_turn)
    batch._conversations["a"].said = said
    second = batch._finish(batch._conversations["a"]).message
    assert len({call.id for call in (*first.tool_calls, *second.tool_calls)}) == 4


@pytest.mark.parametrize("template", [None, "chatml-calls"])
def test_schemas_that_a_template_drops_are_counted_and_said_at_the_end(
    tiny_model_folder: Path, template: str | None, capfd: pytest.CaptureFixture[str]
) -> None:
    batch = batch_under(tiny_model_folder, template)
    for name in ("a", "b"):
        batch.submit(name, observe("Open it."), [SCHEMA])
    batch.submit("c", observe("Open it."))
    while batch.next_answers():
        pass
    batch.end()
    said = capfd.readouterr().err
    lost = "does not write the tool schemas in the context of 2 of 3 trajectories"
    assert (lost in said) == (template is None)


def feeds_of(model: Any) -> tuple[list[int], Any]:
    """How many tokens each forward pass has, and the hook that counts them."""
    fed: list[int] = []
    hook = model.register_forward_pre_hook(
        lambda _, __, given: fed.append(given["input_ids"].numel()), with_kwargs=True
    )
    return fed, hook


def test_a_prompt_is_computed_once_for_all_conversations_also_after_the_first_ended(
    model_and_renderer: tuple[Any, Renderer],
) -> None:
    model, renderer = model_and_renderer
    prompt = [Message(role="system", content="You see a red ball. " * 20)]
    num_prompt = len(renderer.opening_ids([*prompt, *observe("x")]))
    batch = ChatBatch(model, renderer, temperature=0, max_tokens=4, max_context=4000)
    fed, hook = feeds_of(model)
    names = list("abcd")
    first = respond(batch, {name: [*prompt, *observe(name)] for name in names})
    assert sum(fed) < num_prompt + len(names) * 30
    for name in names:
        batch.close(name)
    fed.clear()
    later = respond(batch, {"e": [*prompt, *observe("a")]})
    assert sum(fed) < 30
    assert later["e"].message == first["a"].message
    hook.remove()
    alone = Alone(model, renderer)
    assert alone.respond([*prompt, *observe("a")], 4) == first["a"].message.content


def test_a_prompt_of_several_pieces_is_computed_once_too(
    model_and_renderer: tuple[Any, Renderer], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, renderer = model_and_renderer
    monkeypatch.setattr("atlas.models.local.chat_batch.MAX_PIECE", 40)
    prompt = [Message(role="system", content="You see a red ball. " * 20)]
    num_prompt = len(renderer.opening_ids([*prompt, *observe("x")]))
    assert num_prompt > 80
    batch = ChatBatch(model, renderer, temperature=0, max_tokens=4, max_context=4000)
    fed, hook = feeds_of(model)
    names = list("abcdef")
    answers = respond(batch, {name: [*prompt, *observe(name)] for name in names})
    hook.remove()
    assert sum(fed) < num_prompt + len(names) * 30
    for name in names:
        expected = Alone(model, renderer).respond([*prompt, *observe(name)], 4)
        assert answers[name].message.content == expected


def test_a_conversation_without_room_does_not_replace_the_prompt_that_is_kept(
    model_and_renderer: tuple[Any, Renderer],
) -> None:
    model, renderer = model_and_renderer
    prompt = [Message(role="system", content="You see a red ball. " * 20)]
    batch = ChatBatch(model, renderer, temperature=0, max_tokens=4, max_context=1000)
    respond(batch, {"a": [*prompt, *observe("a")]})
    batch.close("a")
    assert respond(batch, {"b": observe("door " * 2000)})["b"].finish == "no_room"
    batch.close("b")
    fed, hook = feeds_of(model)
    respond(batch, {"c": [*prompt, *observe("a")]})
    assert sum(fed) < 30
    hook.remove()
    batch.end()
    decoder: Any = batch._decoder
    assert len(decoder._pages._free) == decoder._pages._capacity


def test_conversations_join_and_leave_between_two_tokens(
    model_and_renderer: tuple[Any, Renderer],
) -> None:
    model, renderer = model_and_renderer
    batch = ChatBatch(model, renderer, temperature=0, max_tokens=30, max_context=4000)
    asked = {name: observe(f"You see {name}.") for name in "abc"}
    for name in "ab":
        batch.submit(name, asked[name])
    for _ in range(5):
        batch._advance()
    batch.submit("c", asked["c"])
    batch.close("b")
    answers: dict[str, PlayerAnswer] = {}
    while new := batch.next_answers():
        answers |= new
    assert set(answers) == {"a", "c"}
    for name in answers:
        expected = Alone(model, renderer).respond(asked[name], 30)
        assert answers[name].message.content == expected


def test_a_history_that_is_rewritten_at_its_end_is_encoded_from_there(
    tiny_model_folder: Path,
) -> None:
    place = locate_model(str(tiny_model_folder))
    model, renderer = load_model(place, "float32", "cpu"), load_renderer(place)
    renderer.tokenizer.chat_template = (
        "{% for m in messages %}"
        "{{ '<|im_start|>' + m.role + '\n' + m.content.split('</think>')[-1] + '<|im_end|>\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
    )
    batch = ChatBatch(model, renderer, temperature=0, max_tokens=5, max_context=4000)
    fed, hook = feeds_of(model)
    respond(batch, {"a": observe("You see a red ball. " * 20)})
    num_first = sum(fed)
    fed.clear()
    answer = respond(batch, {"a": observe("You see a door.")})["a"]
    assert answer.usage.input_tokens > num_first
    assert sum(fed) < 60
    hook.remove()


def test_a_long_history_is_encoded_in_pieces(
    model_and_renderer: tuple[Any, Renderer], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, renderer = model_and_renderer
    asked = {name: observe(f"{name} You see a red ball. " * 9) for name in "abc"}

    def answers() -> dict[str, str]:
        batch = ChatBatch(model, renderer, temperature=0, max_tokens=6, max_context=4000)
        return {name: each.message.content for name, each in respond(batch, asked).items()}

    whole = answers()
    monkeypatch.setattr("atlas.models.local.chat_batch.MAX_FED", 40)
    monkeypatch.setattr("atlas.models.local.chat_batch.MAX_PIECE", 24)
    fed, hook = feeds_of(model)
    assert answers() == whole
    # A forward pass of the check of the decoder comes first.
    assert max(fed[4:]) <= 40 + len(asked)
    hook.remove()
