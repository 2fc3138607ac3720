"""Short instructions for each server; AgentGym's own come with a user's imported trajectories.

`instruction=RUN` takes those of trajectories that `atlas import` read.
"""

from __future__ import annotations

from pathlib import Path

from atlas.environments.agentgym.servers import SERVERS
from atlas.environments.instruction import existing_folder, existing_path
from atlas.environments.react import ANSWER_FORMAT
from atlas.errors import AtlasError, ConfigError
from atlas.store.readers import read_trajectories

_TOOLS = """\
Solve the task with the tools of the environment, one action a turn, and give the answer with the \
action finish. Answer in this format:
Thought: <your thought>

Action: <name of the tool> with Action Input: <a JSON object of its arguments>"""
_TEXTS = {
    "textcraft": """\
Make the item that is asked for. You have a list of crafting commands; a command may name a kind \
of ingredient, such as planks, for which any item of that kind will do. Actions:
- get <number> <item>
- craft <number> <item> using <number> <item>, <number> <item>
- inventory""",
    "babyai": """\
You walk through rooms to reach a goal. Objects that look the same are numbered. Actions:
- turn left, turn right, move forward
- go to <object> <id>
- pickup <object> <id>, drop
- go through <door> <id>: an open door
- toggle and go through <door> <id>: a closed door, or a locked one whose key you carry
- toggle: the door right in front of you
- check available actions""",
    "sciworld": """\
Do an experiment in a house with several rooms. Actions:
- look around, look at OBJ, look in OBJ, inventory, task, wait, read OBJ
- open OBJ, close OBJ, go to LOC, pick up OBJ, put down OBJ, move OBJ to OBJ
- activate OBJ, deactivate OBJ, use OBJ on OBJ, connect OBJ to OBJ, disconnect OBJ
- pour OBJ into OBJ, dunk OBJ into OBJ, mix OBJ, eat OBJ, flush OBJ
- focus on OBJ: only on the object that the task asks for""",
    "alfworld": """\
Do a task in a household. Choose your actions from the list of available actions, such as
- go to <place>, open <place>, close <place>, look, inventory
- take <object> from <place>, put <object> in/on <place>
- clean <object> with <place>, heat <object> with <place>, cool <object> with <place>
- use <object>, examine <object>""",
    "maze": "You find the way through a maze.",
    "wordle": "You play Wordle.",
    "webshop": """\
Buy the product that is asked for, in a web shop. Actions:
- search[<words>]: on a page with a search bar
- click[<text>]: a button or a link on the page""",
}
INSTRUCTIONS: dict[str, str] = {
    **{name: f"{text}\n{ANSWER_FORMAT}" for name, text in _TEXTS.items()},
    "sqlgym": """\
Answer the question with one SQL statement for SQLite. Explain your thoughts, then write the \
statement in a block that begins with ```sql and ends with ```.""",
    "weather": _TOOLS,
    "movie": _TOOLS,
    "todo": _TOOLS,
    "academia": _TOOLS,
    "sheet": _TOOLS,
    "webarena": """\
Do a task in a web browser. You see the accessibility tree of the page. Write your thoughts, then \
one action in triple backticks, such as ```click [12]```, ```type [7] [text] [1]```, \
```scroll [down]```, ```goto [address]```, ```go_back``` or ```stop [answer]```.""",
    "searchqa": """\
Answer the question. Think between <think> and </think>. To look something up, write the query \
between <search> and </search> and stop; the results follow. Write the final answer between \
<answer> and </answer>.""",
}
# What precedes the first observation.
RULES: dict[str, str] = {
    "maze": """\
Reach the goal in as few steps as possible. Moving right raises your y position by 1, moving down \
raises your x position by 1. A wall keeps you where you are. Actions: move up, move down, \
move left, move right. You are here:""",
    "wordle": """\
Guess a hidden word of five letters in at most six attempts. Write a guess with blanks between its \
letters, such as "s h i r e". After each guess there is one letter for each position: "g" if the \
guessed letter is right, "y" if it belongs to another position, "b" if it is not in the word. A \
guess that is not in the list is an invalid word. The list:
{words}""",
}


def load_rules(value: str | None, instruction: str | None, server: str) -> str:
    """The text before the first observation: the given one, or a short one.

    Args:
        instruction: if this setting is a run folder, the rules are taken from there, too.

    Raises:
        ConfigError: the file or run folder cannot be used.
    """
    if server not in RULES:
        return ""
    if value is None and instruction is not None and existing_folder(instruction) is not None:
        value = instruction
    if value is None:
        return RULES[server]
    path = existing_path(value)
    try:
        if path is not None and path.is_dir():
            return _rules_of_run(path, server)
        if path is not None:
            return path.read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError, AtlasError) as error:
        raise ConfigError(f"agentgym: rules_text={value}: {error}") from None
    return value


def _rules_of_run(path: Path, server: str) -> str:
    """The first observation of an imported trajectory, without what the world itself said."""
    prefix = SERVERS[server].item_prefix
    for trajectory in read_trajectories(path):
        if not trajectory.task.id.startswith(prefix) or not trajectory.steps:
            continue
        if trajectory.steps[0].observation:
            text = trajectory.steps[0].observation[-1].content.rstrip("\n")
            return text if server == "wordle" else text.rpartition("\n")[0]
    raise ConfigError(f"it holds no trajectory of a task '{prefix}…'")
