"""Lessons of TextWorld-Express: curious walks through its games, what is seen, single actions.

The explorer goes where it has not been, opens and takes what it finds, and puts things anywhere. It
does not know what the game is about, but it often does what a text asks for literally.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from functools import cache

from atlas.environments.textworld_express.config import (
    PRESETS,
    Difficulty,
    Game,
    TextWorldExpressConfig,
    written,
)
from atlas.environments.textworld_express.environment import TextWorldExpressEnvironment
from atlas.environments.textworld_express.game import ExpressGame, GameState, NoSuchGameError
from atlas.environments.textworld_express.thoughts import ACTS, OBSERVED, PLANS, SLIPS
from worlds.common import Conversation, any_phrase, ask, play, request

# Seeds of the simulator's folds that no task of atlas has.
FOLDS = (("train", 2_000, 9_999), ("dev", 10_000, 19_999), ("test", 22_000, 29_999))
LEVELS: tuple[Difficulty, ...] = ("easy", "easy", "easy", "medium")
SHARES: dict[Game, int] = {
    "coin": 3,
    "mapreader": 3,
    "twc": 3,
    "cookingworld": 3,
    "arithmetic": 2,
    "peckingorder": 2,
    "simonsays": 2,
    "sorting": 1,
}
# Smaller than the presets, which come in half of the episodes.
SMALL: dict[Game, dict[str, int]] = {
    "coin": {"numLocations": 3, "includeDoors": 0, "numDistractorItems": 0},
    "mapreader": {"numLocations": 4, "includeDoors": 0, "maxDistanceApart": 2},
    "twc": {"numLocations": 1, "includeDoors": 0, "numItemsToPutAway": 1},
    "cookingworld": {"numLocations": 1, "includeDoors": 0, "numIngredients": 1},
    "simonsays": {"gameLength": 5, "numDistractors": 2},
}
OBEYS = 0.6
WEIGHTS = {"move": 6, "take": 6, "put": 4, "open": 4, "read": 4, "cook": 2, "cut": 1, "eat": 1}
WAYS = re.compile(r"To the (\w+) you see (?:the |a |an )?([^.(]+?)(?: \([^)]*\))?\.")
ASKED = re.compile(r"Simon says, '(.+?)'|current task is to (.+?)\.")
TAKEN = re.compile(r"take (.+)")
_PUT = re.compile(r"put (.+) in (.+)")


@cache
def names() -> tuple[str, ...]:
    """Things, places and rooms of a number of games."""
    rng, found = random.Random(0), dict[str, None]()
    for _ in range(400):
        state, _ = _start(rng)
        for _ in range(8):
            for action in state.actions:
                for thing in re.split(r" in | to ", action.partition(" ")[2]):
                    name = re.sub(r"^\d+(?:g|kg|mg)? (?:of )?", "", thing.strip())
                    if re.fullmatch(r"[a-z]+(?:[ -][a-z]+){0,3}", name):
                        found[name] = None
            found |= dict.fromkeys(room.strip() for _, room in WAYS.findall(state.text))
            action = _any_action(rng, state, {})
            state = _game().act(action)
            if state.is_won or state.is_lost:
                break
    ways = ("north", "south", "east", "west")
    things = [name for name in found if name != "around" and not name.startswith("door")]
    return (*things, *ways, *(way.capitalize() for way in ways))


@cache
def _game() -> ExpressGame:
    return ExpressGame()


@cache
def _environment() -> TextWorldExpressEnvironment:
    return TextWorldExpressEnvironment(TextWorldExpressConfig())


def _start(rng: random.Random) -> tuple[GameState, str]:
    """A game and its task."""
    while True:
        name = rng.choices(list(SHARES), list(SHARES.values()))[0]
        presets = PRESETS[rng.choice(LEVELS)]
        sizes = dict(presets.get(name, {}))
        if rng.random() < 0.5:
            sizes |= SMALL.get(name, {})
        fold, low, high = rng.choice(FOLDS)
        try:
            parameters = written(dict(sorted(sizes.items())))
            state = _game().start(name, parameters, fold, rng.randint(low, high))
        except NoSuchGameError:
            continue
        return state, _game().task


def lessons(rng: random.Random) -> Iterator[Conversation]:
    """One game that is walked through, and questions and requests on its way."""
    state, task = _start(rng)
    seen, steps, tried = f"{task}\n{state.text}", [], dict[str, int]()
    room = _room(state.text)
    for _ in range(rng.randint(5, 10)):
        if rng.random() < 0.3:
            yield ask(seen, *(_question(rng, state) for _ in range(rng.randint(1, 3))))
        if rng.random() < 0.3:
            yield request(rng, seen, rng.choice(state.actions))
        asked = next((one for one in state.actions if one == _asked(state)), None)
        obeys = asked is not None and rng.random() < OBEYS
        action = asked if obeys and asked else _any_action(rng, state, tried)
        key = f"{room}/{action}" if action.startswith(("open", "look", "examine")) else action
        tried[key] = tried.get(key, 0) + 1
        steps.append((seen, _thought(rng, state, action, obeys), action))
        state = _game().act(action)
        seen, room = state.text, _room(state.text) or room
        if state.is_won or state.is_lost:
            break
    yield play(_environment().prompt, steps)


def _any_action(rng: random.Random, state: GameState, tried: dict[str, int]) -> str:
    """A possible action: first its kind, then one of it, rather one not done yet."""
    kinds: dict[str, list[str]] = {}
    for action in state.actions:
        kinds.setdefault(_kind(action), []).append(action)
    kinds.pop("close", None)
    weights = [WEIGHTS.get(kind, 0.4) for kind in kinds]
    options = kinds[rng.choices(list(kinds), weights)[0]]
    fewest = min(tried.get(action, 0) for action in options)
    return rng.choice([action for action in options if tried.get(action, 0) == fewest])


def _kind(action: str) -> str:
    verb = action.partition(" ")[0]
    return "cut" if verb in ("chop", "slice", "dice") else verb


def _asked(state: GameState) -> str | None:
    """What the text tells to do, word for word."""
    found = ASKED.search(state.text)
    return None if found is None else (found[1] or found[2]).replace("take the ", "take ")


def _room(text: str) -> str:
    found = re.match(r"You are in the (.+?)\.", text)
    return found[1] if found else ""


def _things(state: GameState) -> list[str]:
    return [found[1] for action in state.actions if (found := TAKEN.fullmatch(action))]


def _thought(rng: random.Random, state: GameState, action: str, obeys: bool) -> str:
    """The expert's phrases about whatever is done."""
    rest = action.partition(" ")[2]
    things = _things(state) or ["coin"]
    thing = rng.choice(things)
    ways = {way.lower(): room for way, room in WAYS.findall(state.text)}
    put = _PUT.fullmatch(action)
    about = put[1] if put else rest
    place = put[2] if put else rest
    way = rest.removeprefix("door to ")
    words = {
        "noun": f"the {about if action.startswith(('take', 'put', 'read', 'eat')) else thing}",
        "label": f"the {about}",
        "place": place.rpartition(" in ")[2] if action.startswith("cook") else place,
        "way": way,
        "room": ways.get(way, "next room"),
        "goal": rng.choice(sorted(ways.values()) or ["kitchen"]),
        "verb": action.partition(" ")[0],
        "work": action,
    }
    if action.startswith(("chop", "slice", "dice", "cook")):
        words["noun"] = f"the {rest.partition(' in ')[0]}"
    parts = []
    if rng.random() < 0.12:
        parts.append(any_phrase(rng, PLANS["search"], **words))
    if _things(state) and rng.random() < 0.2:
        parts.append(any_phrase(rng, OBSERVED, noun=f"the {thing}"))
    parts.append(any_phrase(rng, rng.choice(_situations(action, obeys)), **words))
    return " ".join(parts)


