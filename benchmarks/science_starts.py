"""Which test variations of ScienceWorld begin with the same text as a training variation.

    python benchmarks/science_starts.py find-animal lifespan-longest-lived

The table SAME_START of `atlas.environments.scienceworld.tasks` holds what it prints. It takes about
a quarter of a second per variation.
"""

from __future__ import annotations

import argparse

from atlas.environments.scienceworld.game import ScienceGame
from atlas.environments.scienceworld.tasks import VARIATIONS


def same_starts(game: ScienceGame, kind: str, size: int) -> list[int]:
    """The variations of the last quarter whose first text is one of the first half."""

    def start(variation: int) -> str:
        text = game.start(kind, variation, "").text
        return f"{game.task}\n{text}"

    train = {start(variation) for variation in range(size // 4 * 2)}
    return [variation for variation in range(size // 4 * 3, size) if start(variation) in train]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="+", choices=list(VARIATIONS))
    game = ScienceGame()
    try:
        for kind in parser.parse_args().kinds:
            found = same_starts(game, kind, VARIATIONS[kind])
            num_tests = VARIATIONS[kind] - VARIATIONS[kind] // 4 * 3
            print(f"{kind}: {len(found)} of {num_tests}: {found}", flush=True)
    finally:
        game.close()


if __name__ == "__main__":
    main()
