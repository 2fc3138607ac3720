"""The law: what an example has before a step is what the player feeds before this answer."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.records import Message, Step, Trajectory
from atlas.rendering.renderer import Renderer
from atlas.rendering.token_ownership import TokenizedExample, steps_stopped_early
from atlas.training.config import TrainConfig
from atlas.training.examples import build_examples
from tests.conftest import make_trajectory
from tests.rendering.scripted_model import play_recorded
from tests.rendering.tokenizer_kinds import KINDS, tokenizer_of
from tests.template_families import FAMILIES, FOLDER
from tests.templates import CHATML, GEMMA, LLAMA_3, MISTRAL, SPECIAL_TOKENS
from tests.training.test_trunk_and_branches import select

every_template = pytest.mark.parametrize("name", [*FAMILIES, *SPECIAL_TOKENS])
every_kind = pytest.mark.parametrize("kind", KINDS)

words = st.text(st.sampled_from("xyI Thou\n\t.é漢'<>|"), max_size=12)
said = st.one_of(words, words.map(lambda text: f"\n\nThought{text}"), st.just("I go."))


@cache
def renderer_of(name: str, kind: str) -> Renderer:
    if name in SPECIAL_TOKENS:
        template, special, eos = SPECIAL_TOKENS[name]
        return Renderer(tokenizer_of(kind, template, tuple(special), eos, None), name)
    family = FAMILIES[name]
    template = family.prefix + (FOLDER / f"{family.file}.jinja").read_text(encoding="utf-8")
    return Renderer(tokenizer_of(kind, template, family.special, family.eos, family.bos), name)


def chat(seen: list[str], answers: list[str], system: str | None = "Look.") -> Trajectory:
    steps = tuple(
        Step(
            observation=(Message(role="user", content=f"o{observation}"),),
            response=Message(role="assistant", content=answer),
        )
        for observation, answer in zip(seen, answers, strict=True)
    )
    prompt = () if system is None else (Message(role="system", content=system),)
    return make_trajectory(0).model_copy(update={"prompt": prompt, "steps": steps})


def before_and_in(examples: list[TokenizedExample], step: int) -> tuple[list[int], list[int]]:
    """The tokens before the response of a step, and those of the response."""
    (example,) = [one for one in examples if step in one.steps]
    places = np.flatnonzero(example.step_of_token == step)
    assert (np.diff(places) == 1).all()
    return example.token_ids[: places[0]].tolist(), example.token_ids[places].tolist()


@every_kind
@every_template
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_an_example_has_the_tokens_that_the_player_feeds(
    name: str, kind: str, data: st.DataObject
) -> None:
    renderer = renderer_of(name, kind)
    answers = data.draw(st.lists(said, min_size=1, max_size=4))
    seen = data.draw(st.lists(words, min_size=len(answers), max_size=len(answers)))
    trajectory = chat(seen, answers)
    examples = renderer.tokenize_trajectory(trajectory)
    parts = [before_and_in(examples, step) for step in range(len(answers))]
    for keeps_cache in (True, False):
        fed = play_recorded(renderer, trajectory, [own for _, own in parts], keeps_cache)
        assert fed == [before for before, _ in parts]


thoughts = st.builds(
    lambda thought, gap, answer: f"<think>\n{thought}\n</think>{gap}{answer}",
    words.map(str.strip),
    st.sampled_from(["", "\n", "\n\n"]),
    said,
)


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.thinks])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_an_example_has_the_tokens_that_the_player_feeds_after_thinking(
    name: str, data: st.DataObject
) -> None:
    renderer = renderer_of(name, "merging newlines")
    answers = data.draw(st.lists(st.one_of(thoughts, said), min_size=1, max_size=4))
    if FAMILIES[name].opener:
        answers = [answer.removeprefix(FAMILIES[name].opener) for answer in answers]
    trajectory = chat(["o"] * len(answers), answers)
    examples = renderer.tokenize_trajectory(trajectory)
    parts = [before_and_in(examples, step) for step in range(len(answers))]
    for keeps_cache in (True, False):
        fed = play_recorded(renderer, trajectory, [own for _, own in parts], keeps_cache)
        assert fed == [before for before, _ in parts]


@every_kind
@every_template
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_the_prompt_is_one_text_and_every_character_of_an_answer_is_supervised(
    name: str, kind: str, data: st.DataObject
) -> None:
    renderer, answer = renderer_of(name, kind), data.draw(said)
    trajectory = chat([data.draw(words)], [answer])
    (example,) = renderer.tokenize_trajectory(trajectory)
    before, own = before_and_in([example], 0)
    text = renderer.render(trajectory.messages[:-1], open_turn=True)
    assert before == renderer.encode(text)
    decode = renderer.tokenizer.decode
    prompt = decode(before, clean_up_tokenization_spaces=False)
    whole = decode(before + own, clean_up_tokenization_spaces=False)
    assert whole.startswith(prompt)
    # Templates trim an answer, but the tokens of the answer are those of nothing else.
    assert answer.strip() in whole[len(prompt) :]


@pytest.mark.parametrize("template", [CHATML, LLAMA_3, GEMMA, MISTRAL])
def test_a_first_word_that_merges_with_the_prompt_is_supervised(template: str) -> None:
    name = next(name for name, (known, _, _) in SPECIAL_TOKENS.items() if known == template)
    renderer = renderer_of(name, "merging newlines")
    for answer in ("Thought: I", "I", "\n\nThought"):
        trajectory = chat(["x"], [answer], system=None)
        (example,) = renderer.tokenize_trajectory(trajectory)
        _, own = before_and_in([example], 0)
        text = renderer.tokenizer.decode(own)
        assert text.lstrip().startswith(answer.strip())
        if "trim" not in template:
            assert text.removeprefix(" ").startswith(answer)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(text=words)
def test_a_response_has_the_tokens_that_say_it_after_a_prompt(kind: str, text: str) -> None:
    renderer = renderer_of("chatml", kind)
    (ids,) = renderer._encoder.responses([text])
    prompt = renderer.encode("<|im_start|>assistant\n")
    decode = renderer.tokenizer.decode
    assert decode(prompt + ids, clean_up_tokenization_spaces=False) == (
        decode(prompt, clean_up_tokenization_spaces=False) + text
    )


def test_a_response_that_spells_the_end_of_a_turn_is_named() -> None:
    """No model generates these tokens: it stops at the first end of turn."""
    renderer = renderer_of("chatml", "byte-level")
    trajectory = chat(["a", "b", "c"], ["one", "two<|im_end|>\n", "three"])
    (example,) = renderer.tokenize_trajectory(trajectory)
    assert steps_stopped_early(example, renderer.stop_ids) == {1}
    selected = [(trajectory, select(trajectory, [0, 1]))]
    (problem,) = build_examples(selected, renderer, TrainConfig(model="m")).problems
    assert problem.reason.startswith("1 of 2 selected steps spell a token that ends a turn")
