"""The phrases of the ALFWorld expert by situation; a seeded generator chooses one."""

from __future__ import annotations

# {thing} is a numbered thing or the kind that is looked for, {place} a numbered place, {state} what
# the thing has to be, {goal} the task.
ACTS: dict[str, tuple[str, ...]] = {
    "search": (
        "I have not looked at {place} yet, so I go there.",
        "{Thing} may be at {place}; I check it.",
        "Next I look at {place}.",
    ),
    "open": (
        "{Place} is closed, so I open it to look inside.",
        "I cannot see what is inside {place}; I open it.",
        "I open {place}, {thing} may be in it.",
    ),
    "fetch": (
        "I saw {thing} at {place}, so I go back there.",
        "{Thing} is at {place}; I go and get it.",
    ),
    "reopen": ("{Place} is closed again, so I open it.", "I open {place} to get {thing}."),
    "take": (
        "{Thing} is what I need, so I take it.",
        "I take {thing} now.",
        "That is what I came for: I take {thing} from {place}.",
    ),
    "to_station": (
        "I have {thing}, and it has to be {state}; {place} is the place for that.",
        "To make {thing} {state} I need {place}, so I go there.",
    ),
    "change": (
        "I am at {place} with {thing}, so I make it {state}.",
        "Now I can make {thing} {state} with {place}.",
    ),
    "carry": (
        "I have what I need; now it goes to {place}.",
        "I bring {thing} to {place}.",
        "The task wants {thing} at {place}, so I go there.",
    ),
    "open_goal": (
        "{Place} is closed; I have to open it before I can put {thing} in.",
        "I open {place} first, so that {thing} can go in.",
    ),
    "place": (
        "I am at {place} with {thing}, so I put it down here.",
        "This is where {thing} belongs; I put it in/on {place}.",
    ),
    "to_light": (
        "The {light} stands at {place}, so I bring {thing} there.",
        "I saw the {light} at {place}; I go there with {thing}.",
    ),
    "light": (
        "I hold {thing} and the {light} is here, so I switch it on.",
        "Now I use the {light} to look at {thing}.",
    ),
    "search_light": (
        "I hold {thing} and need the {light}; I look at {place}.",
        "The {light} may be at {place}, so I go there.",
    ),
    "examine": (
        "Nothing happened: {place} is within reach from here, so I examine it.",
        "I do not have to go anywhere, {place} is right here; I examine it.",
    ),
    "put_back": (
        "I took the wrong thing: I need {wanted}, not {thing}, so I put it back.",
        "{Thing} is not what the task asks for; I put it back and look for {wanted}.",
    ),
}
PLANS = (
    "The task is to {goal}. I will {steps}.",
    "To {goal}, I have to {steps}.",
    "My plan: {steps}.",
)
REPLANS = (
    "{Thing} is in none of the usual places, so I try the others.",
    "I have looked where {thing} is usually kept; I have to check the rest of the room.",
)
OBSERVED = (
    "I see {thing} at {place}.",
    "There is {thing}, at {place}.",
    "{Place} has {thing}, which I was looking for.",
)
PLACED_ONE = (
    "One {kind} is in place, and one is still missing.",
    "That was the first {kind}; I need another one.",
)
SLIPS: dict[str, tuple[str, ...]] = {
    "again": (
        "I may have missed something at {place}, so I look there again.",
        "I go back to {place} to be sure.",
    ),
    "inventory": ("I check what I carry.", "Let me see what I have with me."),
    "closed_take": (
        "{Thing} should be in {place}; I take it.",
        "I reach for {thing} in {place}.",
    ),
    "closed_put": ("I put {thing} into {place}.", "I am at {place}, so I put {thing} in it."),
    "wrong_thing": (
        "I take {thing}, it should do.",
        "{Thing} looks right; I take it.",
    ),
    "skip_change": (
        "I have {thing}, so I take it straight to {place}.",
        "Now {thing} only has to get to {place}.",
    ),
}
CORRECTIONS: dict[str, tuple[str, ...]] = {
    "again": ("There is nothing new here; that was a detour.", "I had seen all of this already."),
    "inventory": ("That told me nothing new; back to my plan.", "I knew that; I go on."),
    "closed_take": (
        "Nothing happened, because {place} is closed. I have to open it first.",
        "I cannot take anything out of a closed place.",
    ),
    "closed_put": (
        "Nothing happened: {place} is closed. I have to open it first.",
        "It cannot go into a closed place.",
    ),
    "skip_change": (
        "I forgot that {thing} has to be {state} first.",
        "{Thing} is not {state} yet, so it is too early to put it down.",
    ),
}
