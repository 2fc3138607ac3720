"""Many episodes played together by a model that answers a batch: each round every open episode brings what is new to it.

Who plays is a protocol (`models.chat_batch.ChatBatch` fits it), so that nothing here loads a model. What an episode holds
depends on its opening and on the answers it gets; which environment it is played in and who sits beside it does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from atlas.environments.base import Environment
from atlas.environments.episode import Episode
from atlas.records import Message


class Answer(Protocol):
    """`finish` is "context" where no room was left to answer."""

    @property
    def text(self) -> str: ...

    @property
    def finish(self) -> str: ...


class Player(Protocol):
    """Answers many conversations, each known by a name; an unknown name opens one."""

    def respond(self, new_messages: Mapping[str, Sequence[Message]]) -> Mapping[str, Answer]: ...

    def close(self, name: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Opening:
    """An episode to be played under a name of its own; `start` starts it in a free environment, over at once where that fails."""

    name: str
    start: Callable[[Environment], Episode]


def play_batch(
    openings: Iterable[Opening], environments: Sequence[Environment], player: Player, no_room: str
) -> Iterator[tuple[str, Episode]]:
    """Each episode with its name as soon as it is over; its place goes to the next opening once the caller comes back for more.

    Args:
        environments: as many as may be played at a time.
        no_room: the reason in the outcome of an episode whose history leaves the player no room to answer.
    """
    waiting = iter(openings)
    idle = list(environments)
    playing: dict[str, Episode] = {}
    new: dict[str, Sequence[Message]] = {}
    more = True
    while more or playing:
        while more and idle:
            if (opening := next(waiting, None)) is None:
                more = False
                break
            environment = idle.pop()
            episode = opening.start(environment)
            if episode.over:
                idle.append(environment)
                yield opening.name, episode
            else:
                playing[opening.name] = episode
                new[opening.name] = episode.messages
        for name, answer in player.respond(new).items() if new else ():
            episode = playing[name]
            if answer.finish == "context":
                episode.truncate(no_room)
                observation = None
            else:
                observation = episode.advance(answer.text)
            if observation is not None:
                new[name] = observation
                continue
            del playing[name], new[name]
            player.close(name)
            idle.append(episode.environment)
            yield name, episode
