from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from atlas.models.local.chat_batch import ChatBatch, Reply
from atlas.models.local.load import load_model, load_renderer, locate_model
from atlas.records import Message
from atlas.rendering.renderer import Renderer


@pytest.fixture(scope="module")
def model_and_renderer(tiny_model_folder: Path) -> tuple[Any, Renderer]:
    place = locate_model(str(tiny_model_folder))
    return load_model(place, "float32", "cpu"), load_renderer(place)


def observe(text: str) -> list[Message]:
    return [Message(role="user", content=text)]


class Alone:
    """The reference: one conversation that keeps its token ids and runs the model over all of them at every token."""

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
    # Every conversation that is open answers in every round; "b" is closed after the second, "d" joins in the third.
    rounds = [["a", "b", "c"], ["a", "b", "c"], ["c", "d", "a"], ["a", "c", "d"], ["d", "a", "c"]]
    compared = 0
    for number, names in enumerate(rounds):
        if number == 2:
            batch.close("b")
        new = {
            name: observe(f"You see {'a red ball ' * (number + index)}{name} {number}.")
            for index, name in enumerate(names)
        }
        for name, reply in batch.respond(new).items():
            assert reply.text == alone.setdefault(name, Alone(model, renderer)).respond(
                new[name], 12
            ), (number, name)
            compared += 1
    assert compared == 15


def test_where_the_prompt_opens_thinking_every_turn_has_the_history_that_training_has(
    tiny_model_folder: Path,
) -> None:
    """Nothing of the opener may stay in the cache: the template writes earlier responses without it."""
    place = locate_model(str(tiny_model_folder))
    model, renderer = load_model(place, "float32", "cpu"), load_renderer(place)
    renderer.tokenizer.chat_template = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content.split('</think>')[-1] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
    )
    batch, messages = ChatBatch(model, renderer, temperature=0, max_tokens=9, max_context=2000), []
    for turn in range(3):
        new = observe(f"You see a red ball {turn}.")
        messages += new
        reply = batch.respond({"a": new})["a"]
        ids = renderer.opening_ids(messages)
        said: list[int] = []
        while len(said) < 9 and not (said and said[-1] in renderer.stop_ids):
            with torch.no_grad():
                said.append(int(model(input_ids=torch.tensor([ids + said])).logits[0, -1].argmax()))
        text = renderer.tokenizer.decode(
            said[:-1] if said[-1] in renderer.stop_ids else said, skip_special_tokens=True
        )
        assert reply.text == text
        assert reply.num_prompt_tokens == len(ids)
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
        lambda _, __, given: heights.append(len(given["input_ids"])), with_kwargs=True
    )
    names = list("abcdefgh")
    alone = {name: Alone(model, renderer) for name in names}
    for number in range(3):
        new = {
            name: observe(f"You see {'a red ball ' * (number + index)}{name} {number}.")
            for index, name in enumerate(names)
        }
        replies = batch.respond(new)
        assert len({reply.num_tokens for reply in replies.values()}) > 2
        assert min(heights) <= len(names) // 4, (
            "the rows that ended were run to the end of the round"
        )
        for name in names:
            assert replies[name].text == alone[name].respond(new[name], 25), (number, name)
        heights.clear()


def test_a_closed_conversation_frees_its_row_and_others_go_on_unchanged(
    model_and_renderer: tuple[Any, Renderer],
) -> None:
    model, renderer = model_and_renderer

    def second_answer(close: bool) -> Reply:
        batch = ChatBatch(model, renderer, temperature=0, max_tokens=8, max_context=2000)
        batch.respond(
            {"a": observe("one"), "b": observe("a much longer observation than the other one")}
        )
        if close:
            batch.close("b")
        return batch.respond({"a": observe("two")} | ({} if close else {"b": observe("three")}))[
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
            name: reply.text
            for name, reply in batch.respond({name: observe("go") for name in names}).items()
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
    reply = batch.respond({"a": observe("You see a red ball. " * 40)})["a"]
    assert (reply.finish, reply.text, reply.num_tokens) == ("context", "", 0)


def test_an_answer_cut_by_length_is_closed_before_the_next_turn(
    model_and_renderer: tuple[Any, Renderer],
) -> None:
    model, renderer = model_and_renderer
    batch = ChatBatch(model, renderer, temperature=0, max_tokens=3, max_context=2000)
    first = batch.respond({"a": observe("one")})["a"]
    assert first.finish in ("length", "stop")
    conversation = batch._conversations["a"]
    if first.finish == "length":
        assert conversation.pending[-len(renderer.end_of_turn) :] == list(renderer.end_of_turn)
    before = conversation.num_cached
    second = batch.respond({"a": observe("two")})["a"]
    assert second.num_prompt_tokens > before
