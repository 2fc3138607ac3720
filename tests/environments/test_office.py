"""The office: calls, their errors and answers, goals, splits, and the expert."""

from __future__ import annotations

import json
from typing import Any

import pytest

from atlas.environments.experts import ExpertConfig
from atlas.environments.office.config import OfficeConfig
from atlas.environments.office.environment import OfficeEnvironment
from atlas.environments.office.goals import OfficeGoal
from atlas.environments.office.played import action_of, read_call
from atlas.environments.office.state import EventKey, OfficeState, SentMail
from atlas.environments.office.tasks import HELD_OUT_KINDS, KINDS, make_task
from atlas.environments.office.tools import MAX_TEXT, TOOLS
from atlas.environments.react import react_message
from atlas.errors import DataError
from atlas.records import Message, Task, ToolCall

MANY = {**KINDS, **HELD_OUT_KINDS}


def make(**settings: object) -> OfficeEnvironment:
    return OfficeEnvironment(OfficeConfig.model_validate(settings))


def task_of(kind: str, seed: int = 0) -> Task:
    return Task(id=f"office/{kind}/{seed}", environment="office", group=kind, seed=seed)


def calls(*given: tuple[str, Any]) -> Message:
    made = tuple(
        ToolCall(
            id=f"c{number}",
            name=name,
            arguments=arguments if isinstance(arguments, str) else json.dumps(arguments),
        )
        for number, (name, arguments) in enumerate(given)
    )
    return Message(role="assistant", tool_calls=made)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("sing", {}, "'sing' is not a tool"),
        ("", "", "is not a tool"),
        ("find_contacts", "{", "not JSON"),
        ("find_contacts", "[" * 100_000, "not JSON"),
        ("find_contacts", '{"query": "\\ud800"}', "not JSON"),
        ("find_contacts", '{"query": NaN}', "not JSON"),
        ("find_contacts", "[1]", "not a JSON object"),
        ("find_contacts", {}, "'query' is missing"),
        ("find_contacts", {"query": "a", "x": 1}, "'x' is not an argument"),
        ("find_contacts", {"query": 1}, "'query' is 1"),
        ("find_contacts", {"query": "a" * (MAX_TEXT + 1)}, "characters"),
        ("find_contacts", {"query": "  "}, "no contact"),
        ("find_contacts", {"query": "Zarathustra"}, "no contact"),
        ("list_events", {"date": "2 March"}, "expected a date"),
        ("list_events", {"date": "20260302"}, "expected a date"),
        ("list_events", {"date": "2026-02-30"}, "expected a date"),
        ("read_mail", {"mail_id": "m99"}, "list_mails"),
        ("read_note", {"note_id": "n99"}, "search_notes"),
        ("search_notes", {"query": "moon"}, "The titles are"),
        ("cancel_event", {"event_id": "e99"}, "list_events"),
        ("move_event", {"event_id": "e99", "date": "2026-03-02", "start": "09:00"}, "e99"),
        ("send_mail", {"to": [], "subject": "a", "body": "b"}, "empty"),
        ("send_mail", {"to": ["x@y"], "subject": "a", "body": "b"}, "find_contacts"),
        ("send_mail", {"to": "x@y", "subject": "a", "body": "b"}, "'to' is 'x@y'"),
        ("send_mail", {"to": [1], "subject": "a", "body": "b"}, "'to' is [1]"),
        ("send_mail", {"to": ["a"] * 51, "subject": "a", "body": "b"}, "'to' is"),
    ],
)
def test_a_call_that_does_not_fit_is_answered_with_what_was_expected(
    name: str, arguments: Any, said: str
) -> None:
    environment = make()
    environment.reset(task_of("invite"))
    result = environment.step(calls((name, arguments)))
    [message] = result.observation
    assert message.role == "tool"
    assert message.tool_call_id == "c0"
    assert message.content.startswith("Error: ")
    assert said in message.content
    assert len(message.content) < 500
    assert result.is_invalid
    assert not result.terminated


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"start": "9:30"}, "expected a time"),
        ({"start": "24:00"}, "expected a time"),
        ({"start": "23:30"}, "same day"),
        ({"minutes": 0}, "same day"),
        ({"minutes": -5}, "same day"),
        ({"minutes": True}, "'minutes' is True"),
        ({"minutes": 60.0}, "'minutes' is 60.0"),
        ({"minutes": 10**4000}, "same day"),
        ({"title": " "}, "'title' is empty"),
        ({"attendees": ["Ada"]}, "mail address"),
    ],
)
def test_an_event_has_to_fit_into_a_day(changed: dict[str, Any], said: str) -> None:
    environment = make()
    environment.reset(task_of("invite"))
    given = {"title": "x", "date": "2030-01-01", "start": "10:00", "minutes": 60, "attendees": []}
    result = environment.step(calls(("create_event", given | changed)))
    assert said in result.observation[0].content
    assert result.is_invalid


