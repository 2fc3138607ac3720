"""Stages over several processes or a Ray cluster: the same bytes as in one process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atlas.evaluation.evaluate_agent import EvaluateConfig, evaluate_agent
from atlas.kinds import Choice
from atlas.selection.select_steps import SelectConfig, select_steps
from atlas.trajectories.collect_experts import CollectConfig, collect_experts

PUSH = Choice("tests.environments.push:PushEnvironment")
PLAYER = Choice("tests.evaluation.constant_player:PushPlayer")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    cluster.add_node(num_cpus=1)
    yield cluster.address
    cluster.shutdown()


def run_stages(folder: Path, workers: dict[str, Any], selector: Choice) -> list[bytes]:
    """The files of collect, select and evaluate."""
    collect_experts(
        CollectConfig.model_validate({"environment": PUSH, "episodes": 40} | workers),
        folder / "collected",
    )
    select_steps(
        SelectConfig.model_validate({"selector": selector, "seed": 3} | workers),
        folder / "collected",
        folder / "selected",
    )
    evaluate_agent(
        EvaluateConfig.model_validate(
            {"model": "m", "environment": PUSH, "player": PLAYER, "episodes": 20, "worlds": 4}
            | workers
        ),
        folder / "played",
    )
    files = ("collected/trajectories.jsonl", "selected/selections.jsonl", "played/episodes.jsonl")
    return [(folder / name).read_bytes() for name in files]


@pytest.mark.parametrize("selector", [Choice("random"), Choice("rules")], ids=lambda one: one.name)
def test_two_processes_write_the_same_bytes_as_one(tmp_path: Path, selector: Choice) -> None:
    one = run_stages(tmp_path / "one", {"workers": 1}, selector)
    assert run_stages(tmp_path / "two", {"workers": 2}, selector) == one


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_writes_the_same_bytes_as_one_process(tmp_path: Path, address: str) -> None:
    one = run_stages(tmp_path / "one", {"workers": 1}, Choice("random"))
    cluster = {"workers": "ray", "ray": {"address": address}}
    assert run_stages(tmp_path / "cluster", cluster, Choice("random")) == one
