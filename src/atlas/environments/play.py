"""The one loop that plays: episodes in worlds side by side, with one player for all of them.

What an episode records depends on its opening and on the answers it gets; the world it is played
in and the episodes beside it do not matter. A world that breaks or hangs costs only its own
episode, which is played once more in a new world and then recorded as an error.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from atlas.environments.base import Environment, StepResult
from atlas.environments.episode import Episode, start_episode
from atlas.environments.worlds import JobResult, World, Worlds
from atlas.errors import AtlasError, EpisodeError
from atlas.models.players import AnswersAsReady, Player, PlayerAnswer
from atlas.records import Message, Source, Task

MAX_ATTEMPTS = 2
# Seconds that a round waits for the slower worlds, counted from the first that is ready. A world
# that takes longer joins a later round.
ROUND_PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class Opening:
    """An episode to be played.

    Attributes:
        name: how the player knows the conversation; unique.
        source: who plays, for the record.
        prompt: the first messages; None: those of the environment.
        responses: recorded responses that are replayed before the player answers.
        on_start: called with the environment after `reset` and the replay.
    """

    name: str
    task: Task
    source: Source
    prompt: tuple[Message, ...] | None = None
    responses: tuple[Message, ...] = ()
    on_start: Callable[[Environment], None] | None = None

    def start(self, environment: Environment) -> Episode:
        """The episode, ready for the first answer of the player."""
        episode = start_episode(environment, self.task, self.source, self.prompt, self.responses)
        if self.on_start is not None and not episode.over:
            self.on_start(environment)
        return episode


def play_episodes(
    openings: Iterable[Opening], worlds: Worlds, player: Player | None
) -> Iterator[tuple[str, Episode]]:
    """Each episode with its name as soon as it is over; the next opening then takes its place.

    Args:
        player: answers all conversations; None: the episodes end after the replay, still open.

    Raises:
        AtlasError: what concerns the whole run, such as a missing package or an unusable model.
    """
    loop = _PlayLoop(openings, worlds, player)
    worlds.on_result = player.wake if isinstance(player, AnswersAsReady) else None
    try:
        yield from loop.play()
    finally:
        worlds.on_result = None


def _step(response: Message, environment: Environment) -> StepResult:
    return environment.step(response)


@dataclass(slots=True)
class _Seat:
    """An episode under way: in its world, or waiting for the player's answer."""

    opening: Opening
    world: World
    attempt: int
    job_started: float = 0.0
    seconds_used: float = 0.0
    episode: Episode | None = None
    answer: PlayerAnswer | None = None


class _PlayLoop:
    def __init__(self, openings: Iterable[Opening], worlds: Worlds, player: Player | None) -> None:
        self._openings = iter(openings)
        self._again: deque[Opening] = deque()
        self._worlds = worlds
        self._player = player
        self._seats: dict[str, _Seat] = {}
        self._seat_of: dict[World, _Seat] = {}
        self._in_rounds = not isinstance(player, AnswersAsReady)
        self._ready: dict[str, Sequence[Message]] = {}
        self._ready_since = 0.0
        self._num_asked = 0
        self._finished: list[tuple[str, Episode]] = []

    def play(self) -> Iterator[tuple[str, Episode]]:
        while True:
            self._open_more()
            if not self._seats:
                return
            self._follow_worlds(self._patience())
            yield from self._take_finished()
            self._open_more()
            if self._in_rounds and self._worlds.is_busy and self._waits():
                continue
            self._submit()
            if self._player is not None and self._num_asked:
                self._hear(self._player.next_answers(self._worlds.seconds_left))
                yield from self._take_finished()

    def _open_more(self) -> None:
        while self._worlds.has_room:
            attempt = MAX_ATTEMPTS if self._again else 1
            opening = self._again.popleft() if self._again else next(self._openings, None)
            if opening is None:
                return
            seat = _Seat(opening, self._worlds.take(), attempt)
            self._seats[opening.name] = self._seat_of[seat.world] = seat
            self._run(seat, opening.start)

    def _run(self, seat: _Seat, job: Callable[[Environment], object]) -> None:
        seat.job_started = time.monotonic()
        self._worlds.run(seat.world, job, seat.seconds_used)

    def _patience(self) -> float | None:
        """How long to wait for the worlds before the player is asked; None: until one answers."""
        if not self._in_rounds:
            return 0.0 if self._num_asked else None
        if not self._ready:
            return None
        return max(0.0, self._ready_since + ROUND_PATIENCE - time.monotonic())

    def _waits(self) -> bool:
        """Whether a round waits for the busy worlds; those in this process are never slow."""
        return self._worlds.in_process or self._patience() != 0.0

    def _follow_worlds(self, timeout: float | None) -> None:
        for result in self._worlds.results(timeout):
            seat = self._seat_of[result.world]
            seat.seconds_used += time.monotonic() - seat.job_started
            first = seat.episode is None
            episode = self._record(seat, result)
            if episode.over or self._player is None:
                self._end(seat, episode)
            else:
                if not self._ready:
                    self._ready_since = time.monotonic()
                self._ready[seat.opening.name] = episode.messages if first else episode.observation

    def _record(self, seat: _Seat, result: JobResult) -> Episode:
        error, answer, opening = result.error, seat.answer, seat.opening
        if seat.episode is None:
            if isinstance(error, AtlasError) and not isinstance(error, EpisodeError):
                raise error
            if error is None:
                seat.episode = result.value
            else:
                seat.episode = Episode(opening.task, opening.source, opening.prompt or ())
                seat.episode.break_off(error)
        elif answer is not None:
            if error is None:
                seat.episode.add_step(answer.message, result.value, answer.annotation)
            else:
                seat.episode.break_off(error, answer.message, answer.annotation)
        return seat.episode

    def _end(self, seat: _Seat, episode: Episode) -> None:
        """Free the place of an episode that is over, and play it once more if its world broke."""
        name = seat.opening.name
        del self._seats[name], self._seat_of[seat.world]
        if self._player is not None:
            self._player.close(name)
        if not episode.is_broken:
            self._worlds.give_back(seat.world)
        else:
            self._worlds.discard(seat.world)
            if seat.attempt < MAX_ATTEMPTS:
                self._again.append(seat.opening)
                return
        self._finished.append((name, episode))

    def _submit(self) -> None:
        """Hand the player what is new, in the order of the openings: the same rounds every time."""
        if self._player is None or not self._ready:
            return
        for name, seat in self._seats.items():
            if name in self._ready and seat.episode is not None:
                self._player.submit(name, self._ready[name], seat.episode.tools)
        self._num_asked += len(self._ready)
        self._ready.clear()

    def _hear(self, answers: Mapping[str, PlayerAnswer]) -> None:
        for name, answer in answers.items():
            self._num_asked -= 1
            seat = self._seats[name]
            assert seat.episode is not None
            if answer.finish in ("stop", "length"):
                seat.answer = answer
                self._run(seat, partial(_step, answer.message))
                continue
            if answer.finish == "no_room":
                seat.episode.truncate(answer.reason or "no room left to answer")
            else:
                seat.episode.fail(answer.reason or f"the player's answer was {answer.finish}")
            self._end(seat, seat.episode)

    def _take_finished(self) -> Iterator[tuple[str, Episode]]:
        finished, self._finished = self._finished, []
        yield from finished
