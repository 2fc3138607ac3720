"""A model over a network as a player: many conversations in flight, each with its own history."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from atlas.errors import ModelError
from atlas.kinds import Choice
from atlas.models.endpoints.endpoint_player import EndpointPlayer
from atlas.models.players import PLAYER, PlayerAnswer
from atlas.records import Message
from tests.models.endpoints.chat_server import Reply, completion, failure, serve


def make(url: str, *, seed: int = 0, in_flight: int = 8, **settings: Any) -> EndpointPlayer:
    endpoint = {"base_url": url, "max_in_flight": in_flight, "max_retries": 0}
    made: EndpointPlayer = PLAYER.make(
        Choice("endpoint", {"endpoint": endpoint, **settings}), "m", seed
    )
    return made


def ask(player: EndpointPlayer, **said: str) -> dict[str, PlayerAnswer]:
    for name, text in said.items():
        player.submit(name, [Message(role="user", content=text)])
    answers: dict[str, PlayerAnswer] = {}
    while len(answers) < len(said):
        answers |= player.next_answers(5.0)
    return answers


def test_answers_come_as_they_are_ready_and_as_many_are_asked_at_a_time_as_configured() -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def answer(body: dict[str, Any], number: int) -> Reply:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.3 if body["messages"][0]["content"] == "slow" else 0.05)
        with lock:
            now[0] -= 1
        return completion("done")

    with serve(answer) as server:
        player = make(server.url, in_flight=3)
        names = ["slow", *"abcde"]
        for name in names:
            player.submit(name, [Message(role="user", content=name)])
        came: list[str] = []
        while len(came) < len(names):
            came += player.next_answers(5.0)
        player.end()
    assert came[-1] == "slow"
    assert most[0] == 3


def test_each_turn_is_asked_with_the_history_of_its_own_conversation() -> None:
    with serve(lambda body, _: completion(f"heard {body['messages'][-1]['content']}")) as server:
        player = make(server.url)
        ask(player, a="one", b="two")
        ask(player, a="three")
        player.end()
    assert [message["content"] for message in server.requests[-1]["messages"]] == [
        "one",
        "heard one",
        "three",
    ]


def test_greedy_requests_have_no_seed_and_sampled_ones_differ_by_conversation_turn_and_seed() -> (
    None
):
    def seeds(**settings: Any) -> list[Any]:
        with serve(lambda body, _: completion("x")) as server:
            player = make(server.url, **settings)
            for text in ("one", "two"):
                ask(player, a=text)
                ask(player, b=text)
            player.end()
        return [body.get("seed") for body in server.requests]

    assert seeds() == [None] * 4
    sampled = seeds(temperature=1.0)
    assert len(set(sampled)) == 4
    assert seeds(temperature=1.0) == sampled
    assert not set(seeds(temperature=1.0, seed=1)) & set(sampled)


def test_a_fault_that_concerns_every_request_is_raised() -> None:
    with serve(lambda body, _: failure(404, "no such model")) as server:
        player = make(server.url)
        with pytest.raises(ModelError, match="no such model"):
            ask(player, a="one")
        player.end()


def test_ending_does_not_wait_for_answers_under_way() -> None:
    asked, ended, answered = threading.Event(), threading.Event(), threading.Event()

    def answer(body: dict[str, Any], number: int) -> Reply:
        asked.set()
        # The server does not answer before the player has ended.
        assert ended.wait(60)
        answered.set()
        return completion("late")

    with serve(answer) as server:
        player = make(server.url)
        player.submit("a", [Message(role="user", content="one")])
        assert asked.wait(60)
        player.end()
        assert not answered.is_set()
        assert not player._thread.is_alive()
        ended.set()


def thinking(field: str, thoughts: str = "hm") -> Reply:
    body = json.loads(completion("push").body)
    body["choices"][0]["message"][field] = thoughts
    return Reply(json.dumps(body))


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("is_sent", [False, True])
def test_thoughts_are_kept_in_the_record_and_sent_back_only_if_the_server_shall_read_them(
    field: str, is_sent: bool
) -> None:
    with serve(lambda body, number: thinking(field)) as server:
        player = make(server.url, send_reasoning=is_sent)
        first, second = ask(player, a="one")["a"], ask(player, a="two")["a"]
        player.end()
    assert first.message.reasoning == second.message.reasoning == "hm"
    sent = server.requests[1]["messages"][1]
    assert sent["content"] == "push"
    thoughts = {name: sent[name] for name in ("reasoning_content", "reasoning") if name in sent}
    assert thoughts == ({field: "hm"} if is_sent else {})


def test_the_answer_of_a_closed_conversation_never_reaches_one_of_the_same_name() -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        said = body["messages"][-1]["content"]
        return completion(said, delay=0.3 if said == "old" else 0.0)

    with serve(answer) as server:
        player = make(server.url)
        player.submit("a", [Message(role="user", content="old")])
        player.close("a")
        assert ask(player, a="new")["a"].message.content == "new"
        assert player.next_answers(0.5) == {}
        player.end()


def test_hundreds_of_conversations_are_in_flight_at_a_time() -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def answer(body: dict[str, Any], number: int) -> Reply:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.5)
        with lock:
            now[0] -= 1
        return completion("done")

    with serve(answer) as server:
        player = make(server.url, in_flight=200)
        names = [f"c{number}" for number in range(200)]
        for name in names:
            player.submit(name, [Message(role="user", content=name)])
        came: set[str] = set()
        deadline = time.monotonic() + 30
        while len(came) < len(names) and time.monotonic() < deadline:
            came |= player.next_answers(5.0).keys()
        player.end()
    assert came == set(names)
    assert most[0] > 100
