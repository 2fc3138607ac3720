"""AgentGym over HTTP: every server's dialect, against recorded exchanges."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import atlas
from atlas.environments.agentgym.environment import AgentGymEnvironment
from atlas.environments.agentgym.parsing import NO_FENCE, parse_response
from atlas.environments.agentgym.servers import SERVERS
from atlas.environments.agentgym.texts import INSTRUCTIONS, RULES, load_rules
from atlas.environments.base import StepResult
from atlas.environments.episode import start_episode
from atlas.environments.paper.responses import ONLY_ONE_ACTION
from atlas.environments.scienceworld.tasks import PAPER_VARIATIONS
from atlas.errors import EpisodeError
from atlas.records import Message, Source, Task
from atlas.store.record_files import to_json
from tests.environments.agentgym_recordings import (
    FOLDER,
    RECORDINGS,
    exchanges_in,
    get,
    post,
    said,
)
from tests.environments.agentgym_servers import Exchange, RecordedServer, serving
from tests.environments.paper_worlds import write_items

pytest.importorskip("urllib3", reason="needs the extra agentgym")
FILES = {
    "textcraft.txt": ("textcraft",),
    "babyai.txt": ("babyai",),
    "sciworld.txt": ("sciworld",),
    "alfworld.txt": ("alfworld",),
    "alfworld_episode.jsonl": ("alfworld",),
    "lmrlgym_maze_wordle.txt": ("maze", "wordle"),
    "sqlgym_synthetic.txt": ("sqlgym",),
    "weather.txt": ("weather",),
}


def make(server: str, url: str, **settings: Any) -> AgentGymEnvironment:
    config = AgentGymEnvironment.Config(
        server=server, url=url, **{"restart_seconds": 0, **settings}
    )
    return AgentGymEnvironment(config)


def task_of(server: str, number: int) -> Task:
    return Task(id=f"{SERVERS[server].item_prefix}{number}", environment=f"agentgym_{server}")


def response_for(server: str, action: str) -> Message:
    """The response from which AgentGym's client takes `action`."""
    rule = SERVERS[server].rule
    text = f"Thought:\nhm\n\nAction:\n{action}" if rule in ("cleaned", "first", "last") else action
    return Message(role="assistant", content=f"```sql\n{action}\n```" if rule == "sql" else text)


def follow(server: str, exchanges: Sequence[Exchange]) -> list[tuple[Exchange, StepResult]]:
    """Send what was recorded through the environment, and check what comes back."""
    row, results = SERVERS[server], []
    if not any(exchange.path.endswith("/create") for exchange in exchanges):
        # The recording begins with a world that was there.
        given = next(one.body[row.key] for one in exchanges if one.path == "/reset")
        exchanges = [post("/create", row.create_body, given), *exchanges]
    recorded = RecordedServer(exchanges)
    with serving(recorded) as url:
        environment = make(server, url, max_steps=1000)
        is_open = False
        for exchange in exchanges:
            if exchange.path == f"{row.path}/reset":
                number, is_open = exchange.body[row.item], False
                task = task_of(server, number)
                if _is_error(exchange):
                    with pytest.raises(EpisodeError, match=f"/reset of task {number}: "):
                        environment.reset(task)
                else:
                    environment.reset(task)
                    is_open = True
            elif exchange.path == f"{row.path}/step" and is_open:
                response = response_for(server, exchange.body["action"])
                if "ERROR | Connection" in str(exchange.reply):
                    with pytest.raises(EpisodeError, match="its tools are out of order"):
                        environment.step(response)
                    continue
                result = environment.step(response)
                check(server, exchange, result)
                results.append((exchange, result))
                is_open = not (result.terminated or result.truncated)
        environment.close()
    assert not [key for key in recorded.unknown if "/close" not in key]
    return results


def _is_error(exchange: Exchange) -> bool:
    return exchange.status != 200 or (
        isinstance(exchange.reply, dict) and "error" in exchange.reply
    )


def check(server: str, exchange: Exchange, result: StepResult) -> None:
    row, reply = SERVERS[server], exchange.reply
    [message] = result.observation
    assert message.role == "user"
    assert 0 <= result.score <= 1
    if _is_error(exchange):
        assert result.is_invalid
        assert message.content.startswith("The action could not be carried out: ")
        assert not any((result.terminated, result.truncated))
        return
    assert message.content == reply[row.text]
    assert result.reward == reply[row.reward]
    assert result.terminated == reply[row.done]
    assert result.success == (reply[row.reward] > row.threshold)


