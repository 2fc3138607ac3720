"""Episodes -> how they ended, what is seen in those that failed, and an example of each.

Nothing is judged here: a cause is what the episode recorded. An episode may show several signs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, get_args

from atlas.environments.episode import STEP_LIMIT
from atlas.presenting.wording import MAX_LABEL
from atlas.records import Record
from atlas.statistics.trajectory_summary import TrajectoryFacts
from atlas.terminal.visible_text import one_line

EndingKind = Literal[
    "success", "failure", "step_limit", "other_limit", "refused", "broke", "unknown"
]
Sign = Literal["invalid", "actionless", "repeated", "cut"]
ENDING_KINDS: tuple[EndingKind, ...] = get_args(EndingKind)
SIGNS: tuple[Sign, ...] = get_args(Sign)
# The most reasons that are kept for each kind of ending; the others are counted together.
MAX_REASONS = 5
OTHER_REASONS = "other reasons"

STEP_LIMITS = (STEP_LIMIT, "limit of the episode: max_steps=")
# A turn that shows a sign counts if at least this share of the judged turns show it.
HALF = 0.5


class EpisodeExample(Record):
    """An episode by the name of its run in the report, its id and its task."""

    run: str
    episode: str
    task: str


class Ending(Record):
    """Episodes that ended alike: what happened, the recorded reason, and the first of them."""

    kind: EndingKind
    reason: str
    num_episodes: int
    example: EpisodeExample


class SignCount(Record):
    """In how many failed and successful episodes a sign is seen, of those where it is known."""

    num_failed: int
    num_failed_known: int
    num_success: int
    num_success_known: int


class ScopeEndings(Record):
    """The endings of the episodes of an arm on one scope, all its runs together."""

    scope: str
    num_episodes: int
    num_failed: int
    endings: tuple[Ending, ...]
    signs: dict[Sign, SignCount]
    sources: tuple[str, ...]

    def count(self, kind: EndingKind) -> int:
        """The number of episodes with an ending of this kind."""
        return sum(ending.num_episodes for ending in self.endings if ending.kind == kind)


def ending_of(episode: TrajectoryFacts) -> EndingKind:
    """What ended an episode."""
    if episode.status == "truncated":
        reason = episode.reason or ""
        return "step_limit" if reason.startswith(STEP_LIMITS) else "other_limit"
    if episode.status == "error":
        return "refused" if episode.is_refused else "broke"
    return episode.status


def count_endings(
    scope: str, runs: Sequence[tuple[str, Sequence[TrajectoryFacts]]], sources: Iterable[str]
) -> ScopeEndings:
    """Count the episodes of an arm on a scope; `runs` holds each run's name and episodes."""
    episodes = [(name, episode) for name, played in runs for episode in played]
    failed = [one for _, one in episodes if one.is_valid and one.status != "success"]
    succeeded = [one for _, one in episodes if one.status == "success"]
    return ScopeEndings(
        scope=scope,
        num_episodes=len(episodes),
        num_failed=len(failed),
        endings=tuple(_endings(episodes)),
        signs={sign: _count_sign(sign, failed, succeeded) for sign in SIGNS},
        sources=tuple(
            f"{source}#{field}"
            for source in dict.fromkeys(sources)
            for field in ("outcome.status", "outcome.reason")
        ),
    )


def _endings(episodes: Sequence[tuple[str, TrajectoryFacts]]) -> Iterable[Ending]:
    """By kind, the most frequent reason first; rare ones beyond `MAX_REASONS` together."""
    found: dict[EndingKind, dict[str, list[tuple[str, TrajectoryFacts]]]] = {}
    for name, episode in episodes:
        reasons = found.setdefault(ending_of(episode), {})
        reasons.setdefault(_pattern(episode), []).append((name, episode))
    for kind in ENDING_KINDS:
        alike = sorted(found.get(kind, {}).values(), key=len, reverse=True)
        for same in alike[:MAX_REASONS]:
            yield _ending(kind, one_line(same[0][1].reason or "", MAX_LABEL), same)
        if rest := [episode for same in alike[MAX_REASONS:] for episode in same]:
            yield _ending(kind, OTHER_REASONS, rest)


def _pattern(episode: TrajectoryFacts) -> str:
    """The reason without its numbers, so that two time-outs count as one reason."""
    if episode.status in ("success", "failure"):
        return ""
    return re.sub(r"\d+", "0", one_line(episode.reason or "", MAX_LABEL))


def _ending(kind: EndingKind, reason: str, alike: Sequence[tuple[str, TrajectoryFacts]]) -> Ending:
    run, first = alike[0]
    example = EpisodeExample(run=run, episode=first.trajectory_id, task=first.task_id)
    shown = "" if kind in ("success", "failure") else reason
    return Ending(kind=kind, reason=shown, num_episodes=len(alike), example=example)


def _judged(read: Callable[[TrajectoryFacts], int]) -> Callable[[TrajectoryFacts], bool | None]:
    def shows(episode: TrajectoryFacts) -> bool | None:
        judged = episode.num_judged_steps
        return read(episode) >= HALF * judged if judged else None

    return shows


# Whether an episode shows a sign; None where the episode does not record it.
_SHOWS: dict[Sign, Callable[[TrajectoryFacts], bool | None]] = {
    "invalid": _judged(lambda episode: episode.num_invalid_steps),
    "actionless": _judged(lambda episode: episode.num_actionless_steps),
    "repeated": _judged(lambda episode: episode.num_repeated_steps),
    "cut": lambda episode: None if episode.num_cut_steps is None else episode.num_cut_steps > 0,
}


def _count_sign(
    sign: Sign, failed: Sequence[TrajectoryFacts], succeeded: Sequence[TrajectoryFacts]
) -> SignCount:
    in_failed, in_success = (
        [shown for episode in episodes if (shown := _SHOWS[sign](episode)) is not None]
        for episodes in (failed, succeeded)
    )
    return SignCount(
        num_failed=sum(in_failed),
        num_failed_known=len(in_failed),
        num_success=sum(in_success),
        num_success_known=len(in_success),
    )
