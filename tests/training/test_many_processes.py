"""`atlas train` under torchrun: two gloo processes on one machine end as one process does."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.store.run_folders import read_manifest
from tests.processes import wait_for
from tests.training.launched_runs import (
    NO_THREADS,
    OBJECTIVE,
    finish,
    free_port,
    kill_a_rank_after_a_state,
    largest_difference,
    losses,
    make_inputs,
    rows,
    start,
    train_here,
    weights,
)


@pytest.fixture(scope="module")
def inputs(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return make_inputs(tiny_model_folder, tmp_path_factory.mktemp("inputs"))


def test_two_processes_train_to_the_losses_and_weights_of_one_and_print_once(
    inputs: list[str], tmp_path: Path
) -> None:
    settings = ("held_out=0.4", "held_out_every=2", "epochs=12")
    together = start(inputs, tmp_path / "two", 2, *settings)
    train_here(inputs, tmp_path / "one", *settings)
    output, errors = finish(together)
    assert output.count("\nout:") == 1
    assert errors.count(NO_THREADS) == 2
    assert len(losses(tmp_path / "two")) >= 10
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
    one, two = (weights(tmp_path / name) for name in ("one", "two"))
    assert largest_difference(one, two) < 1e-4
    alone_held, together_held = (
        [
            (row["step"], row["held_out_loss"])
            for row in rows(tmp_path / name)
            if "held_out_loss" in row
        ]
        for name in ("one", "two")
    )
    assert alone_held[-1][1] < alone_held[0][1]
    assert [step for step, _ in together_held] == [step for step, _ in alone_held]
    assert dict(together_held) == pytest.approx(dict(alone_held), rel=1e-4)


@pytest.mark.slow
def test_a_mistake_is_said_once_and_ends_all(inputs: list[str], tmp_path: Path) -> None:
    process = start(inputs, tmp_path / "run", 2, "batch_size=1")
    output, errors = wait_for(process)
    assert process.returncode != 0
    assert output == ""
    assert (
        errors.count(
            "error: batch_size=1 counts the trajectories of an optimizer step over all 2 processes"
        )
        == 1
    )


@pytest.mark.slow
def test_an_error_in_the_middle_leaves_no_threads(inputs: list[str], tmp_path: Path) -> None:
    process = start(inputs, tmp_path / "run", 2, "learning_rate=1e30", "max_grad_norm=1e30")
    output, errors = wait_for(process)
    assert process.returncode != 0
    assert output == ""
    assert "error: training has diverged" in errors
    assert NO_THREADS in errors


@pytest.mark.slow
def test_a_killed_rank_ends_all_and_the_run_goes_on_to_the_same_losses(
    inputs: list[str], tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(inputs, whole, 2, "epochs=40"))
    process = start(inputs, killed, 2, "epochs=40")
    kill_a_rank_after_a_state(process, killed)
    finish(start(inputs, killed, 2, "epochs=40"))
    assert losses(killed) == losses(whole)
    written = (killed / "manifest.json").stat().st_mtime_ns
    finish(start(inputs, killed, 2, "epochs=40"))
    assert (killed / "manifest.json").stat().st_mtime_ns == written, (
        "all processes pass over a finished run"
    )


@pytest.mark.slow
def test_two_nodes_on_one_machine_train_as_two_processes_do(
    inputs: list[str], tmp_path: Path
) -> None:
    """Two agents of torchrun with one process each, which find each other on the loopback."""
    settings = (OBJECTIVE, "kl_weight=0.5", "epochs=2")
    finish(start(inputs, tmp_path / "two", 2, *settings))
    address = ("--rdzv-endpoint", f"127.0.0.1:{free_port()}", "--local-addr", "127.0.0.1")
    node = ("--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-id", "atlas", *address)
    nodes = [start(inputs, tmp_path / "nodes", 1, *settings, launcher=node) for _ in range(2)]
    printed = [finish(each)[0] for each in nodes]
    assert sum(output.count("\nout:") for output in printed) == 1
    assert rows(tmp_path / "nodes") == rows(tmp_path / "two")
    assert largest_difference(weights(tmp_path / "nodes"), weights(tmp_path / "two")) == 0


@pytest.mark.slow
def test_what_an_objective_silences_is_counted_over_ranks_and_across_a_resume(
    inputs: list[str], tmp_path: Path
) -> None:
    settings = ("objective=dft", "log_every=2", "save_every=3", "epochs=20", "learning_rate=1e-2")
    one, whole, killed = (tmp_path / name for name in ("one", "whole", "killed"))
    finish(start(inputs, one, 1, *settings))
    finish(start(inputs, whole, 2, *settings))
    kill_a_rank_after_a_state(start(inputs, killed, 2, *settings), killed)
    finish(start(inputs, killed, 2, *settings))
    assert (killed / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    alone, together = (read_manifest(run).summary for run in (one, whole))
    names = {name for name in alone if name.startswith("silenced")} | {"mean_factor"}
    assert 0 < alone["silenced"] < 1
    for name in names:
        assert together[name] == pytest.approx(alone[name], abs=2e-3)
        assert read_manifest(killed).summary[name] == together[name]
    # A row counts the tokens since the row before it.
    silenced = [row["silenced"] for row in rows(whole)]
    assert silenced == pytest.approx([row["silenced"] for row in rows(one)], abs=2e-2)
    assert silenced[-1] < silenced[0]
