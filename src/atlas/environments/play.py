"""The loop that plays episodes: many worlds run concurrently, and one player answers for all.

The record of an episode depends only on its opening and on the player's answers, not on the other
episodes. If a world breaks or hangs, only its own episode is affected: it is played once more in a
new world. If that fails too, it is recorded as an error.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import PydanticSerializationError

from atlas.environments.base import Environment
from atlas.environments.checked import take_step
from atlas.environments.episode import Episode, concerns_run, start_episode
from atlas.environments.episode_limits import EpisodeLimits
from atlas.environments.worlds import Worlds
from atlas.errors import ModelError
from atlas.models.players import AnswersAsReady, Player, PlayerAnswer
from atlas.records import Message, Source, Task, Usage
from atlas.store.record_files import to_json

MAX_ATTEMPTS = 2
# Seconds that a round waits for the slower worlds, counted from the first that is ready. A world
# that takes longer joins a later round.
ROUND_PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class Opening:
    """An episode to be played.

    Attributes:
        name: the unique name of the conversation.
        source: who plays, for the record.
        prompt: the first messages; None: the environment's own.
        responses: recorded responses that are replayed before the player answers.
        check: called with the episode after the replay; a text says why it cannot be played on.
        on_start: called with the environment after `reset` and the replay.
    """

    name: str
    task: Task
    source: Source
    prompt: tuple[Message, ...] | None = None
    responses: tuple[Message, ...] = ()
    check: Callable[[Episode], str | None] | None = None
    on_start: Callable[[Environment], None] | None = None

    def start(self, environment: Environment) -> Episode:
        """Start the episode, so that the player can give its first answer."""
        episode = start_episode(environment, self.task, self.source, self.prompt, self.responses)
        checked = None if self.check is None or episode.is_broken else self.check(episode)
        if checked is not None:
            episode.fail(checked)
        if self.on_start is not None and not episode.over:
            self.on_start(environment)
        return episode


def play_episodes(
    openings: Iterable[Opening],
    worlds: Worlds,
    player: Player | None,
    on_answer: Callable[[PlayerAnswer], None] | None = None,
    limits: EpisodeLimits | None = None,
) -> Iterator[tuple[str, Episode]]:
    """Play all openings, and yield each episode with its name as soon as it is over.

    Args:
        player: answers all conversations; None: the episodes end after the replay, still open.
        on_answer: called with each answer of the player.
        limits: limits of each episode beside those of its environment.

    Raises:
        AtlasError: the error affects the whole run, for example a missing package.
    """
    worlds.on_result = player.wake if isinstance(player, AnswersAsReady) else None
    try:
        yield from _PlayLoop(openings, worlds, player, on_answer, limits).play()
    finally:
        worlds.on_result = None


@dataclass(slots=True)
class _Seat:
    """An episode in progress: its world is busy, or it waits for the player's answer."""

    opening: Opening
    attempt: int
    episode: Episode
    answer: PlayerAnswer | None = None
    is_asked: bool = False
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