@pytest.mark.parametrize("server", SERVERS)
def test_every_server_is_spoken_to_in_its_dialect(server: str) -> None:
    results = follow(server, RECORDINGS[server])
    assert len(results) == sum(one.path.endswith("/step") for one in RECORDINGS[server])
    assert results[-1][1].success == (server != "sqlgym")
    nonsense = (
        [result for _, result in results[:-1]] if server not in ("sqlgym", "webarena") else []
    )
    assert not nonsense or nonsense[0].is_invalid
    assert not results[-1][1].is_invalid or server == "sqlgym"


@pytest.mark.parametrize(
    ("name", "server"), [(name, one) for name, servers in FILES.items() for one in servers]
)
def test_recorded_exchanges_of_real_servers_are_understood(name: str, server: str) -> None:
    if not (FOLDER / name).is_file():
        pytest.skip(f"the recordings of real servers are not here: {FOLDER / name}")
    assert follow(server, list(exchanges_in(FOLDER / name)))


FIRST_TEXTS = {
    "textcraft": "Crafting commands:\ncraft 1 emerald block using 9 emerald\n\n"
    "Goal: craft emerald block.",
    "sciworld": "Your task is to find a plant.\n"
    "This room is called the hallway. In it, you see: \n\tthe agent",
    "alfworld": "A room.\nAVAILABLE ACTIONS: look,go to mug 1",
    "maze": "Here:\nThe goal is at position 8, 6. Your current position is at position 7, 6.",
    "wordle": "One of panic\nsolar\ntrove.",
    "webshop": "WebShop [SEP] Instruction: [SEP] A mug [SEP] Search",
    "sqlgym": "Which item?",
    "webarena": "[1] RootWebArea",
    "searchqa": "Who?",
}


@pytest.mark.parametrize("server", FIRST_TEXTS)
def test_what_the_agent_reads_first(server: str) -> None:
    row, exchanges = SERVERS[server], RECORDINGS[server]
    number = next(one.body[row.item] for one in exchanges if one.path == f"{row.path}/reset")
    rules = {"maze": "Here:", "wordle": "One of {words}."}.get(server)
    with serving(RecordedServer(exchanges)) as url:
        environment = make(server, url, rules_text=rules)
        [message] = environment.reset(task_of(server, number))
        environment.close()
    assert message.content == FIRST_TEXTS[server]


def test_the_gold_statement_of_sqlgym_is_in_no_record() -> None:
    for reply in (
        None,
        {"info": {"ground_truth": "SELECT gold"}},
        [{"ground_truth": "SELECT gold"}],
    ):
        exchanges = list(RECORDINGS["sqlgym"])
        if reply is not None:
            exchanges[-1] = post("/step", exchanges[-1].body, reply)
        with serving(RecordedServer(exchanges)) as url:
            environment = make("sqlgym", url)
            said = [response_for("sqlgym", "SELECT nme FROM item")]
            episode = start_episode(
                environment, task_of("sqlgym", 9428), Source(name="x"), responses=said
            )
            environment.close()
        written = to_json(episode.trajectory)
        text = written.decode() if isinstance(written, bytes) else written
        assert episode.over
        assert "ORDER BY price" not in text
        assert "gold" not in text


