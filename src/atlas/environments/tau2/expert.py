"""The expert of τ²-bench: it looks at the phone, then follows the gold actions of the package.

It knows what is wrong with the phone: the package gives only a gold path, not a search. So its
thoughts say what it does and whether the result is what it wants, not how it found out. A step is
labeled where it plans, at the last gold action, and where it corrects a mistake.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from atlas.environments.base import ExpertTurn
from atlas.environments.experts import ExpertConfig, say, stream
from atlas.environments.tau2.telecom import DONE, PlayedTicket
from atlas.records import Annotation, CriticalKind, Message, ToolCall

STARTS = (
    "The ticket is about {topic}. I look at the phone first, then I repair what is wrong, and "
    "check that it works.",
    "My plan for this {topic} problem: see what the phone shows, change the settings that are "
    "wrong, and check the result.",
)
LOOKS = ("I check the {what} as well.", "I want to see the {what} before I go on.")
ACTS = (
    "The next thing to do is: {action}.",
    "I {action}.",
    "Following the policy, I {action}.",
)
LAST = (
    "One thing is left: {action}.",
    "The last repair is: {action}.",
)
SLIPS = ("I {action}.", "I try this: {action}.")
CORRECTIONS = (
    "The tool is not called that; it is {name}.",
    "I used a wrong name. The tool is {name}.",
)
CHECKS = ("I check whether it works now.", "Now I test the result.")
ENDS = ("That is what the customer wanted; I am done.", "The ticket is solved.")
# Kind of ticket -> the tool that shows whether it is solved.
TESTS = {
    "mobile_data_issue": "run_speed_test",
    "mms_issue": "can_send_mms",
    "service_issue": "check_status_bar",
}
DETOURS = ("check_network_status", "check_sim_status", "check_apn_settings", "check_wifi_status")


class Tau2Expert:
    """Works on the ticket that was just given. The same seed gives the same turns."""

    Config = ExpertConfig

    def __init__(self, config: ExpertConfig, episode: PlayedTicket, seed: int) -> None:
        self._config = config
        self._episode = episode
        self._rng = stream("tau2 expert", episode.task.id, seed)
        self._num_calls = 0
        self._turns = self._play()

    def respond(self) -> ExpertTurn:
        """The next turn, with its labels."""
        return next(self._turns)

    def _play(self) -> Iterator[ExpertTurn]:
        kind = self._episode.task.group
        topic = kind.removesuffix("_issue").replace("_", " ")
        yield self._turn(
            say(self._rng, STARTS, topic=topic), "check_status_bar", {}, "plan_creation"
        )
        actions = self._episode.gold_actions
        for index, (name, arguments) in enumerate(actions):
            if self._rng.random() < self._config.detour_rate:
                looked = self._rng.choice(DETOURS)
                yield self._turn(say(self._rng, LOOKS, what=_spaced(looked)[6:]), looked, {})
            is_last = index == len(actions) - 1
            yield from self._act(name, arguments, LAST if is_last else ACTS, is_last)
        yield self._turn(say(self._rng, CHECKS), TESTS.get(kind, "check_status_bar"), {})
        yield self._turn(say(self._rng, ENDS), DONE, {})

    def _act(
        self, name: str, arguments: dict[str, Any], phrases: Sequence[str], is_last: bool
    ) -> Iterator[ExpertTurn]:
        kinds: list[CriticalKind] = ["critical_action"] if is_last else []
        thought = say(self._rng, phrases, action=_spaced(name))
        if self._rng.random() < self._config.mistake_rate:
            wrong = name.partition("_")[2] or f"{name}_now"
            yield self._turn(say(self._rng, SLIPS, action=_spaced(wrong)), wrong, arguments)
            thought = say(self._rng, CORRECTIONS, name=name)
            kinds.insert(0, "self_correction")
        yield self._turn(thought, name, arguments, *kinds)

    def _turn(
        self, thought: str, name: str, arguments: dict[str, Any], *kinds: CriticalKind
    ) -> ExpertTurn:
        self._num_calls += 1
        text = json.dumps(arguments)
        call = ToolCall(id=f"call_{self._num_calls}", name=name, arguments=text)
        message = Message(role="assistant", content=thought, tool_calls=(call,))
        return ExpertTurn(message, Annotation(kinds=kinds, score=0.9 if kinds else 0.0))


def _spaced(name: str) -> str:
    return name.replace("_", " ")
