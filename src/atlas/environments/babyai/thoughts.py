"""The phrases of the BabyAI expert by situation; a seeded generator chooses one."""

from __future__ import annotations

# The phrases for each action. {label} is the numbered name of the object in the observation,
# {where} its position, {noun} the object that is needed.
ACTS: dict[str, tuple[str, ...]] = {
    "reach": (
        "{Label} is {where}, so I go to it.",
        "I see {label}, {where}; I go there.",
        "{Label} is what I want, so I walk up to it.",
    ),
    "fetch": (
        "{Label} is {where}, so I pick it up.",
        "I need {label}, so I pick it up.",
        "I get {label} now.",
    ),
    "take_back": (
        "The way is clear now, so I pick up {label} again.",
        "I still need {label}, so I take it back.",
    ),
    "clear": (
        "{Label} is in the way, so I pick it up to move it.",
        "I have to move {label} out of the way.",
    ),
    "unlock": (
        "I have the {color} key, so I unlock {label}.",
        "With the key in hand I can open {label}.",
        "The key fits {label}; I open it.",
    ),
    "open": (
        "{Label} is the door I want, so I open it.",
        "I open {label} as the goal asks.",
        "I have to open {label}; I do it now.",
    ),
    "open_way": (
        "I have not seen what is behind {label}, so I go through it.",
        "What I need is not here; I try the room behind {label}.",
        "{Noun} may be behind {label}, so I go through it.",
    ),
    "pass": (
        "I go through {label} to the other room.",
        "My way leads through {label}.",
        "I go on through {label}.",
    ),
    "place": (
        "The cell in front of me is next to {noun}, so I put it down.",
        "This is the right place, next to {noun}; I drop it here.",
    ),
    "put_down": (
        "I do not need to carry this any more, so I put it down.",
        "I put this down to have my hands free.",
    ),
    "put_aside": (
        "I put this down for now to have my hands free.",
        "I need my hands for a moment, so I put this down.",
    ),
    "approach": (
        "I go to {label} first.",
        "Next is {label}; I go up to it.",
        "I walk up to {label}.",
    ),
    "close": (
        "The door is open already, so I close it before I open it again.",
        "I close the door to open it anew.",
    ),
    "turn": (
        "I have to turn {side}.",
        "My way goes {side}, so I turn.",
        "I turn {side} on my way.",
    ),
    "turn_to": (
        "{Noun} is on my {side}, so I turn {side}.",
        "I turn {side}, where {noun} is.",
        "I turn {side} to face {noun}.",
    ),
    "turn_back": (
        "{Noun} is behind me, so I turn around.",
        "I turn around to get to {noun}.",
        "I have to go back, so I turn around.",
    ),
    "walk": ("I walk on.", "I take a step forward.", "I move one step on.", "I keep going."),
    "look": (
        "I do not see {noun}; I look to the {side}.",
        "{Noun} is not in view, so I turn {side}.",
        "I turn {side} to look for {noun}.",
    ),
    "search": (
        "I walk on to see more.",
        "I look for {noun} further ahead.",
        "I move forward to explore.",
    ),
    "begin_look": ("I turn {side} to look around.", "I look to the {side}."),
    "begin_search": ("I walk forward to see more.", "I start with what is ahead."),
}

PLANS = (
    "To {goal}, I will {acts}.",
    "My plan: {acts}.",
    "I break the goal down: {acts}.",
    "The goal takes several steps: {acts}.",
)
REPLANS = (
    "Before I can go on, I have to {acts}.",
    "I change my plan: {acts}.",
    "Something else comes first: {acts}.",
)
LOCKED = (
    "{Door} is locked, so I will {acts}.",
    "Without the {color} key I cannot open {door}; I will {acts}.",
)
START_SEARCH = ("To {goal}, I first have to find it.", "I have to {goal}, but I do not see it yet.")
OBSERVED = (
    "Now I can see {label}, {where}.",
    "{Label} has come into view, {where}.",
    "There is {label}, {where}.",
)

# The phrases for a slip (a deliberate detour or mistake), and for its correction in the next turn.
SLIPS: dict[str, tuple[str, ...]] = {
    "look": (
        "There may be something useful on the {side}; I look there first.",
        "I check what is on the {side}.",
    ),
    "wander": (
        "{Label} could be of use, so I go there first.",
        "I have a closer look at {label}.",
        "I think {label} matters; I go to it.",
    ),
    "wrong_object": (
        "I take {label}, it should be the right one.",
        "{Label} looks like what I need; I pick it up.",
    ),
    "wrong_door": ("I think I have to go through {label}.", "{Label} should be the right door."),
    "locked": ("I go through {label}.", "The way is through {label}; I open it."),
    "unseen": ("I go to {noun} now.", "I know what I want, so I go to {noun}."),
}
CORRECTIONS: dict[str, tuple[str, ...]] = {
    "look": (
        "There was no reason to look there; back to my plan.",
        "That was the wrong way; I should go on as planned.",
    ),
    "wander": (
        "{Label} has nothing to do with my goal; that was a detour.",
        "I do not need {label}; I should care about {noun}.",
    ),
    "wrong_object": (
        "I picked up the wrong thing: I need {noun}, not {label}.",
        "This is {label}, but I need {noun}.",
    ),
    "wrong_door": (
        "That was the wrong door; I am after {noun}.",
        "{Label} was a mistake, I should care about {noun}.",
    ),
    "locked": (
        "{Label} is locked and I do not have the {color} key; I have to get it first.",
        "I cannot open {label} without the {color} key.",
    ),
    "unseen": (
        "I cannot go to what I do not see; I must find {noun} first.",
        "{Noun} is not in view, so I have to look for it.",
    ),
}
