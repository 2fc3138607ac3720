"""The phrases of the expert of ScienceWorld, by situation; a seeded generator chooses one."""

from __future__ import annotations

PLANS: tuple[str, ...] = (
    "The task says: {goal} I do it in this order.",
    "My plan is what the task asks for: {goal}",
    "Step by step, as the task says: {goal}",
)
SEARCH: tuple[str, ...] = (
    "I do not see {noun} here, so I have to look in other rooms.",
    "{Noun} is not in this room; I search for it.",
    "I do not know yet where {noun} is. I go through the rooms.",
)
OBSERVED: tuple[str, ...] = (
    "Here is {noun}, which I need.",
    "I see {noun} now.",
    "There is {noun}: that is what I was looking for.",
)
MEASURED: tuple[str, ...] = (
    "Now I know: {text}",
    "That is what I had to find out: {text}",
    "So {text}",
)
# The beginning of an action -> phrases; {first} and {second} are its objects.
ACTS: dict[str, tuple[str, ...]] = {
    "open door to": (
        "I open the door to the {first} to go on.",
        "The way to the {first} is through this door.",
        "Next I try the {first}; I open its door.",
    ),
    "go to": ("I go to the {first}.", "Now to the {first}.", "I walk on to the {first}."),
    "look around": (
        "Let me see what is in this room.",
        "I look around for what I need.",
        "What is here?",
    ),
    "focus on": (
        "The task wants me to focus on {first}, and here it is.",
        "This is what the task is about, so I focus on {first}.",
    ),
    "pick up": ("I take {first} with me.", "I need {first}, so I pick it up."),
    "put down": ("I put {first} down here.",),
    "drop": ("I put {first} down here.", "Here I need {first} outside of my hands."),
    "move": ("I put {first} into {second}.", "{First} belongs in {second} now."),
    "pour": ("I pour {first} into {second}.", "{First} goes into {second}."),
    "mix": ("I mix what is in {first}.", "All is in {first}, so I mix it."),
    "use": ("I use {first} to find out more about {second}.", "I apply {first} to {second}."),
    "connect": (
        "The circuit needs a connection from {first} to {second}.",
        "I connect {first} with {second}.",
    ),
    "activate": ("I turn on {first}.", "{First} has to be on."),
    "deactivate": ("I turn off {first}.",),
    "open": ("I open {first}.", "I look into {first}; it has to be open."),
    "close": ("I close {first}.",),
    "wait": ("I give it some time.", "This takes a while, so I wait.", "I wait and see."),
    "read": ("I read {first}.",),
    "look at": ("I look at {first}.", "What about {first}?"),
    "examine": ("I look at {first}.", "What about {first}?"),
    "look in": ("I look into {first}.",),
    "inventory": ("I check what I carry.",),
}
OTHER: tuple[str, ...] = ("Next: {action}.", "I follow my plan: {action}.")
RENAMED: tuple[str, ...] = (
    "It is not called that any more. I say it in other words: {action}.",
    "That name does not fit now; I try {action}.",
)
CHOICES: tuple[str, ...] = (
    "Several things fit; I take the first one.",
    "I am asked which one: the first will do.",
)
SLIPS: dict[str, tuple[str, ...]] = {
    "look": ("I look around once more.", "Let me see this place again."),
    "look_new": ("Perhaps something useful is here.", "I have a look at this place on my way."),
    "inventory": ("What do I carry?", "I check what I have with me."),
    "closed_door": ("I go to the {first}.", "On to the {first}."),
    "wrong_name": ("I take {first} now.", "First of all {first}."),
    "search": (
        "{Noun} may be in the {first}; I look there.",
        "I have not been in the {first} yet. Perhaps {noun} is there.",
    ),
    "search_go": ("I go into the {first} to look for {noun}.", "Now into the {first}."),
    "search_look": ("Is {noun} here?", "I look around for {noun}."),
}
CORRECTIONS: dict[str, tuple[str, ...]] = {
    "look": ("That told me nothing new. I go on.", "I knew that already; back to the task."),
    "look_new": ("Nothing here is for my task. I go on.", "That is not what I need; I go on."),
    "inventory": ("I knew what I carry. I go on.", "That did not help; back to the task."),
    "closed_door": (
        "The door to the {first} is closed; it has to be opened first.",
        "I cannot go through a closed door.",
    ),
    "wrong_name": (
        "That did not work here; I have to use the right words.",
        "I put that wrongly and do it another way.",
    ),
    "search_look": (
        "{Noun} is not here either, so I go back.",
        "A dead end: no trace of {noun}. Back again.",
    ),
}