class _PlayLoop:
    def __init__(
        self,
        openings: Iterable[Opening],
        worlds: Worlds,
        player: Player | None,
        on_answer: Callable[[PlayerAnswer], None] | None,
        limits: EpisodeLimits | None,
    ) -> None:
        self._limits = limits or EpisodeLimits()
        # Conversations whose time was over before their answer came.
        self._late: set[str] = set()
        self._openings = iter(openings)
        self._on_answer = on_answer
        self._again: deque[Opening] = deque()
        self._worlds = worlds
        self._player = player
        self._in_rounds = not isinstance(player, AnswersAsReady)
        self._seats: dict[str, _Seat] = {}
        # Messages that were not sent to the player yet, by conversation.
        self._news: dict[str, Sequence[Message]] = {}
        self._news_since = 0.0
        self._num_asked = 0

    def play(self) -> Iterator[tuple[str, Episode]]:
        self._open_more()
        while self._seats:
            for name, result in self._worlds.results(self._patience()):
                yield from self._follow(name, result)
            if self._in_rounds and self._worlds.is_busy and self._patience() != 0.0:
                continue
            if self._player is not None:
                self._submit(self._player)
                if self._num_asked:
                    for name, answer in self._next_answers(self._player):
                        yield from self._hear(name, answer)
                    yield from self._end_late()

    def _open_more(self) -> None:
        while self._worlds.has_room:
            attempt = MAX_ATTEMPTS if self._again else 1
            opening = self._again.popleft() if self._again else next(self._openings, None)
            if opening is None:
                return
            blank = Episode(opening.task, opening.source, opening.prompt or ())
            self._seats[opening.name] = _Seat(opening, attempt, blank)
            self._worlds.begin(opening.name, opening.start)

    def _patience(self) -> float | None:
        """How long to wait for the worlds before the player is asked; None: until one answers."""
        if not self._in_rounds:
            return 0.0 if self._num_asked else None
        if self._worlds.in_process or not self._news:
            return None
        return max(0.0, self._news_since + ROUND_PATIENCE - time.monotonic())

    def _follow(self, name: str, result: Any) -> Iterator[tuple[str, Episode]]:
        """Record the result of a world's job: an episode, the result of a step, or an error."""
        seat = self._seats[name]
        answer = seat.answer
        if isinstance(result, Episode):
            seat.episode = result
        elif answer is None:
            if concerns_run(result):
                raise result
            seat.episode.break_off(result)
        elif isinstance(result, Exception):
            seat.episode.break_off(result, answer)
        else:
            seat.episode.add_step(answer.message, result, answer.annotation, _is_cut(answer))
            self._apply_limits(seat, answer)
        if seat.episode.over or self._player is None:
            yield from self._end(name, seat)
            return
        if not self._news:
            self._news_since = time.monotonic()
        self._news[name] = seat.episode.messages if answer is None else seat.episode.observation

    def _submit(self, player: Player) -> None:
        """Send new messages to the player, in the order of the openings to be reproducible."""
        for name, seat in self._seats.items() if self._news else ():
            if name in self._news:
                player.submit(name, self._news[name], seat.episode.tools)
                seat.is_asked = True
        self._num_asked += len(self._news)
        self._news.clear()

    def _next_answers(self, player: Player) -> list[tuple[str, PlayerAnswer]]:
        """Answers of the player, checked: the loop would wait for a missing one for ever.

        Answers of a round are followed at once if the worlds never wait. Else the whole round
        is collected, so that which answers are computed together does not depend on time.
        """
        is_whole_round = self._in_rounds and not self._worlds.in_process
        given = dict(player.next_answers(self._seconds_left()) or {})
        while is_whole_round and given and len(given.keys() - self._late) < self._num_asked:
            more = dict(player.next_answers(None) or {})
            if not more:
                break
            given |= more
        answers = {name: answer for name, answer in given.items() if name not in self._late}
        self._late -= given.keys()
        who = type(player).__name__
        is_short = len(answers) < self._num_asked if is_whole_round else not given
        if self._in_rounds and is_short:
            told = f"{len(answers)} answers to {self._num_asked} conversations"
            raise ModelError(f"player {who}: next_answers returned {told}, expected more.")
        for name, answer in answers.items():
            if name not in self._seats or not isinstance(answer, PlayerAnswer):
                raise ModelError(
                    f"player {who}: next_answers returned {answer!r:.80} for {name!r}, expected a "
                    "PlayerAnswer for a conversation that was submitted."
                )
        return list(answers.items())

    def _hear(self, name: str, answer: PlayerAnswer) -> Iterator[tuple[str, Episode]]:
        self._num_asked -= 1
        if self._on_answer is not None:
            self._on_answer(answer)
        seat = self._seats[name]
        seat.is_asked = False
        if answer.usage.requests:
            seat.episode.usage = seat.episode.usage + answer.usage
        if answer.finish in ("stop", "length"):
            if (fault := _fault(answer.message)) is not None:
                seat.episode.fail(f"the player's answer cannot be recorded: {fault}")
                yield from self._end(name, seat)
                return
            seat.answer = answer
            self._worlds.run(name, lambda environment: take_step(environment, answer.message))
            return
        if answer.finish == "no_room":
            seat.episode.truncate(answer.reason or "no room left to answer")
        else:
            reason = answer.reason or f"the player's answer was {answer.finish}"
            seat.episode.fail(reason, is_refused=answer.finish == "refused")
        yield from self._end(name, seat)

    def _apply_limits(self, seat: _Seat, answer: PlayerAnswer) -> None:
        """Truncate an episode that has reached a limit."""
        if seat.episode.over:
            return
        reason = self._limits.reached(seat.episode, answer.usage, seat.seconds)
        if reason is not None:
            seat.episode.truncate(reason)

    def _seconds_left(self) -> float | None:
        """The time until a world or an episode whose answer is awaited reaches its limit."""
        found = [] if self._worlds.seconds_left is None else [self._worlds.seconds_left]
        if (most := self._limits.max_seconds) is not None:
            found += [
                max(0.0, most - seat.seconds) for seat in self._seats.values() if seat.is_asked
            ]
        return min(found, default=None)

    def _end_late(self) -> Iterator[tuple[str, Episode]]:
        """End the episodes whose time is over while their answer is awaited."""
        if (most := self._limits.max_seconds) is None:
            return
        for name, seat in list(self._seats.items()):
            if seat.is_asked and seat.seconds >= most:
                self._num_asked -= 1
                self._late.add(name)
                reason = self._limits.reached(seat.episode, Usage(), seat.seconds)
                seat.episode.truncate(reason or "")
                yield from self._end(name, seat)

    def _end(self, name: str, seat: _Seat) -> Iterator[tuple[str, Episode]]:
        """Finish an episode that is over, so that the next one can start.

        If its world broke for the first time, start it again instead.
        """
        del self._seats[name]
        if self._player is not None:
            self._player.close(name)
        is_broken = seat.episode.is_broken
        self._worlds.end(name, is_broken=is_broken)
        is_final = not is_broken or seat.attempt == MAX_ATTEMPTS
        if not is_final:
            self._again.append(seat.opening)
        self._open_more()
        if is_final:
            yield name, seat.episode


def _is_cut(answer: PlayerAnswer) -> bool | None:
    """Whether an answer was cut off; None for experts, which have no maximum length."""
    return answer.finish == "length" if answer.annotation is None else None


def _fault(message: Message) -> str | None:
    """Why a message cannot be recorded as an answer."""
    if message.role != "assistant":
        return f"its role is '{message.role}', expected 'assistant'"
    try:
        to_json(message)
    except PydanticSerializationError as error:
        # Half of a surrogate pair.
        return str(error)
    return None