def _situations(action: str, obeys: bool) -> list[tuple[str, ...]]:
    verb = _kind(action)
    if obeys:
        return [ACTS["obey"]] if verb == "take" else [ACTS["simon"]]
    found: dict[str, list[tuple[str, ...]]] = {
        "take": [ACTS["take"], ACTS["take"], SLIPS["wrong_thing"], ACTS["take_smallest"]],
        "put": [ACTS["put"], ACTS["put"], SLIPS["wrong_place"], ACTS["put_next"]],
        "move": [
            ACTS["explore"],
            ACTS["explore"],
            ACTS["turn_back"],
            ACTS["follow"],
            ACTS["arrive"],
        ],
        "read": [ACTS["read"]],
        "look": [SLIPS["look"]],
        "inventory": [SLIPS["inventory"]],
        "examine": [SLIPS["examine"]],
        "eat": [ACTS["eat"]],
        "cut": [ACTS["cut"]],
        "cook": [ACTS["cook"]],
        "prepare": [ACTS["prepare"], SLIPS["too_early"]],
        "open": [ACTS["open_door"] if "door to" in action else ACTS["open_place"]],
    }
    return found.get(verb, [ACTS["simon"]])


def _question(rng: random.Random, state: GameState) -> tuple[str, str]:
    ways = WAYS.findall(state.text)
    things = _things(state)
    asked = [("What can you take?", ", ".join(things[:5]) or "nothing")]
    if ways:
        way, room = rng.choice(ways)
        asked.append((f"What is to the {way.lower()}?", room))
        asked.append(("Where can you go?", ", ".join(way.lower() for way, _ in ways)))
    if things:
        thing = rng.choice(things)
        asked.append((f"Is there the {thing}?", "yes"))
    if room := _room(state.text):
        asked.append(("Where are you?", f"in the {room}"))
    return rng.choice(asked)