def test_events_do_not_overlap_but_may_touch() -> None:
    environment = make()
    environment.reset(task_of("invite"))
    event = next(iter(environment.episode.state.events.values()))
    given = {"title": "x", "date": event.date, "minutes": 60, "attendees": []}
    taken = environment.step(calls(("create_event", {**given, "start": event.start})))
    assert event.title in taken.observation[0].content
    moved = {"event_id": event.id, "date": event.date, "start": event.start}
    assert not environment.step(calls(("move_event", moved))).is_invalid
    free = environment.step(calls(("create_event", {**given, "start": "20:00"})))
    assert not free.is_invalid
    touching = environment.step(calls(("create_event", {**given, "start": "21:00"})))
    assert not touching.is_invalid


def test_several_calls_are_answered_in_order_with_their_ids() -> None:
    environment = make()
    environment.reset(task_of("invite"))
    result = environment.step(
        calls(
            ("list_mails", {}),
            ("sing", {}),
            ("list_mails", ""),
            ("finish", {"summary": "x"}),
            ("list_mails", {}),
        )
    )
    assert [message.tool_call_id for message in result.observation] == [
        "c0",
        "c1",
        "c2",
        "c3",
        "c4",
    ]
    is_error = [message.content.startswith("Error") for message in result.observation]
    assert is_error == [False, True, False, False, True]
    assert result.is_invalid
    assert result.terminated
    assert not result.success


def test_calls_beyond_a_limit_are_refused() -> None:
    environment = make()
    environment.reset(task_of("invite"))
    result = environment.step(calls(*[("list_mails", {})] * 12))
    assert len(result.observation) == 12
    assert "only 10 calls" in result.observation[-1].content


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ('Action:\nfind_contacts {"query": "Ada"}', "find_contacts", {"query": "Ada"}),
        ('Action:\nfind_contacts{"query": "Ada"} please', "find_contacts", {"query": "Ada"}),
        ('Action:\n```\nread_note\n{"note_id":\n "n1"}\n```', "read_note", {"note_id": "n1"}),
        ("Action: list_mails", "list_mails", {}),
    ],
)
def test_a_call_in_react_text_is_read(text: str, name: str, arguments: Any) -> None:
    call = read_call(text)
    assert call is not None
    assert (call.name, json.loads(call.arguments)) == (name, arguments)


@pytest.mark.parametrize("text", ["", "find_contacts", "Action:\n", "Action:\n{}", "Action: !"])
def test_a_text_without_a_call_is_none(text: str) -> None:
    assert read_call(text) is None
    assert action_of(Message(role="assistant", content=text)) is None


def test_text_mode_offers_no_schemas_and_lists_the_tools() -> None:
    environment = make(calls="text")
    assert environment.tools == ()
    assert all(f"- {name} " in environment.prompt[0].content for name in TOOLS)
    environment.reset(task_of("invite"))
    result = environment.step(react_message("I look.", "list_mails {}"))
    assert not result.is_invalid
    assert result.observation[0].role == "user"
    assert environment.step(react_message("Hm.", "")).is_invalid


def solve(environment: OfficeEnvironment, task: Task, seed: int = 0) -> list[Message]:
    """The responses of an expert; the episode is over then."""
    environment.reset(task)
    expert, responses, result = environment.expert(seed), list[Message](), None
    while result is None or not (result.terminated or result.truncated):
        responses.append(expert.respond().response)
        result = environment.step(responses[-1])
    assert result.success, task.id
    return responses


