"""The servers of AgentGym, one row each: what is sent, what comes back, when a task is solved.

Read in AgentGym at commit 3ef9235 (2026-05-30). Sources of the numbers: `max_steps` is
`max_rounds` of its train_agentevol_multi_task.sh, `threshold` is the one of its
utils/agentevol_filter.py. Rows without a threshold there (academia, sheet, webarena, searchqa)
take the one of all other servers with a reward of 0 to 1.

There are two dialects. With the key `id`, an error is an object `{"error": …}` in HTTP 200. With
the key `env_idx`, it is HTTP 422 or 500.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# How the client turns a response into an action: see parsing.py.
Rule = Literal["cleaned", "cleaned_2024", "last", "first", "sql", "raw", "fenced"]
# What the agent reads first: see `first_text` in session.py.
FirstTurn = Literal["observation", "description", "actions", "rules", "words", "asked"]


@dataclass(frozen=True, slots=True)
class GymServer:
    """How one server is spoken to.

    Attributes:
        greeting: what `GET /` calls the server; None if it only says "ok".
        key: the field that holds the id of a world.
        item: the field of `/reset` that holds the number of a task.
        rule, rule_2024: how a response becomes an action; the second if it was another in 2024.
        item_prefix: how the ids of its tasks begin in AgentTraj and AgentEval.
        path: what comes before every route.
        create_body, reset_body: further fields.
        text: the field of a step's observation.
        reward: the field that AgentGym's own client reports.
        best: the highest reward; a score is the reward divided by it.
        threshold: a task is solved by a reward above it.
        items: the numbers of its tasks (`0-543`), where they are known.
        is_open: other numbers are tasks, too.
        splits: the numbers of splits that the server itself defines.
        num_leaked: how many of AgentEval's tasks are in AgentTraj, by their lists of ids.
        unplayable: the numbers of tasks whose reset fails.
        step_limit: an end without success after so many turns is the server's own limit,
        loss: unless its reward is this one.
        invalid: matches an observation that says that the action was not possible.
        actions: what an action looks like; an observation does not say whether it was possible.
        probe: a route that answers only while the world lives.
        max_worlds: a server with a fixed number of worlds hands out the same id twice.
    """

    greeting: str | None
    key: Literal["id", "env_idx"]
    item: str
    item_prefix: str
    rule: Rule
    max_steps: int
    rule_2024: Rule | None = None
    first_turn: FirstTurn = "observation"
    path: str = ""
    create_body: Mapping[str, Any] | None = None
    reset_body: Mapping[str, Any] = field(default_factory=dict)
    text: str = "observation"
    reward: str = "reward"
    done: str = "done"
    best: float = 1.0
    threshold: float = 0.99
    items: str | None = None
    is_open: bool = False
    splits: Mapping[str, str] = field(default_factory=dict)
    num_leaked: int | None = 0
    unplayable: tuple[int, ...] = ()
    step_limit: int | None = None
    loss: float | None = None
    invalid: re.Pattern[str] | None = None
    actions: re.Pattern[str] | None = None
    probe: str = "/observation"
    can_close: bool = False
    max_worlds: int | None = None


_TOOL_FAULT = re.compile(r"Format error|Observation: ERROR \|")
_SQL_FAULT = re.compile(
    r"no such |near \"|unrecognized token|incomplete input|ambiguous column|misuse of|"
    r"You can only execute one statement|attempt to write a readonly|wrong number of arguments"
)
# A tool could not reach its service, which is not the agent's fault.
TOOL_OUTAGE = re.compile(r"Observation: ERROR \| \w*(Connection|Timeout|Proxy|SSL)\w*\(")
# The server does not know the id: it was restarted.
UNKNOWN_ID = re.compile(r"The id \S+ is not valid|has been deleted|Env \S+ not found")
BABYAI_LEVELS = 40


def _tool(prefix: str, max_steps: int, items: str | None = None) -> GymServer:
    return GymServer(
        greeting=None,
        key="env_idx",
        item="id",
        item_prefix=prefix,
        rule="raw",
        max_steps=max_steps,
        create_body={"id": 0},
        items=items,
        invalid=_TOOL_FAULT,
    )


SERVERS: dict[str, GymServer] = {
    "textcraft": GymServer(
        greeting="TextCraft",
        key="id",
        item="data_idx",
        item_prefix="textcraft_",
        rule="cleaned",
        max_steps=20,
        rule_2024="cleaned_2024",
        create_body={},
        items="0-543",
        # None of its numbers are, but at another server they are other goals.
        num_leaked=None,
        splits={"paper_test": "0-30,140-180,420-444,533-535"},
        invalid=re.compile(r"Could not "),
        can_close=True,
    ),
    "babyai": GymServer(
        greeting="BabyAI",
        key="id",
        item="data_idx",
        item_prefix="babyai_",
        rule="cleaned",
        max_steps=20,
        rule_2024="first",
        reward="score",
        threshold=0.0,
        # Any number works: level = number % 40 + 1, seed = number // 40. AgentTraj ends at 11155.
        items="0-11999",
        is_open=True,
        invalid=re.compile(r"The action is not recognized|You cannot "),
        can_close=True,
    ),
    "sciworld": GymServer(
        greeting="ScienceWorld",
        key="id",
        item="data_idx",
        item_prefix="sciworld_",
        rule="last",
        max_steps=30,
        rule_2024="first",
        first_turn="description",
        reward="score",
        best=100.0,
        threshold=99.0,
        items="0-4638",
        num_leaked=61,
        # A limit of 100 moves: a turn takes up to two, and some take none.
        step_limit=50,
        # Of a wrong focus.
        loss=-100.0,
        # A question with numbers takes the next action as its answer, so the action was not done.
        invalid=re.compile(r"No known action matches|Unknown action|Ambiguous request"),
        # The observation is kept outside of the simulator, which may be dead.
        probe="/goals",
        can_close=True,
    ),
    "alfworld": GymServer(
        greeting="AlfWorld",
        key="id",
        item="game",
        item_prefix="alfworld_",
        rule="last",
        max_steps=30,
        rule_2024="first",
        first_turn="actions",
        reset_body={"world_type": "Text"},
        items="0-2619",
        splits={
            "train": "0-2419",
            "held_in_test": "2420-2619",
            "paper_train": "0-2419",
            "paper_test": "2420-2619",
        },
        step_limit=50,
        invalid=re.compile(r"Nothing happens"),
    ),
    "maze": GymServer(
        greeting="LMRL-Gym",
        key="id",
        item="game",
        item_prefix="lmrlgym_maze_",
        rule="first",
        max_steps=15,
        first_turn="rules",
        path="/maze",
        items="0-24",
        # It starts at the goal.
        unplayable=(25,),
        # The starts of AgentTraj, and the others.
        splits={
            "train": "13-22",
            "held_in_test": "0-12,23-24",
            "paper_train": "13-22",
            "paper_test": "0-24",
        },
        step_limit=51,
        actions=re.compile(r"move (up|down|left|right)"),
    ),
    "wordle": GymServer(
        greeting="LMRL-Gym",
        key="id",
        item="seed",
        item_prefix="lmrlgym_wordle_",
        rule="first",
        max_steps=8,
        first_turn="words",
        path="/wordle",
        items="0-979",
        is_open=True,
        num_leaked=21,
        splits={"paper_test": "0-24"},
        invalid=re.compile(r"invalid word"),
    ),
    "webshop": GymServer(
        greeting=None,
        key="env_idx",
        item="session_id",
        item_prefix="webshop_",
        rule="last",
        max_steps=10,
        rule_2024="first",
        first_turn="asked",
        text="state",
        actions=re.compile(r"(?:search|click)\[.+\]", re.DOTALL),
    ),
    "sqlgym": GymServer(
        greeting=None,
        key="env_idx",
        item="item_id",
        item_prefix="sqlgym_",
        rule="sql",
        max_steps=1,
        text="state",
        items="0-10961",
        # BIRD's own division: the databases of the second range are in no training task.
        splits={"train": "0-9427", "held_out_test": "9428-10961"},
        invalid=_SQL_FAULT,
        max_worlds=8,
    ),
    "weather": _tool("weather_", 10, "0-342"),
    "movie": _tool("movie_", 12, "0-237"),
    "todo": _tool("todo_", 15, "0-154"),
    "academia": _tool("tool_academia_", 12),
    "sheet": _tool("tool_sheet_", 15),
    "webarena": GymServer(
        greeting=None,
        key="env_idx",
        item="idx",
        item_prefix="webarena_",
        rule="fenced",
        max_steps=25,
        reset_body={"seed": 0},
        done="terminated",
        can_close=True,
    ),
    "searchqa": GymServer(
        greeting=None,
        key="env_idx",
        item="id",
        item_prefix="searchqa_",
        rule="raw",
        max_steps=30,
        create_body={"id": 0},
        items="0-221328",
        num_leaked=None,
        splits={"train": "51713-221328", "held_in_test": "0-51712"},
        invalid=re.compile(r"Your previous action is invalid"),
        can_close=True,
    ),
}
