"""Recorded exchanges with AgentGym's servers: short ones of each dialect, and those of a folder.

The short ones were made with running servers (textcraft, babyai, sciworld, maze, wordle), or follow
the servers' code where they need what is not to be had here.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.environments.agentgym_servers import Exchange, observed

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "agentgym_http"


def post(path: str, body: Any, reply: Any, status: int = 200) -> Exchange:
    return Exchange("POST", path, body, status, reply)


def get(path: str, key: str, world: int, reply: Any, status: int = 200) -> Exchange:
    return Exchange("GET", observed(path, key, world), None, status, reply)


def said(text: str, reward: float = 0, done: bool = False, **more: Any) -> dict[str, Any]:
    return {"observation": text, "reward": reward, "done": done, **more}


def _tool(number: int) -> list[Exchange]:
    goal = "You should perform actions to accomplish the goal: Count.\nGive me one action."
    format_error = (
        'Format error, please response in the format of  "Action: [your action] with Action Input: '
        "[your action input]"
    )
    finish = 'Action: finish with Action Input: {"answer": "2"}'
    return [
        post("/create", {"id": 0}, 4),
        post("/reset", {"env_idx": 4, "id": number}, goal),
        post("/step", {"env_idx": 4, "action": "hello"}, said(format_error)),
        post("/step", {"env_idx": 4, "action": "Action: x"}, None, 500),
        get("/observation", "env_idx", 4, goal),
        post("/step", {"env_idx": 4, "action": finish}, said("Observation: 2", 1.0, True)),
    ]


_GOAL = "Crafting commands:\ncraft 1 emerald block using 9 emerald\n\nGoal: craft emerald block."
_ACTIONS = '\nAvailable actions: ["turn left", "check available actions"]'
_MAZE = "The goal is at position 8, 6. Your current position is at position 7, 6."
_ROOM = "This room is called the hallway. In it, you see: \n\tthe agent"
_SQL = "SELECT name FROM item ORDER BY price DESC LIMIT 1"

# Server -> exchanges. The responses that lead to them are made by `response_for`.
RECORDINGS: dict[str, list[Exchange]] = {
    "textcraft": [
        post("/create", {}, {"id": 3, "observation": _GOAL, "done": False, "reward": 0}),
        post("/reset", {"id": 3, "data_idx": 7}, {"id": 3, **said(_GOAL)}),
        post("/step", {"id": 3, "action": "dance"}, said("Could not execute dance")),
        post("/step", {"id": 3, "action": "get"}, {"error": "list index out of range"}),
        get("/observation", "id", 3, "Could not execute dance"),
        post("/step", {"id": 3, "action": "get 9 emerald"}, said("Got 9 emerald")),
        post("/step", {"id": 3, "action": "craft"}, said("Crafted 1 minecraft:emerald", 1, True)),
        post("/close", {"id": 3}, True),
    ],
    "babyai": [
        post("/create", None, {"id": 0}),
        post("/reset", {"id": 0, "data_idx": 4}, said("Your goal: x" + _ACTIONS, score=0)),
        post(
            "/step",
            {"id": 0, "action": "fly"},
            said("The action is not recognized. Please check valid actions." + _ACTIONS, score=0),
        ),
        post(
            "/step",
            {"id": 0, "action": "turn left"},
            said("x\n The task is completed." + _ACTIONS, 0.955, True, score=0.955),
        ),
        post("/close", {"id": 0}, True),
    ],
    "sciworld": [
        post("/create", None, {"id": 0}),
        post(
            "/reset",
            {"id": 0, "data_idx": 4000},
            said(_ROOM, score=0, task_description="Your task is to find a plant."),
        ),
        post("/step", {"id": 0, "action": "fly"}, said("No known action matches.", score=0)),
        post("/step", {"id": 0, "action": "go to kitchen"}, said("You move.", 8, score=8)),
        post("/step", {"id": 0, "action": "focus on plant"}, said("You win.", 92, True, score=100)),
        post("/close", {"id": 0}, True),
    ],
    "alfworld": [
        post("/create", None, {"id": 1}),
        post(
            "/reset",
            {"id": 1, "game": 2420, "world_type": "Text"},
            {"id": 1, "observation": "A room.", "available_actions": ["look", "go to mug 1"]},
        ),
        post("/step", {"id": 1, "action": "fly"}, said("Nothing happens.", 0.0)),
        post("/step", {"id": 1, "action": "look"}, said("You see a mug.", 1.0, True)),
    ],
    "maze": [
        post("/maze/create", None, {"id": 0}),
        post("/maze/reset", {"id": 0, "game": 18}, {"observation": _MAZE}),
        post("/maze/step", {"id": 0, "action": "fly"}, said(_MAZE)),
        post("/maze/step", {"id": 0, "action": "move down"}, said("Success\n", 1.0, True)),
    ],
    "wordle": [
        post("/wordle/create", None, {"id": 0}),
        get("/wordle/filtered_vocab", "id", 0, ["panic", "solar", "trove"]),
        post("/wordle/reset", {"id": 0, "seed": 0}, {"id": 0, "observation": "Let's start!"}),
        post("/wordle/step", {"id": 0, "action": "zzz"}, said("invalid word", 0.0)),
        post("/wordle/step", {"id": 0, "action": "p a n i c"}, said("b b b b b\n")),
        post("/wordle/step", {"id": 0, "action": "t r o v e"}, said("g g g g g\n", 1, True)),
    ],
    "webshop": [
        post("/create", None, 71),
        post("/reset", {"env_idx": 71, "session_id": 5}, ["WebShop", None]),
        get("/observation", "env_idx", 71, "WebShop [SEP] Instruction: [SEP] A mug [SEP] Search"),
        post("/step", {"env_idx": 71, "action": "fly"}, {**said("", 0.0), "state": "WebShop"}),
        post("/step", {"env_idx": 71, "action": "search[mug]"}, {"state": "A", **said("")}),
        post(
            "/step",
            {"env_idx": 71, "action": "click[Buy Now]"},
            {"state": "B", **said("", 1, True)},
        ),
    ],
    "sqlgym": [
        post("/create", None, 206121),
        post("/reset", {"env_idx": 206121, "item_id": 9428}, ["Which item?", None]),
        post(
            "/step",
            {"env_idx": 206121, "action": "SELECT nme FROM item"},
            {"state": "no such column: nme", **said("", 0.0, True), "info": {"ground_truth": _SQL}},
        ),
    ],
    "weather": _tool(4),
    "movie": _tool(3),
    "todo": _tool(2),
    "academia": _tool(1),
    "sheet": _tool(0),
    "webarena": [
        post("/create", None, {"env_idx": 2}),
        post(
            "/reset",
            {"env_idx": 2, "seed": 0, "idx": 9},
            {"observation": "[1] RootWebArea", "sites": "map", "object": "x"},
        ),
        post(
            "/step",
            {"env_idx": 2, "action": "I stop. ```stop [5]```"},
            {**said("[2] End", 1.0), "terminated": True, "truncated": False, "info": {}},
        ),
        post("/close", {"env_idx": 2}, {"closed": "closed"}),
    ],
    "searchqa": [
        post("/create", {"id": 0}, 0),
        post("/reset", {"env_idx": 0, "id": 60000}, "Who?"),
        post(
            "/step",
            {"env_idx": 0, "action": "hm"},
            said("Your previous action is invalid. Try again.", 0.0, info=None),
        ),
        post("/step", {"env_idx": 0, "action": "<answer>I</answer>"}, said("", 1.0, True)),
        post("/close", {"env_idx": 0}, True),
    ],
}


def exchanges_in(path: Path) -> Iterator[Exchange]:
    """The exchanges of a recorded file: of curl commands, or of JSON Lines with `POST`."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        for row in map(json.loads, text.splitlines()):
            if "POST" in row:
                yield post(row["POST"], row["body"], row["response"], row["status"])
        return
    for command, reply, status in re.findall(
        r"^\$ curl (.*)\n(.*)\n\[HTTP (\d+)\]", text, re.MULTILINE
    ):
        words = shlex.split(command)
        address = urlsplit(next(word for word in words if word.startswith("http")))
        body = json.loads(words[words.index("-d") + 1]) if "-d" in words else None
        where = address.path + (f"?{address.query}" if address.query else "")
        try:
            value = json.loads(reply)
        except ValueError:
            value = reply
        yield Exchange("POST" if "POST" in words else "GET", where, body, int(status), value)