@pytest.mark.parametrize(
    ("rule", "text", "sent", "refusal"),
    [
        ("cleaned", "Thought:\nx\n\nAction:\nget 1 <oak_log>!", "get 1 oaklog", None),
        (
            "cleaned",
            "Thought: x\nAction:   craft 1 a using 1 b,  2 c\nmore",
            "craft 1 a using 1 b, 2 c",
            None,
        ),
        ("cleaned", "Action:\n\nget 1 log", "get 1 log", None),
        ("cleaned", "no marker", "", None),
        ("cleaned", "Action: a\nAction: b", "", ONLY_ONE_ACTION),
        ("cleaned_2024", "Action: a\nAction: b-c\nInstruction:\nnext", "bc", None),
        ("cleaned_2024", "no marker.", "no marker", None),
        ("last", "Action: a\nAction: b.\nand more</s>", "b.\nand more", None),
        ("last", "no marker", "", None),
        ("last", " click[Buy Now] ", "click[Buy Now]", None),
        ("first", "Action: a\nAction: b", "a", None),
        ("first", " s h i r e</s>", "s h i r e", None),
        ("sql", "So:\n```sql\nSELECT 1\n```\nDone.", "SELECT 1", None),
        ("sql", "SELECT 1", "SELECT 1", None),
        ("raw", "Action: x with Action Input: {}", "Action: x with Action Input: {}", None),
        ("fenced", "So ```click [1]```", "So ```click [1]```", None),
        ("fenced", "click [1]", "", NO_FENCE),
    ],
)
def test_a_response_becomes_the_action_that_agentgyms_client_sends(
    rule: Any, text: str, sent: str, refusal: str | None
) -> None:
    parsed = parse_response(text, rule)
    assert (parsed.sent, parsed.refusal) == (sent, refusal)
    assert (parsed.action is None) == (not sent)


def test_several_actions_are_answered_without_the_server() -> None:
    exchanges = [one for one in RECORDINGS["textcraft"] if one.path != "/step"]
    with serving(RecordedServer(exchanges)) as url:
        environment = make("textcraft", url)
        environment.reset(task_of("textcraft", 7))
        result = environment.step(Message(role="assistant", content="Action: a\nAction: b"))
        environment.close()
    assert result.observation[0].content == ONLY_ONE_ACTION
    assert result.is_invalid
    assert not result.terminated


def test_the_first_score_of_babyai_counts_although_the_server_goes_on_adding() -> None:
    goes_on = [
        post("/create", None, {"id": 0}),
        post("/reset", {"id": 0, "data_idx": 1}, said("x", score=0)),
        post("/step", {"id": 0, "action": "turn left"}, said("done", 0.4, score=0.4)),
        post("/step", {"id": 0, "action": "turn right"}, said("done", 0.4, score=0.8)),
    ]
    with serving(RecordedServer(goes_on)) as url:
        environment = make("babyai", url)
        environment.reset(task_of("babyai", 1))
        results = [
            environment.step(response_for("babyai", f"turn {way}")) for way in ("left", "right")
        ]
        environment.close()
    assert [result.score for result in results] == [0.4, 0.4]
    assert all(result.success and not result.terminated for result in results)


def test_the_limit_of_the_server_is_a_truncation_and_a_lost_task_is_not() -> None:
    lost = post("/step", {"id": 0, "action": "focus on air"}, said("x", -100, True, score=-100))
    exchanges = [*RECORDINGS["sciworld"][:2], lost]
    with serving(RecordedServer(exchanges)) as url:
        environment = make("sciworld", url)
        environment.reset(task_of("sciworld", 4000))
        result = environment.step(response_for("sciworld", "focus on air"))
        environment.close()
    assert (result.terminated, result.truncated, result.success) == (True, False, False)
    assert (result.reward, result.score) == (-100, 0)
    wait = {"id": 0, "action": "wait"}
    steps = [post("/step", wait, said("x", score=0)) for _ in range(60)]
    steps.append(post("/step", wait, said("x", -100, True, score=-100)))
    with serving(RecordedServer([*RECORDINGS["sciworld"][:2], *steps])) as url:
        environment = make("sciworld", url, max_steps=100)
        environment.reset(task_of("sciworld", 4000))
        late = [environment.step(response_for("sciworld", "wait")) for _ in steps][-1]
        environment.close()
    assert (late.terminated, late.truncated) == (True, False)
    steps[-1] = post("/step", wait, said("x", 0, True, score=0))
    with serving(RecordedServer([*RECORDINGS["sciworld"][:2], *steps])) as url:
        environment = make("sciworld", url, max_steps=100)
        environment.reset(task_of("sciworld", 4000))
        late = [environment.step(response_for("sciworld", "wait")) for _ in steps][-1]
        environment.close()
    assert (late.terminated, late.truncated) == (False, True)
    walk = {"id": 1, "action": "look"}
    steps = [post("/step", walk, said("A room.", 0.0, index == 49)) for index in range(50)]
    with serving(RecordedServer([*RECORDINGS["alfworld"][:2], *steps])) as url:
        environment = make("alfworld", url, max_steps=60)
        environment.reset(task_of("alfworld", 2420))
        results = [environment.step(response_for("alfworld", "look")) for _ in range(50)]
        environment.close()
    assert [one.truncated for one in results] == [False] * 49 + [True]
    assert not results[-1].terminated


