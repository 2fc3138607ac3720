"""The phrases of the experts of TextWorld-Express, by situation; a seeded generator chooses one."""

from __future__ import annotations

PLANS: dict[str, tuple[str, ...]] = {
    "search": (
        "I do not see {noun} yet, so I look through the rooms one after the other.",
        "My plan: go from room to room until I see {noun}.",
        "{Noun} is not here; I have to search for it.",
    ),
    "search_tidy": (
        "I see nothing out of place here, so I have to look around for it first.",
        "First I find out which things are not where they belong.",
    ),
    "tidy": (
        "My plan: take {things}, and bring each to its usual place.",
        "Out of place: {things}. I collect them and put each where it belongs.",
        "I have to put away {things}.",
    ),
    "route": (
        "The map gives my way: {rooms}.",
        "My plan from the map: go to {rooms}.",
        "By the map I have to pass {rooms}.",
    ),
    "recipe": (
        "I need {things}. Then I have to {work}.",
        "The recipe asks for {things}; the steps are: {work}.",
        "My plan: find {things}, then {work}.",
    ),
    "solved": (
        "The problem is to {work}: that makes {answer}.",
        "To {work} gives {answer}, so I need {answer} of something.",
        "I calculate: {work}, which is {answer}.",
    ),
    "order": (
        "In order of quantity: {things}.",
        "I compare them in one unit. The order is {things}.",
        "From small to large that is {things}.",
    ),
    "book": (
        "The book says what to do; I read it before I touch anything.",
        "I follow the book step by step, and take nothing else.",
    ),
    "simon": (
        "I have to repeat exactly what Simon says, and nothing else.",
        "My plan is simple: each time do what Simon says.",
    ),
}
OBSERVED: tuple[str, ...] = (
    "There is {noun}, which I need!",
    "I see {noun} now: that is what I need.",
    "Here is {noun}, as I hoped.",
)
ACTS: dict[str, tuple[str, ...]] = {
    "take": ("I take {noun}.", "{Noun} is here, so I pick it up.", "I need {noun}; I take it."),
    "open_door": (
        "The door to the {way} is closed, so I open it.",
        "I open the door to the {way} to go on.",
    ),
    "open_place": (
        "{Noun} may be in the {place}, so I open it.",
        "I have not looked into the {place} yet.",
        "I look for {noun} in the {place}.",
    ),
    "explore": (
        "I have not been in the {room} yet; {noun} may be there.",
        "I go {way} to look for {noun} in the {room}.",
        "Next I try the {way}, where the {room} is.",
    ),
    "turn_back": (
        "There is nothing more to see here, so I go back through the {room}.",
        "A dead end: I go {way} again to try another way.",
        "{Noun} is not here. Back to the {room}, where a way is left.",
    ),
    "open_for": (
        "{Noun} belongs in the {place}, which is closed; I open it.",
        "I open the {place} to put {noun} in it.",
    ),
    "put": (
        "{Noun} belongs in the {place}; I put it there.",
        "This is the place for {noun}: the {place}.",
        "I put {noun} in the {place}.",
    ),
    "carry": (
        "The place for {noun} is the {place} in the {room}; I bring it there.",
        "I carry {noun} to the {place} in the {room}.",
    ),
    "fetch": (
        "I have seen {noun} in the {room}, so I go there.",
        "{Noun} is in the {room}; I go {way}.",
    ),
    "read": ("I read {noun}.", "I have to know what {noun} says.", "Now I look into {noun}."),
    "follow": (
        "Next on my way to the {goal} is the {room}, to the {way}.",
        "I go {way} to the {room}.",
        "The way to the {goal} leads {way}, through the {room}.",
    ),
    "arrive": (
        "The {room} is to the {way}; that is where I have to be.",
        "I go {way}: the {room} is my goal.",
        "One room more: {way} to the {room}.",
    ),
    "to_kitchen": ("A meal is prepared in the kitchen, so I go {way}.", "Back to the kitchen."),
    "cut": (
        "I have the knife and {noun}, so I cut it as the recipe says.",
        "The recipe wants {noun} cut this way.",
    ),
    "cook": (
        "The recipe says to {verb} {noun}, and the {place} does that.",
        "To {verb} {noun} I use the {place}.",
    ),
    "prepare": ("All is ready, so I prepare the meal.", "Everything is as the recipe says."),
    "eat": ("The meal is ready; I eat it.", "Only eating is left."),
    "to_device": (
        "For {noun} I need the {place} in the {room}; I go {way}.",
        "The {place} is in the {room}, so I take {noun} there.",
    ),
    "put_next": (
        "{Noun} is the smallest that is left; it goes in the box.",
        "Of what is left, {noun} comes next.",
    ),
    "take_smallest": (
        "The smallest that is left is {noun}.",
        "Nothing that is left is smaller than {noun}; I take it.",
    ),
    "read_next": ("That is done; I read {noun} again.", "What is next? {Noun} says it."),
    "obey": ("The book asks for {noun}; I take it.", "I take {noun}, as the book says."),
    "simon": ("Simon says: {work}.", "I do what Simon says: {work}."),
}
SLIPS: dict[str, tuple[str, ...]] = {
    "look": ("I have another look around.", "Let me see this room once more."),
    "inventory": ("What do I have with me?", "I check what I carry."),
    "examine": ("What is it about {label}?", "{Label} looks interesting."),
    "wander": ("Perhaps the {room} is worth another visit.", "I go {way} for a moment."),
    "closed_door": ("I go {way}.", "On to the {way}."),
    "wrong_thing": ("{Label} may be useful.", "I take {label} as well."),
    "wrong_place": ("{Noun} may belong in the {place}.", "Perhaps in the {place}?"),
    "too_early": ("I think that all is ready for the meal.", "Now I prepare the meal."),
    "wrong_number": ("{Label} should be right.", "I think it is {label}."),
    "wrong_size": ("{Label} seems to be the smallest.", "I begin with {label}."),
}
CORRECTIONS: dict[str, tuple[str, ...]] = {
    "look": ("That showed me nothing new; back to my task.", "I knew that already. I go on."),
    "inventory": ("I knew what I carry; back to my task.", "That did not help; I go on."),
    "examine": ("{Label} has nothing to do with my task.", "I do not need {label}; I go on."),
    "wander": ("I have been here before, that was a detour.", "I should not have come back here."),
    "closed_door": (
        "The door to the {way} is closed; I have to open it before I can go through.",
        "I cannot pass a closed door.",
    ),
    "wrong_thing": ("I do not need {label}; that was a mistake.", "{Label} is of no use here."),
    "wrong_place": (
        "The {place} is not where {noun} belongs; that was wrong.",
        "That was the wrong place for {noun}.",
    ),
    "too_early": ("It is too early: something is still missing.", "The meal is not ready yet."),
    "wrong_number": ("{Label} is not the right number.", "I was wrong: {label} does not match."),
    "wrong_size": ("No, {label} is not the smallest.", "{Label} has to wait, others are smaller."),
}
