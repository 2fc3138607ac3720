"""The training text of the base model: it learns the language of the rooms, not the expert's skill.

    explore   play that ignores the goal: name what is seen, do something possible, see the result
    ask       questions about one observation or the words of a goal, answered from the text only
    follow    one plain request about what is in view, answered with the action for it

Nothing here was played by the expert, and no exploring player looks at the goal. The explorer has
the expert's words (as an instruct model has everybody's) but says them about whatever it happens to
do: its plans are random. All draws come from the seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from worlds.common import ANSWERER, FOLLOWER, Conversation, turns

from atlas.environments.babyai.actions import available_actions
from atlas.environments.babyai.config import BabyAIConfig
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
)
from atlas.environments.babyai.view import SeenObject, View
from atlas.environments.experts import say
from atlas.records import Message, Task

# Far from the seeds of train and test tasks.
FIRST_SEED = 5_000_000
COLORS = ("red", "green", "blue", "purple", "yellow", "grey")
KINDS = ("ball", "box", "key", "door")


def make_conversations(num_episodes: int, seed: int) -> Iterator[Conversation]:
    """`num_episodes` exploring episodes, and questions and requests at the places they led to."""
    environment = BabyAIEnvironment(BabyAIConfig(max_steps=12))
    rng = random.Random(seed)
    names = list(LEVELS)
    for index in range(num_episodes):
        level, task_seed = rng.choice(names), FIRST_SEED + seed * 1_000_000 + index
        task = Task(id=f"base/{index}", environment="babyai", group=level, seed=task_seed)
        yield from _explore(environment, task, rng)
    environment.close()


def _explore(
    environment: BabyAIEnvironment, task: Task, rng: random.Random
) -> Iterator[Conversation]:
    """One episode of aimless play, and what can be asked at the places it led to."""
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
        action = any_action(actions, rng)
        thought = explorer_thought(view, action, goal, rng)
        response = _say(thought, action)
        result = environment.step(response)
        conversation += [response, *result.observation]
        if result.terminated or result.truncated:
            break
    while conversation[-1].role != "assistant":
        conversation.pop()
    yield conversation


def any_action(actions: list[str], rng: random.Random) -> str:
    """Any possible action; moves are as likely as errands."""
    moves = [action for action in actions if action in ("turn left", "turn right", "move forward")]
    errands = [action for action in actions if action not in moves]
    return rng.choice(moves if not errands or rng.random() < 0.5 else errands)


def explorer_thought(view: View, action: str, goal: str, rng: random.Random) -> str:
    """Words of the expert that suit the action, about its object or things drawn at random."""
    target = next((item for item in view.objects if action.endswith(item.label)), None)
    words = _words(view, target, rng)
    words["side"] = (
        action.rpartition(" ")[2] if action.startswith("turn") else rng.choice(("left", "right"))
    )
    sentences = []
    if rng.random() < 0.2:
        acts = ", then ".join(_any_errand(view, rng) for _ in range(rng.randint(1, 3)))
        locked = LOCKED if words["noun"].endswith("door") else PLANS
        plans = rng.choice((PLANS, PLANS, REPLANS, locked))
        sentences.append(say(rng, plans, **words, goal=goal, acts=acts))
    if rng.random() < 0.2:
        sentences.append(say(rng, START_SEARCH, goal=goal))
    if view.objects and rng.random() < 0.25:
        sentences.append(say(rng, OBSERVED, **_words(view, rng.choice(view.objects), rng)))
    if rng.random() < 0.1:
        sentences.append(say(rng, rng.choice(list(CORRECTIONS.values())), **words))
    sentences.append(say(rng, rng.choice(_situations(action, target)), **words))
    return " ".join(sentences)


# The phrases that fit an action, whatever its reason, by how it begins.
SITUATIONS = {
    "turn": [
        *(ACTS[name] for name in ("turn", "turn_to", "turn_back", "look", "begin_look")),
        SLIPS["look"],
    ],
    "go to": [ACTS["reach"], ACTS["approach"], SLIPS["wander"]],
    "pickup": [ACTS["fetch"], ACTS["clear"], ACTS["take_back"], SLIPS["wrong_object"]],
    "toggle and go": [ACTS["open"], ACTS["open_way"], SLIPS["wrong_door"]],
    "go through": [ACTS["pass"], ACTS["open_way"]],
    "drop": [ACTS["place"], ACTS["put_down"], ACTS["put_aside"]],
    "": [ACTS["walk"], ACTS["search"], ACTS["begin_search"]],
}


def _situations(action: str, target: SeenObject | None) -> list[tuple[str, ...]]:
    if action.startswith("toggle and go") and target is not None and "locked" in target.name:
        return [ACTS["unlock"], SLIPS["locked"]]
    return next(phrases for start, phrases in SITUATIONS.items() if action.startswith(start))


def _words(view: View, item: SeenObject | None, rng: random.Random) -> dict[str, str]:
    """What the phrases are filled with: an object in view, or any where there is none."""
    item = item or (rng.choice(view.objects) if view.objects else None)
    if item is not None:
        color, kind, label, where = _color(item), _kind(item), item.label, item.where
    else:
        color, kind = rng.choice(COLORS), rng.choice(KINDS)
        label, where = f"{color} {kind} 1", f"{rng.randint(1, 5)} ahead"
    noun = f"the {color} {kind}"
    return {"label": label, "where": where, "noun": noun, "door": label, "color": color}


def _any_errand(view: View, rng: random.Random) -> str:
    noun = _words(view, None, rng)["noun"]
    if rng.random() < 0.8:
        return f"{rng.choice(('pick up', 'go to', 'open'))} {noun}"
    return f"put it next to {noun}"


def _ask_goal(observation: str, goal: str, rng: random.Random) -> Conversation:
    words = goal.replace(",", " ").split()
    colors = [word for word in words if word in COLORS]
    kinds = [word for word in words if word in KINDS]
    asked = [
        ("What is your goal?", goal),
        ("Repeat the goal.", goal),
        ("Which colors does the goal name?", ", ".join(colors) or "none"),
        ("Which kinds of things does the goal name?", ", ".join(kinds) or "none"),
    ]
    question, answer = rng.choice(asked)
    return turns((f"{observation}\n{question}", answer))


def _ask_view(view: View, rng: random.Random) -> Conversation:
    """Up to three questions about one observation."""
    asked = []
    for index in range(rng.randint(1, 3)):
        question, answer = _question(view, rng)
        asked.append((question if index else f"{view.text}\n{question}", answer))
    return turns(*asked)


def _question(view: View, rng: random.Random) -> tuple[str, str]:
    kind, color = rng.choice(KINDS), rng.choice(COLORS)
    item = rng.choice(view.objects) if view.objects else None
    # Ask about what is there more often than about what is not.
    if item is not None and rng.random() < 0.6:
        words = item.name.split()
        color, kind = words[0], words[-1]
    of_kind = [other for other in view.objects if _kind(other) == kind]
    of_color = [other for other in view.objects if _color(other) == color]
    both = [other for other in of_kind if _color(other) == color]
    asked = rng.randrange(6)
    if asked == 0:
        return f"Which {kind}s do you see?", _list(of_kind)
    if asked == 1:
        return f"What is {color} here?", _list(of_color)
    if asked == 2:
        answer = f"yes, {both[0].label}, {both[0].where}" if both else "no"
        return f"Is there a {color} {kind}?", answer
    if asked == 3 and item is not None:
        return f"Where is {item.label}?", item.where
    if asked == 4:
        return "What do you carry?", view.carrying or "nothing"
    return "How many objects do you see?", str(len(view.objects))


def _follow(view: View, rng: random.Random) -> Conversation:
    """One request that the view answers: an instruct model could do as much."""
    item = rng.choice(view.objects)
    # The nearest of its name.
    first = next(other for other in view.objects if other.name == item.name)
    words = f"{_color(item)} {_kind(item)}"
    if _kind(item) == "door":
        verb = rng.choice(["go to", "go to", "go through"])
    else:
        verb = rng.choice(["go to", "pickup"])
    action = f"{verb} {first.label}"
    if verb == "go through" and item.name.split()[1] != "open":
        action = f"toggle and {action}"
    requests = [
        f"Please {verb} the {words} now.",
        f"Your task: {verb} the {words}.",
        f"{verb.capitalize()} the {words}.",
    ]
    thoughts = [
        f"The {words} is {first.label}, {first.where}.",
        f"I see {first.label}. I will {action}.",
        f"I should {action}.",
    ]
    request, thought = rng.choice(requests), rng.choice(thoughts)
    seen = f"{request}\n{view.text}" if rng.random() < 0.5 else f"{view.text}\n{request}"
    return turns((seen, _say(thought, action).content))


def _say(thought: str, action: str) -> Message:
    return Message(role="assistant", content=f"Thought:\n{thought}\n\nAction:\n{action}")


def _list(items: list[SeenObject]) -> str:
    return ", ".join(item.label for item in items) or "none"


def _color(item: SeenObject) -> str:
    return item.name.split()[0]


def _kind(item: SeenObject) -> str:
    return item.name.split()[-1]