@pytest.mark.parametrize(
    ("server", "first", "later"),
    [
        ("textcraft", "Instruction:\nCrafting", "Instruction:\nCould not execute dance"),
        ("babyai", "Your goal: x", "The action is not recognized. Please check valid actions."),
    ],
)
def test_observations_can_be_worded_as_in_agenttraj(server: str, first: str, later: str) -> None:
    exchanges = RECORDINGS[server]
    row, [reset, step] = SERVERS[server], exchanges[1:3]
    with serving(RecordedServer(exchanges)) as url:
        environment = make(server, url, wording="agenttraj")
        [seen] = environment.reset(task_of(server, reset.body[row.item]))
        result = environment.step(response_for(server, step.body["action"]))
        environment.close()
    assert seen.content.startswith(first)
    assert "Available actions" not in seen.content
    assert result.observation[0].content == later
    assert result.is_invalid


def test_rules_and_instruction_come_from_imported_trajectories(tmp_path: Path) -> None:
    turns = [
        ("human", "You are a solver."),
        ("gpt", "OK."),
        ("human", "Rules.\nMore rules.\nThe goal is at position 8, 6.\n"),
        ("gpt", "Thought:\nx\n\nAction:\nmove down"),
    ]
    row = {
        "item_id": "lmrlgym_maze_18",
        "conversations": [
            {"from": who, "loss": None if who == "human" else index > 1, "value": value}
            for index, (who, value) in enumerate(turns)
        ],
    }
    (tmp_path / "maze_train.json").write_text(json.dumps([row]))
    run = tmp_path / "run"
    given = atlas.ImportConfig(paths=(str(tmp_path / "maze_train.json"),))
    atlas.import_trajectories(given, run)
    with serving(RecordedServer(RECORDINGS["maze"])) as url:
        environment = make("maze", url, instruction=str(run), rules_text=str(run))
        [message] = environment.reset(task_of("maze", 18))
        environment.close()
    assert [one.content for one in environment.prompt] == ["You are a solver.", "OK."]
    assert message.content.startswith("Rules.\nMore rules.\nThe goal is at position 8, 6. Your")


def test_the_rules_come_with_the_instruction_of_imported_trajectories(tmp_path: Path) -> None:
    path = write_items(tmp_path / "train.json", ["lmrlgym_maze_18"], ["Rules.\nThe goal is"])
    run = tmp_path / "run"
    atlas.import_trajectories(atlas.ImportConfig(paths=(path,)), run)
    assert load_rules(None, str(run), "maze") == "Rules."
    assert load_rules("Own.", str(run), "maze") == "Own."
    assert load_rules(None, "A text. " * 40, "maze") == RULES["maze"]
    assert load_rules(None, str(run), "babyai") == ""


def test_the_table_is_complete() -> None:
    assert set(INSTRUCTIONS) == set(SERVERS) == set(RECORDINGS)
    assert sum(PAPER_VARIATIONS.values()) == 4639
    for name, row in SERVERS.items():
        assert (row.key == "id") == (row.greeting is not None), name
        assert row.first_turn not in ("rules", "words") or row.path


def test_the_id_of_a_closed_world_is_given_back_where_the_server_can_close_one() -> None:
    for server, row in SERVERS.items():
        sent: list[str] = []
        recorded = RecordedServer(RECORDINGS[server])

        def answer(
            method: str, path: str, body: Any, recorded: Any = recorded, sent: Any = sent
        ) -> Any:
            sent.append(path)
            return recorded(method, path, body)

        number = next(
            one.body[row.item] for one in RECORDINGS[server] if one.path == f"{row.path}/reset"
        )
        with serving(answer) as url:
            environment = make(server, url)
            environment.reset(task_of(server, number))
            environment.close()
            environment.close()
        assert sent.count(f"{row.path}/close") == row.can_close, server


def test_a_get_of_a_recording_has_its_query() -> None:
    assert get("/observation", "id", 3, "x").path == "/observation?id=3"
