"""The phrases of the expert of the office; a seeded generator chooses one."""

from __future__ import annotations

PLANS: dict[str, tuple[str, ...]] = {
    "reschedule": (
        "I need the id of the event first. Then I move it, and tell those who attend.",
        "Three things to do: find '{title}', move it, and write to its attendees.",
    ),
    "clear-day": (
        "I list the events of {date}, cancel each of them, and then write to all who attend.",
        "First I need the events of {date}. I keep their attendees for the mail.",
    ),
}
STARTS: dict[str, tuple[str, ...]] = {
    "invite": (
        "To invite {who} I need the mail address.",
        "I look up {who} in the contacts first.",
    ),
    "do-as-asked": (
        "I have to find the mail '{subject}'. I list the inbox.",
        "What is asked stands in the mail '{subject}', so I look for it.",
    ),
    "note": (
        "My notes should have it; I search for '{note}'.",
        "I look for the note about '{note}'.",
    ),
    "first-free": (
        "I need to see what is on {date} before I choose a time.",
        "Which hours of {date} are taken? I list its events.",
    ),
}
NEXT_PERSON = ("Now {who}.", "I also need the address of {who}.")
LOOK_UP = ("I look up the address of {who}.", "I need the address of {who}.")
WHICH_ONE = (
    "There are several. The one {who} is {name}, with the address {email}.",
    "I see more than one; {name} is the right one, {who}.",
)
ADDRESS = ("The address is {email}.", "I have the address {email} now.")
READ_NOTE = ("The note is {id}; I read it.", "I found it, {id}. I open it.")
KNOWN = (
    "The note says {text}, which is what {who} needs.",
    "Now I know it: {text}.",
)
READ_MAIL = ("The mail is {id}; I read it.", "That is {id}. I open it.")
ASKED_TO_CANCEL = (
    "The mail asks to cancel '{title}' on {date}. So I look for its id, then cancel it.",
    "I am asked to cancel '{title}'. I list the events of {date} to find it.",
)
ASKED_TO_MEET = (
    "The mail asks for a meeting on {date} at {start}, with the sender.",
    "So a meeting is wanted on {date} at {start}, and the mail has the address of the sender.",
)
CREATE = (
    "I put '{title}' into the calendar, on {date} at {start}.",
    "I have all that I need for '{title}', so I create it at {start}.",
)
FREE = (
    "The first free hour is {start}.",
    "Taken are {taken}. So {start} is the first hour that is free.",
)
MOVE = ("'{title}' has the id {id}. I move it to {date}, {start}.", "It is {id}; I move it now.")
CANCEL = ("I cancel '{title}' ({id}).", "'{title}' is {id}; I cancel it.")
TELL = ("Now I write to {emails}.", "The mail goes to {emails}.", "I let {emails} know.")
CHECK = ("I check that the calendar is right.", "I look at the day once more.")
FINISH = ("Everything is done.", "That was all; I finish.", "The request is carried out.")
DETOURS: dict[str, tuple[str, ...]] = {
    "list_mails": ("Perhaps the inbox says more about it.", "I have a look at the inbox."),
    "list_events": ("I look at what else is on {date}.", "What is on {date}? I look."),
}
SLIPS: dict[str, tuple[str, ...]] = {
    "to": ("I write to {value}.", "The mail goes to {value}."),
    "attendees": ("I enter {value} as attendees.", "I invite {value}."),
    "date": ("The day is {value}.", "I take {value} as the date."),
    "start": ("It begins at {value}.", "I enter {value} as the time."),
    "id": ("I use its name, {value}.", "I call it {value}."),
    "minutes": ("The length is {value}.", "I write {value} for the length."),
}
CORRECTIONS: dict[str, tuple[str, ...]] = {
    "to": ("Names are not enough; it has to be the mail address.",),
    "attendees": (
        "The calendar wants mail addresses, not names.",
        "I have to give the addresses here.",
    ),
    "date": ("The date has to be written as year, month and day.", "That form is not accepted."),
    "start": ("The time has to have the form 09:30.", "I have to write the time with a colon."),
    "id": ("I have to give the id, not the name.", "The id is what counts here."),
    "minutes": ("The length has to be a number.", "I have to give plain minutes."),
}
WRONG_TIME = ("I create it at {start}.", "I put it at {start}.")
RIGHT_TIME = (
    "I put it at {wrong}, but {start} was asked for. I move it.",
    "{wrong} is wrong; it has to begin at {start}.",
)
