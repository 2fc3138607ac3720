"""What the lessons of all worlds share: the two short kinds of conversation, and turns in ReAct."""

from __future__ import annotations

import random
from collections.abc import Sequence

from atlas.environments.experts import say
from atlas.environments.react import react_message
from atlas.records import Message

Conversation = list[Message]
ANSWERER = Message(role="system", content="You answer questions about what you see.")
FOLLOWER = Message(role="system", content="You do what you are told, one action at a time.")


def is_play(conversation: Conversation) -> bool:
    """Whether a conversation is an exploring episode; the others are short."""
    return conversation[0] not in (ANSWERER, FOLLOWER)


def turns(*pairs: tuple[str, str]) -> Conversation:
    """Observations with their answers."""
    return [
        message
        for seen, said in pairs
        for message in (Message(role="user", content=seen), Message(role="assistant", content=said))
    ]


def play(prompt: Sequence[Message], steps: Sequence[tuple[str, str, str]]) -> Conversation:
    """An episode: each step is an observation, a thought and an action."""
    pairs = [(seen, react_message(thought, action).content) for seen, thought, action in steps]
    return [*prompt, *turns(*pairs)]


def ask(seen: str, *pairs: tuple[str, str]) -> Conversation:
    """Questions about one observation, with their answers."""
    (question, answer), *others = pairs
    return [ANSWERER, *turns((f"{seen}\n{question}", answer), *others)]


def request(rng: random.Random, seen: str, asked: str, action: str | None = None) -> Conversation:
    """One plain request, answered with its action; None: the request says the action."""
    action = action or asked
    told = rng.choice(
        (f"Please {asked}.", f"Your task: {asked}.", f"{asked[:1].upper()}{asked[1:]}.")
    )
    thought = rng.choice(("I am asked to {act}.", "I will {act}.", "I should {act}."))
    text = f"{told}\n{seen}" if rng.random() < 0.5 else f"{seen}\n{told}"
    return [FOLLOWER, *turns((text, react_message(thought.format(act=asked), action).content))]


def any_phrase(rng: random.Random, phrases: Sequence[str], **words: str) -> str:
    """One of the phrases, filled in."""
    return say(rng, phrases, **words)