@pytest.mark.parametrize("kind", MANY)
def test_what_nobody_asked_for_costs_the_success(kind: str) -> None:
    environment = make(expert=ExpertConfig(detour_rate=0, mistake_rate=0))
    responses = solve(environment, task_of(kind))
    event = next(iter(make_task(kind, 0).goal.before))
    extras: list[tuple[str, Any]] = [
        ("create_event", {"title": "x", "date": "2030-01-01", "start": "10:00", "minutes": 5,
                          "attendees": []}),
        ("send_mail", {"to": [make_task(kind, 0).state.contacts[0].email], "subject": "hello",
                       "body": "just so"}),
    ]  # fmt: skip
    assert event
    for extra in extras:
        environment.reset(task_of(kind))
        environment.step(calls(extra))
        for response in responses:
            result = environment.step(response)
        assert not result.success
        assert result.score == 0


@pytest.mark.parametrize("kind", MANY)
def test_finishing_at_once_is_a_failure_without_score(kind: str) -> None:
    environment = make()
    environment.reset(task_of(kind))
    result = environment.step(calls(("finish", {"summary": "done"})))
    assert (result.success, result.score, result.terminated) == (False, 0.0, True)


@pytest.mark.parametrize("kind", MANY)
@pytest.mark.parametrize("mode", ["native", "text"])
def test_a_careless_expert_succeeds_too(kind: str, mode: str) -> None:
    environment = make(calls=mode, expert=ExpertConfig(detour_rate=0.5, mistake_rate=0.5))
    for seed in range(15):
        responses = solve(environment, task_of(kind, seed), seed)
        ids = [call.id for response in responses for call in response.tool_calls]
        assert len(set(ids)) == len(ids)


def mail_score(goal: OfficeGoal, body: str, subject: str = "News") -> float:
    state = OfficeState((), (), (), {}, [SentMail(tuple(goal.informed), subject, body)])
    return goal.score(state)


NOBODY = frozenset[EventKey]()


@pytest.mark.parametrize(
    ("body", "score"),
    [
        ("It is at 13:00.", 1.0),
        ("It moved from 09:00 to 1 pm.", 1.0),
        ("New time: 1:00 p.m., same room", 1.0),
        ("New time: 13.00-14.00", 1.0),
        ("It is at 1:00.", 0.0),
        ("It is at 1 am.", 0.0),
        ("It is at 113:00.", 0.0),
        ("It is at 13:005.", 0.0),
        ("It is at 13.", 0.0),
        ("", 0.0),
    ],
)
def test_a_time_in_a_mail_may_be_written_in_another_form(body: str, score: float) -> None:
    goal = OfficeGoal(NOBODY, NOBODY, frozenset({"a@b"}), "13:00")
    assert mail_score(goal, body) == score


@pytest.mark.parametrize("text", ["09:00", "00:30", "12:00", "09:30"])
def test_each_form_of_a_time_means_the_same(text: str) -> None:
    goal = OfficeGoal(NOBODY, NOBODY, frozenset({"a@b"}), text)
    hour, minute = int(text[:2]), text[3:]
    half = f"{hour % 12 or 12}:{minute} {'PM' if hour >= 12 else 'AM'}"
    for said in (text, f"{hour}:{minute}", f"{hour}.{minute}", half, half.replace(" ", "").lower()):
        assert mail_score(goal, f"Now at {said}, not later") == 1.0, said


def test_the_subject_that_was_asked_for_has_to_be_the_subject() -> None:
    goal = make_task("clear-day", 0).goal
    asked = OfficeGoal(NOBODY, NOBODY, goal.informed, goal.text, goal.subject)
    assert mail_score(asked, "I am not here.", "away") == 1.0
    assert mail_score(asked, "I am away.", "Hello") == 0.0


@pytest.mark.parametrize("kind", ["send-note", "tell-team"])
def test_a_mail_with_all_notes_says_what_nobody_asked_for(kind: str) -> None:
    made = make_task(kind, 0)
    assert made.note is not None
    texts = [note.text for note in made.state.notes]
    to, number = tuple(made.goal.informed), made.text
    for body, score in ((made.note.text, 1.0), ("\n".join(texts), 0.0), (f"1{number}", 0.0)):
        made.state.sent[:] = [SentMail(to, "News", body)]
        assert made.goal.score(made.state) == score, body


def test_the_held_out_split_has_other_kinds_of_requests() -> None:
    environment = make()
    assert {task.group for task in environment.tasks("held_out_test", 20, 0)} == {*HELD_OUT_KINDS}
    assert {task.group for task in environment.tasks("train", 40, 0)} == {*KINDS}


def test_a_task_of_another_world_is_refused() -> None:
    with pytest.raises(DataError, match="'chess'"):
        make().reset(task_of("chess"))
