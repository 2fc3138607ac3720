"""The phrases of the MiniWoB++ expert by situation; a seeded generator chooses one."""

from __future__ import annotations

# {what} names the field, box, link or text that the step is about, {text} what is typed.
ACTS: dict[str, tuple[str, ...]] = {
    "focus": ("I click {what}.", "First I need {what}.", "Next is {what}, so I click it."),
    "type": ("The field wants '{text}'.", "I type '{text}'.", "Now I write '{text}' into it."),
    "tick": ("'{what}' is on the list, so I tick it.", "I tick '{what}'."),
    "choose": ("I choose '{what}' from the list.", "The list has '{what}', so I select it."),
    "radio": ("I check {what}.", "The goal wants {what}, so I click it."),
    "submit": (
        "All is as the goal wants it, so I press {what}.",
        "Nothing is left to do but to press {what}.",
        "I am done and press {what}.",
    ),
    "unfold": ("I look into '{what}'.", "The link may be in '{what}', so I open it."),
    "follow": ("'{what}' is the link that I need, so I click it.", "I click the link '{what}'."),
}
PLANS = (
    "The goal has several parts: I will {steps}.",
    "I will {steps}.",
    "My plan: {steps}.",
)
OBSERVED = (
    "I see '{what}' here.",
    "There is '{what}', which I was looking for.",
)
READ = (
    "The table says that {what} is {text}.",
    "I read in the table: {what} is {text}.",
)
SOLVED = ("{what} {text}.", "The result: {what} {text}.")
SLIPS: dict[str, tuple[str, ...]] = {
    "typo": ("I type '{text}'.", "Now I write '{text}' into it."),
    "wrong_tick": ("'{what}' should be ticked too.", "I tick '{what}'."),
    "again": ("I may have missed it in '{what}'.", "I look into '{what}' once more."),
    "no_focus": ("I type '{text}' right away.", "The field wants '{text}', so I type it."),
}
CORRECTIONS: dict[str, tuple[str, ...]] = {
    "typo": (
        "The field holds '{wrong}', which is wrong; it must be '{text}'.",
        "I made a mistake: not '{wrong}' but '{text}'.",
    ),
    "wrong_tick": (
        "'{what}' was not asked for, so I untick it.",
        "That was the wrong box; I take the tick from '{what}' again.",
    ),
    "again": ("It is not there; I had looked already.", "There is nothing new; I go on."),
    "no_focus": (
        "Nothing was typed, because no field has the focus; I click the field first.",
        "I have to click the field before I can type.",
    ),
}
