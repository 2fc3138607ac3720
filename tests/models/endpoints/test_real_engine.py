"""A real engine, vLLM, serves the shipped base model, and the endpoint player plays with it.

It runs only where ATLAS_VLLM_URL names such a server (`.../v1`) that serves recipes/base/model as
`m`, for instance by:

    vllm serve recipes/base/model --served-model-name m --dtype float32 --max-model-len 4096
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from atlas.environments.base import ENVIRONMENT
from atlas.environments.checked import list_tasks
from atlas.environments.episode import Episode
from atlas.environments.play import Opening, play_episodes
from atlas.environments.worlds import Worlds
from atlas.kinds import Choice
from atlas.models.players import PLAYER
from atlas.records import Source

BASE = Path(__file__).resolve().parents[3] / "recipes" / "base" / "model"
URL = os.environ.get("ATLAS_VLLM_URL")


def episodes(player: Choice, model: str, count: int) -> dict[str, Episode]:
    environment = Choice("babyai", {"max_steps": 6})
    tasks = list_tasks(ENVIRONMENT.make(environment), "held_in_test", count, 0)
    openings = [Opening(task.id, task, Source(name="evaluate", details={})) for task in tasks]
    made = PLAYER.make(player, model, 0)
    try:
        with Worlds.of(environment, count) as worlds:
            return dict(play_episodes(openings, worlds, made))
    finally:
        made.end()


@pytest.mark.slow
@pytest.mark.skipif(URL is None, reason="ATLAS_VLLM_URL names no server of the base model")
def test_a_served_model_plays_the_episodes_that_the_local_player_plays() -> None:
    endpoint = {"base_url": URL, "max_in_flight": 16}
    served = episodes(Choice("endpoint", {"endpoint": endpoint, "max_tokens": 48}), "m", 16)
    own = episodes(Choice("local", {"max_new_tokens": 48, "precision": "fp32"}), str(BASE), 16)
    said = {name: [step.response for step in episode.steps] for name, episode in own.items()}
    same = sum(
        [step.response for step in episode.steps] == said[name] for name, episode in served.items()
    )
    assert {episode.trajectory.outcome.status for episode in served.values()} <= {
        "success",
        "failure",
        "truncated",
    }
    # Rounding may choose another token in a few.
    assert same >= 13, f"{same} of 16 episodes are the same"
