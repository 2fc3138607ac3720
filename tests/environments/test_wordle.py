"""Wordle: LMRL-Gym's rules and words, and games with a fixed secret."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.environments.paper.wordle.config import WordleConfig
from atlas.environments.paper.wordle.environment import WordleEnvironment
from atlas.environments.paper.wordle.expert import best_guess, fits
from atlas.environments.paper.wordle.game import Wordle, mark
from atlas.environments.paper.wordle.tasks import generated_game, read_vocabulary
from atlas.environments.paper.wordle.words import WORDS
from atlas.errors import ConfigError
from atlas.records import Message, Task
from tests.environments.paper_worlds import AGENTTRAJ, play, react, steps

LISTED = ["stone", "onion", "spoon", "audio", "crane", "zebra", "night"]


def make(**settings: object) -> WordleEnvironment:
    return WordleEnvironment(WordleConfig(**settings))


def spaced(word: str) -> str:
    return " ".join(word)


@pytest.mark.parametrize(
    ("guess", "word", "answer"),
    [
        ("stone", "stone", "ggggg"),
        ("spoon", "onion", "bbygg"),
        # LMRL-Gym does not count letters: both are marked, although the word has only one.
        ("onion", "stone", "yybyy"),
        ("crane", "audio", "bbybb"),
    ],
)
def test_the_answer_to_a_guess(guess: str, word: str, answer: str) -> None:
    assert mark(guess, word) == answer


@given(st.sampled_from(WORDS), st.lists(st.sampled_from(WORDS), min_size=1, max_size=5))
def test_the_secret_fits_all_answers(secret: str, guesses: list[str]) -> None:
    assert fits(secret, [(guess, mark(guess, secret)) for guess in guesses])


def test_the_word_of_the_papers_games_is_drawn_at_each_guess_from_those_that_fit() -> None:
    for seed in range(30):
        game = Wordle(LISTED, None, seed)
        while not game.is_over:
            fitting = [word for word in LISTED if fits(word, game.answers)]
            assert fitting, "an answer never contradicts the earlier ones"
            game.guess(fitting[0])
        assert game.is_won


def test_the_answers_of_agentgyms_server() -> None:
    path = AGENTTRAJ.parent / "agentgym_http" / "lmrlgym_maze_wordle.txt"
    if not path.exists():
        pytest.skip(f"the recorded answers {path} are not there")
    text = path.read_text()
    found = re.search(r'^\["panic".*\]$', text, re.MULTILINE)
    assert found
    vocabulary = json.loads(found.group())
    calls = re.findall(
        r"/wordle/(reset|step) .*-d '(.*)'\n(.*)\n",
        text,
    )
    num_compared, game = 0, Wordle(vocabulary, None, 0)
    for route, sent, answered in calls:
        body, answer = json.loads(sent), json.loads(answered)
        if route == "reset":
            game = Wordle(vocabulary, None, body["seed"])
        elif "error" not in answer:
            marks = game.guess(body["action"].replace(" ", ""))
            shown = "invalid word" if marks is None else spaced(marks)
            assert (shown, game.is_over) == (answer["observation"].strip(), answer["done"])
            num_compared += 1
    assert num_compared >= 10


def test_an_invalid_word_costs_a_guess_and_draws_nothing() -> None:
    plain, other = Wordle(LISTED, None, 3), Wordle(LISTED, None, 3)
    assert other.guess("zzz") is None
    assert plain.guess("stone") == other.guess("stone")
    assert (plain.num_guesses, other.num_guesses) == (1, 2)


def test_the_words_are_those_of_agentgym(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("\n".join(LISTED))
    environment = make(vocabulary=str(path))
    [task] = environment.tasks("paper_test", 1, 0)
    assert task.id == "lmrlgym_wordle_0"
    _, seen = play(environment, task, ["zzz", spaced("zebra")])
    assert seen[0] == "invalid word"
    assert set(seen[1]) <= set("bgy \n")
    assert len(seen[1]) == len("b b b y g\n")


def test_six_guesses_end_the_game() -> None:
    environment = make()
    environment.reset(environment.tasks("train", 1, 0)[0])
    results = steps(environment, ["nothing"] * 6)
    assert [one.terminated for one in results] == [False] * 5 + [True]
    assert not any(one.success or one.truncated for one in results)


def test_the_papers_words_are_needed_for_its_games() -> None:
    with pytest.raises(ConfigError, match="vocabulary=PATH"):
        make().tasks("paper_test", 1, 0)
    assert "21 of the 25" in make().notes("paper_test")[0]


@pytest.mark.parametrize("text", ["\n".join(LISTED), json.dumps(LISTED)])
def test_a_vocabulary_is_a_list_of_lines_or_the_answer_of_a_server(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "words"
    path.write_text(text)
    assert read_vocabulary(str(path)) == tuple(LISTED)


@pytest.mark.parametrize("text", ["", "STONE", "stone\nlonger", "[1]", "[", '{"a": 1}'])
def test_what_is_no_vocabulary_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "words"
    path.write_text(text)
    with pytest.raises(ConfigError, match="vocabulary="):
        read_vocabulary(str(path))


def test_no_word_is_to_be_guessed_in_two_splits() -> None:
    environment = make()
    secrets: list[set[str | None]] = []
    for splits in (("train",), ("held_in_test", "held_out_test")):
        tasks = [task for split in splits for task in environment.tasks(split, 200, 0)]
        secrets.append({generated_game(task)._secret for task in tasks})
    assert not secrets[0] & secrets[1]


def test_the_list_of_words_is_sound() -> None:
    assert len(set(WORDS)) == len(WORDS) > 600
    assert all(len(word) == 5 and word.isascii() and word.islower() for word in WORDS)


def test_the_expert_guesses_the_secret_at_first_no_more_often_than_by_chance() -> None:
    environment = make()
    hits = 0
    for task in environment.tasks("train", 200, 0):
        environment.reset(task)
        hits += environment.step(environment.expert(task.seed or 0).respond().response).success
    # 40 words a game: 5 are expected.
    assert hits <= 15


def test_the_best_guess_leaves_the_fewest_words() -> None:
    words = ["stone", "store", "stove", "crane"]
    chosen = best_guess(words)
    assert chosen in words

    def worst(guess: str) -> int:
        marks = [mark(guess, word) for word in words]
        return max(marks.count(one) for one in marks)

    assert worst(chosen) == min(map(worst, words))


def test_a_guess_is_read_with_and_without_blanks() -> None:
    environment = make()
    task = environment.tasks("train", 1, 0)[0]
    environment.reset(task)
    word = environment.game.vocabulary[0]
    answers = []
    for text in (word, spaced(word)):
        environment.reset(task)
        answers.append(environment.step(react(text)).observation)
    assert answers[0] == answers[1]


def test_a_task_plays_the_same_game(tmp_path: Path) -> None:
    environment = make()
    task: Task = environment.tasks("train", 1, 0)[0]
    assert environment.reset(task) == environment.reset(task)


def test_half_of_a_surrogate_pair_is_an_invalid_word() -> None:
    environment = make()
    [task] = environment.tasks("train", 1, 0)
    environment.reset(task)
    done = environment.step(Message(role="assistant", content="Action: \ud800"))
    assert done.is_invalid
    assert done.action == "?"
