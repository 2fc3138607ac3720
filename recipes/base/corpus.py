"""The base model's schooling: it learns the language of the rooms, never the expert's skill.

    explore   play that ignores the goal: look, name what is seen, do something possible, see what comes of it
    ask       questions about one observation and about a goal's words, answered from the text alone
    follow    one plain request about what is in view, answered with the action for it

Nothing here was played by the expert, and no exploring player looks at the goal. The explorer has the expert's words (as an instruct
model has everybody's) but says them about whatever it happens to do: its plans are plans at random. All draws come from the seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from atlas.environments.babyai.actions import available_actions
from atlas.environments.babyai.environment import BabyAIEnvironment
from atlas.environments.babyai.tasks import LEVELS
from atlas.environments.babyai.thoughts import (
    ACTS,
    CORRECTIONS,
    LOCKED,
    OBSERVED,
    PLANS,
    REPLANS,
    SLIPS,
    START_SEARCH,
    say,
)
from atlas.environments.babyai.view import SeenObject, View
from atlas.records import Message, Task

FIRST_SEED = 5_000_000  # far from the seeds of train and test tasks
ANSWERER = Message(role="system", content="You answer questions about what you see.")
FOLLOWER = Message(role="system", content="You do what you are told, one action at a time.")
COLORS = ("red", "green", "blue", "purple", "yellow", "grey")
KINDS = ("ball", "box", "key", "door")

Conversation = list[Message]


def make_conversations(num_episodes: int, seed: int) -> Iterator[Conversation]:
    """What comes of `num_episodes` exploring episodes: the play itself, and questions and requests at the places it led to."""
    environment = BabyAIEnvironment(max_steps=12)
    rng = random.Random(seed)
    names = list(LEVELS)
    for index in range(num_episodes):
        task = Task(
            id=f"base/{index}",
            environment="babyai",
            group=rng.choice(names),
            seed=FIRST_SEED + seed * 1_000_000 + index,
        )
        yield from _explore(environment, task, rng)
    environment.close()


def is_play(conversation: Conversation) -> bool:
    """Whether a conversation is an exploring episode; the others are short."""
    return conversation[0] not in (ANSWERER, FOLLOWER)


def _explore(
    environment: BabyAIEnvironment, task: Task, rng: random.Random
) -> Iterator[Conversation]:
    """One episode of aimless play, and what can be asked at the places that it led to."""
    conversation: Conversation = [*environment.prompt]
    observation = environment.reset(task)
    conversation += observation
    goal = environment.world.mission
    for _ in range(3):
        yield [ANSWERER, *_ask_goal(observation[0].content, goal, rng)]
    for _ in range(rng.randint(3, 6)):
        view = environment.view
        yield [ANSWERER, *_ask_view(view, rng)]
        if view.objects:
            yield [FOLLOWER, *_follow(view, rng)]
        actions = available_actions(environment.world, view, environment.seen)
        action = _any_action(actions, rng)
        response = Message(
            role="assistant",
            content=f"Thought:\n{_explorer_thought(view, action, goal, rng)}\n\nAction:\n{action}",
        )
        result = environment.step(response.content)
        conversation += [response, *result.observation]
        if result.terminated or result.truncated:
            break
    while conversation[-1].role != "assistant":
        conversation.pop()
    yield conversation


def _any_action(actions: list[str], rng: random.Random) -> str:
    """Any possible action, moves and errands alike, so that looking around is as common as handling things."""
    moves = [action for action in actions if action in ("turn left", "turn right", "move forward")]
    errands = [action for action in actions if action not in moves]
    return rng.choice(moves if not errands or rng.random() < 0.5 else errands)


def _explorer_thought(view: View, action: str, goal: str, rng: random.Random) -> str:
    """Words of the expert's that suit the action, about things drawn at random where they are not the action's own."""
    target = next((item for item in view.objects if action.endswith(item.label)), None)
    words = _words(view, target, rng)
    words["side"] = (
        action.rpartition(" ")[2] if action.startswith("turn") else rng.choice(("left", "right"))
    )
    sentences = []
    if rng.random() < 0.2:
        acts = ", then ".join(_any_errand(view, rng) for _ in range(rng.randint(1, 3)))
        plans = rng.choice(
            (PLANS, PLANS, REPLANS, LOCKED if words["noun"].endswith("door") else PLANS)
        )
        sentences.append(say(rng, plans, **words, goal=goal, acts=acts))
    if rng.random() < 0.2:
        sentences.append(say(rng, START_SEARCH, goal=goal))
    if view.objects and rng.random() < 0.25:
        sentences.append(say(rng, OBSERVED, **_words(view, rng.choice(view.objects), rng)))
    if rng.random() < 0.1:
        sentences.append(say(rng, rng.choice(list(CORRECTIONS.values())), **words))
    sentences.append(say(rng, rng.choice(_situations(action, target)), **words))
    return " ".join(sentences)


def _situations(action: str, target: SeenObject | None) -> list[tuple[str, ...]]:
    """The phrases that may go with an action, whatever its reason."""
    if action.startswith("turn"):
        return [
            ACTS["turn"],
            ACTS["turn_to"],
            ACTS["turn_back"],
            ACTS["look"],
            ACTS["begin_look"],
            SLIPS["look"],
        ]
    if action.startswith("go to"):
        return [ACTS["reach"], ACTS["approach"], SLIPS["wander"]]
    if action.startswith("pickup"):
        return [ACTS["fetch"], ACTS["clear"], ACTS["take_back"], SLIPS["wrong_object"]]
    if action.startswith("toggle and go") and target is not None and "locked" in target.name:
        return [ACTS["unlock"], SLIPS["locked"]]
    if action.startswith("toggle and go"):
        return [ACTS["open"], ACTS["open_way"], SLIPS["wrong_door"]]
    if action.startswith("go through"):
        return [ACTS["pass"], ACTS["open_way"]]
    if action == "drop":
        return [ACTS["place"], ACTS["put_down"], ACTS["put_aside"]]
    return [ACTS["walk"], ACTS["search"], ACTS["begin_search"]]


def _words(view: View, item: SeenObject | None, rng: random.Random) -> dict[str, str]:
    """What the phrases are filled with: an object in view, or any object where there is none."""
    item = item or (rng.choice(view.objects) if view.objects else None)
    color, kind = (
        (_color(item), _kind(item)) if item is not None else (rng.choice(COLORS), rng.choice(KINDS))
    )
    label = item.label if item is not None else f"{color} {kind} 1"
    where = item.where if item is not None else f"{rng.randint(1, 5)} ahead"
    return {
        "label": label,
        "where": where,
        "noun": f"the {color} {kind}",
        "door": label,
        "color": color,
    }


def _any_errand(view: View, rng: random.Random) -> str:
    noun = _words(view, None, rng)["noun"]
    return (
        f"{rng.choice(('pick up', 'go to', 'open'))} {noun}"
        if rng.random() < 0.8
        else f"put it next to {noun}"
    )


def _ask_goal(observation: str, goal: str, rng: random.Random) -> Conversation:
    words = goal.replace(",", " ").split()
    colors = [word for word in words if word in COLORS]
    kinds = [word for word in words if word in KINDS]
    question, answer = rng.choice(
        [
            ("What is your goal?", goal),
            ("Repeat the goal.", goal),
            ("Which colors does the goal name?", ", ".join(colors) or "none"),
            ("Which kinds of things does the goal name?", ", ".join(kinds) or "none"),
        ]
    )
    return _turns((f"{observation}\n{question}", answer))


def _ask_view(view: View, rng: random.Random) -> Conversation:
    """Up to three questions about one observation."""
    turns = []
    for index in range(rng.randint(1, 3)):
        question, answer = _question(view, rng)
        turns.append((f"{view.text}\n{question}" if index == 0 else question, answer))
    return _turns(*turns)


def _question(view: View, rng: random.Random) -> tuple[str, str]:
    kind, color = rng.choice(KINDS), rng.choice(COLORS)
    item = rng.choice(view.objects) if view.objects else None
    if (
        item is not None and rng.random() < 0.6
    ):  # ask about what is there more often than about what is not
        words = item.name.split()
        color, kind = words[0], words[-1]
    both = [other for other in view.objects if _color(other) == color and _kind(other) == kind]
    asked = rng.randrange(6)
    if asked == 0:
        return f"Which {kind}s do you see?", _list(
            other for other in view.objects if _kind(other) == kind
        )
    if asked == 1:
        return f"What is {color} here?", _list(
            other for other in view.objects if _color(other) == color
        )
    if asked == 2:
        return (
            f"Is there a {color} {kind}?",
            f"yes, {both[0].label}, {both[0].where}" if both else "no",
        )
    if asked == 3 and item is not None:
        return f"Where is {item.label}?", item.where
    if asked == 4:
        return "What do you carry?", view.carrying or "nothing"
    return "How many objects do you see?", str(len(view.objects))


def _follow(view: View, rng: random.Random) -> Conversation:
    """One request that the view alone answers: an instruct model would do as much."""
    item = rng.choice(view.objects)
    first = next(
        other for other in view.objects if other.name == item.name
    )  # the nearest of its name
    words = f"{_color(item)} {_kind(item)}"
    if _kind(item) == "door":
        verb = rng.choice(["go to", "go to", "go through"])
        state = item.name.split()[1]
        action = (
            f"go to {first.label}"
            if verb == "go to"
            else ("" if state == "open" else "toggle and ") + f"go through {first.label}"
        )
    else:
        verb = rng.choice(["go to", "pickup"])
        action = f"{verb} {first.label}"
    request = rng.choice(
        [
            f"Please {verb} the {words} now.",
            f"Your task: {verb} the {words}.",
            f"{verb.capitalize()} the {words}.",
        ]
    )
    thought = rng.choice(
        [
            f"The {words} is {first.label}, {first.where}.",
            f"I see {first.label}. I will {action}.",
            f"I should {action}.",
        ]
    )
    seen = f"{request}\n{view.text}" if rng.random() < 0.5 else f"{view.text}\n{request}"
    return _turns((seen, f"Thought:\n{thought}\n\nAction:\n{action}"))


def _turns(*turns: tuple[str, str]) -> Conversation:
    return [
        message
        for seen, said in turns
        for message in (Message(role="user", content=seen), Message(role="assistant", content=said))
    ]


def _list(items: Iterator[SeenObject]) -> str:
    return ", ".join(item.label for item in items) or "none"


def _color(item: SeenObject) -> str:
    return item.name.split()[0]


def _kind(item: SeenObject) -> str:
    return item.name.split()[-1]
