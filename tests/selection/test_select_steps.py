from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import ConfigError, DataError, EndpointError, ModelError, RunError
from atlas.records import Annotation, Problem, Selection, Trajectory
from atlas.selection.select_steps import SelectConfig, select_steps
from atlas.store.record_files import read_records
from tests.conftest import make_trajectory
from tests.models.endpoints.chat_server import HTML_PAGE, Reply, completion, failure, serve
from tests.processes import wait_for
from tests.run_folders import selections_in, write_trajectories
from tests.selection.configs import new_selector, select_config
from tests.selection.oracle_answers import answer_of, good, num_allowed, number_in

TRAJECTORIES = [
    make_trajectory(num_steps, f"trajectory-{num_steps}", thought=f"I am number {num_steps}.")
    for num_steps in range(1, 13)
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_trajectories(tmp_path / "trajectories", TRAJECTORIES)


def asked_about(body: dict[str, Any]) -> str:
    """The trajectory that a request is about, by the number in its thoughts."""
    return f"trajectory-{number_in(body)}"


def oracle(url: str, **settings: Any) -> SelectConfig:
    return select_config(
        selector="oracle",
        base_url=url,
        **{"max_in_flight": 3, "max_retries": 0, "timeout_seconds": 5.0, **settings},
    )


def test_random_selection_never_exceeds_the_budget(run: Path, tmp_path: Path) -> None:
    manifest = select_steps(select_config(selector="random", ratio=0.3), run, tmp_path / "out")
    assert [len(selection.indices) for selection in selections_in(tmp_path / "out")] == [
        1,
        1,
        1,
        1,
        1,
        1,
        2,
        2,
        2,
        3,
        3,
        3,
    ]
    assert manifest.summary["selected_steps"] == 21
    assert manifest.summary["budget"] == "ratio 0.3, floor, at least 1"


def test_another_seed_draws_other_steps_and_a_larger_ratio_keeps_the_smaller_draw(
    run: Path, tmp_path: Path
) -> None:
    for name, settings in {"a": {}, "b": {"seed": 1}, "c": {"ratio": 0.6}}.items():
        select_steps(select_config(selector="random", **settings), run, tmp_path / name)
    a, b, c = (
        [selection.indices for selection in selections_in(tmp_path / name)] for name in "abc"
    )
    assert a != b
    assert all(small <= large for small, large in zip(a, c, strict=True))


def test_trajectories_of_one_length_get_draws_of_their_own(tmp_path: Path) -> None:
    run = write_trajectories(
        tmp_path / "run", [make_trajectory(20, f"t{index}") for index in range(10)]
    )
    select_steps(select_config(selector="random"), run, tmp_path / "out")
    assert len({selection.indices for selection in selections_in(tmp_path / "out")}) > 5


def test_all_says_that_the_ratio_was_not_used(run: Path, tmp_path: Path) -> None:
    manifest = select_steps(select_config(selector="all"), run, tmp_path / "out")
    assert manifest.summary["share"] == 1.0
    assert "the ratio of 0.3 was not used" in manifest.summary["budget"]


def test_a_complement_shares_no_step_with_its_selection_and_has_its_budget(
    run: Path, tmp_path: Path
) -> None:
    select_steps(select_config(selector="random", ratio=0.4), run, tmp_path / "chosen")
    manifest = select_steps(
        select_config(selector="complement", of=str(tmp_path / "chosen"), ratio=0.1),
        run,
        tmp_path / "rest",
    )
    for chosen, rest in zip(
        selections_in(tmp_path / "chosen"), selections_in(tmp_path / "rest"), strict=True
    ):
        assert not chosen.indices & rest.indices
        assert len(rest.indices) == min(chosen.budget, chosen.num_steps - len(chosen.indices))
    assert manifest.inputs["of"].path == "../chosen"


def test_a_complement_of_other_trajectories_is_refused(run: Path, tmp_path: Path) -> None:
    others = write_trajectories(tmp_path / "others", TRAJECTORIES[:3])
    select_steps(select_config(selector="random"), others, tmp_path / "chosen")
    with pytest.raises(RunError, match="made from other trajectories"):
        select_steps(
            select_config(selector="complement", of=str(tmp_path / "chosen")),
            run,
            tmp_path / "rest",
        )
    assert not (tmp_path / "rest").exists()


def test_a_complement_inherits_the_problems_of_its_selection(run: Path, tmp_path: Path) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return (
            completion(None, refusal="no")
            if asked_about(body) == "trajectory-5"
            else good(body, number)
        )

    with serve(answer) as server:
        select_steps(oracle(server.url), run, tmp_path / "chosen")
    manifest = select_steps(
        select_config(selector="complement", of=str(tmp_path / "chosen")), run, tmp_path / "rest"
    )
    assert manifest.summary["problems"] == 1
    [problem] = read_records(tmp_path / "rest" / "problems.jsonl", Problem)
    assert (problem.item, problem.reason) == (
        "trajectory-5",
        "the other selection has a problem: refused: no",
    )


def annotate(trajectory: Trajectory, scores: list[float | None]) -> Trajectory:
    """A kind and a score on each step, no kind where the score is None."""
    steps = tuple(
        step.model_copy(
            update={
                "annotation": Annotation(
                    kinds=() if score is None else ("critical_action",), score=score or 0.0
                )
            }
        )
        for step, score in zip(trajectory.steps, scores, strict=True)
    )
    return trajectory.model_copy(update={"steps": steps})


def test_annotated_takes_the_highest_scores_the_earlier_of_equals_and_only_steps_with_a_kind(
    tmp_path: Path,
) -> None:
    trajectory = annotate(make_trajectory(6), [1.0, 3.0, None, 2.0, 2.0, None])
    run = write_trajectories(tmp_path / "run", [trajectory, make_trajectory(2, "plain")])
    manifest = select_steps(select_config(ratio=0.35), run, tmp_path / "two")
    select_steps(select_config(ratio=1.0), run, tmp_path / "as many as there are")
    assert selections_in(tmp_path / "two")[0].indices == {1, 3}
    assert selections_in(tmp_path / "as many as there are")[0].indices == {0, 1, 3, 4}
    assert manifest.summary["problems"] == 1
    assert "no step is annotated" in (selections_in(tmp_path / "two")[1].problem or "")


def test_a_run_that_selects_nothing_at_all_is_an_error(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no step is annotated"):
        select_steps(select_config(selector="annotated"), run, tmp_path / "out")


def test_rules_find_the_plan_the_correction_and_the_reward() -> None:

    trajectory = make_trajectory(6, thought="I go on.")
    steps = list(trajectory.steps)
    steps[3] = steps[3].model_copy(
        update={
            "observation": (
                steps[3]
                .observation[0]
                .model_copy(update={"content": "The action is not recognized."}),
            )
        }
    )
    steps[5] = steps[5].model_copy(update={"reward": 1.0})
    selector = new_selector(select_config(selector="rules"))
    selection = selector.select(trajectory.model_copy(update={"steps": tuple(steps)}), 3)
    assert isinstance(selection, Selection)
    assert {step.index: step.kinds for step in selection.critical_steps} == {
        0: ("plan_creation",),
        3: ("self_correction",),
        5: ("critical_action",),
    }


def test_an_unknown_selector_is_named_with_the_nearest(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'random'"):
        select_steps(select_config(selector="randon"), run, tmp_path / "out")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"selector": "complement"}, r"of' is required \(a selection run; steps are drawn"),
        ({"selector": "random", "of": "x"}, "leave it out"),
        ({"ratio": 0}, "'ratio'"),
        ({"ratio": 1.5}, "'ratio'"),
        ({"selector": "oracle", "base_url": "127.0.0.1:8000"}, "http://"),
        ({"selector": "oracle", "base_url": "http://me:secret@host/v1"}, "api_key_variable"),
        ({"selector": "oracle", "base_url": "http://host/v1?key=secret"}, "api_key_variable"),
    ],
)
def test_settings_that_cannot_be_are_explained(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        select_config(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"base_url": "https://me:sk-very-secret@host/v1"},
        {"base_url": "me:sk-very-secret@host/v1"},
        {
            "selector": "excess-loss",
            "model": "m",
            "reference_model": "r",
            "reference_endpoint": {"base_url": "https://host/v1?key=sk-very-secret"},
        },
        {"api_key_variable": "sk-very-secret"},
        {"api_key_variable": "gsk_sk-very-secret".replace("-", "_")},
    ],
)
def test_a_secret_in_the_wrong_place_is_refused_and_not_repeated(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="configs are saved") as caught:
        select_config(**{"selector": "oracle", **values})
    assert "secret" not in str(caught.value).replace("may hold a secret", "")
    with pytest.raises(ConfigError):
        select_config("oracle", base_url="http://host/v1", api_key_variable="")


def test_a_finished_run_asks_nothing(run: Path, tmp_path: Path) -> None:
    with serve(good) as server:
        first = select_steps(oracle(server.url), run, tmp_path / "out")
        asked = len(server.requests)
        assert select_steps(oracle(server.url, max_in_flight=1), run, tmp_path / "out") == first
        assert len(server.requests) == asked == len(TRAJECTORIES)
    assert first.summary["usage"] == {"requests": 12, "input_tokens": 1200, "output_tokens": 84}
    assert first.summary["kinds"] == {"critical_action": 21}
    assert first.inputs["prompt"].digest


def test_trajectories_without_an_answer_are_asked_for_again_and_the_others_are_not(
    run: Path, tmp_path: Path
) -> None:
    broken = {"trajectory-3", "trajectory-8"}

    def answer(body: dict[str, Any], number: int) -> Reply:
        return failure(503) if asked_about(body) in broken else good(body, number)

    with serve(answer) as server:
        with pytest.raises(EndpointError, match="2 of 12 trajectories got no answer"):
            select_steps(oracle(server.url), run, tmp_path / "out")
        asked = len(server.requests)
        missing, broken = broken, set()
        select_steps(oracle(server.url), run, tmp_path / "out")
        assert sorted(map(asked_about, server.requests[asked:])) == sorted(missing)
    assert [selection.trajectory_id for selection in selections_in(tmp_path / "out")] == [
        trajectory.id for trajectory in TRAJECTORIES
    ]


@pytest.mark.parametrize("reply", [failure(500), HTML_PAGE], ids=["500", "html"])
def test_a_dead_endpoint_is_given_up_soon(reply: Reply, tmp_path: Path) -> None:
    run = write_trajectories(
        tmp_path / "trajectories", [make_trajectory(2, f"t{index}") for index in range(100)]
    )
    with serve(lambda body, number: reply) as server:
        with pytest.raises(EndpointError, match="in a row"):
            select_steps(oracle(server.url), run, tmp_path / "out")
        assert len(server.requests) < 12


def test_a_refused_key_stops_the_run(run: Path, tmp_path: Path) -> None:
    with (
        serve(lambda body, number: failure(401)) as server,
        pytest.raises(ModelError, match="OPENAI_API_KEY"),
    ):
        select_steps(oracle(server.url), run, tmp_path / "out")
    assert len(server.requests) <= 3


def test_a_model_that_answers_nothing_usable_is_given_up(tmp_path: Path) -> None:
    run = write_trajectories(
        tmp_path / "trajectories", [make_trajectory(2, f"t{index}") for index in range(100)]
    )
    with serve(lambda body, number: completion("I like trajectories.")) as server:
        with pytest.raises(ModelError, match="first 20 questions got no usable answer"):
            select_steps(oracle(server.url), run, tmp_path / "out")
        assert len(server.requests) <= 2 * 23


def test_unusable_answers_are_counted_over_all_processes_of_a_run(tmp_path: Path) -> None:
    run, out = (
        write_trajectories(
            tmp_path / "trajectories", [make_trajectory(2, f"t{index}") for index in range(100)]
        ),
        tmp_path / "out",
    )

    def stopping_after(count: int) -> Callable[[dict[str, Any], int], Reply]:
        return lambda body, number: (
            completion("I like trajectories.") if number < 2 * count else failure(401)
        )

    with serve(stopping_after(15)) as server, pytest.raises(ModelError, match="OPENAI_API_KEY"):
        select_steps(oracle(server.url, max_in_flight=1), run, out)
    with serve(stopping_after(100)) as server:
        # After a run was given up, its questions are asked again.
        for num_asked in (5, 25):
            with pytest.raises(ModelError, match="first 20 questions got no usable answer"):
                select_steps(oracle(server.url, max_in_flight=1), run, out)
            assert len(server.requests) == 2 * num_asked


def test_a_run_whose_earlier_process_got_usable_answers_is_not_given_up(tmp_path: Path) -> None:
    run, out = (
        write_trajectories(
            tmp_path / "trajectories", [make_trajectory(2, f"t{index}") for index in range(30)]
        ),
        tmp_path / "out",
    )
    with (
        serve(lambda body, number: good(body, number) if number < 3 else failure(401)) as server,
        pytest.raises(ModelError),
    ):
        select_steps(oracle(server.url, max_in_flight=1), run, out)
    with serve(lambda body, number: completion("I like trajectories.")) as server:
        manifest = select_steps(oracle(server.url), run, out)
    assert manifest.summary["problems"] == 27


def test_a_killed_run_goes_on_with_exactly_the_missing_trajectories(tmp_path: Path) -> None:
    trajectories = [
        make_trajectory(3, f"trajectory-{number}", thought=f"I am number {number}.")
        for number in range(30)
    ]
    run = write_trajectories(tmp_path / "trajectories", trajectories)
    out = tmp_path / "out"
    partial = out / "selections.jsonl.partial"

    with serve(lambda body, number: completion(answer_of([1]), delay=0.05)) as server:
        config = oracle(server.url, max_in_flight=2)
        script = (
            "from pathlib import Path; "
            "from atlas.selection.select_steps import SelectConfig, select_steps; "
            f"config = SelectConfig.model_validate_json({config.model_dump_json()!r}); "
            f"select_steps(config, Path({str(run)!r}), Path({str(out)!r}))"
        )
        process = subprocess.Popen([sys.executable, "-c", script])
        deadline = time.monotonic() + 60
        while not (partial.exists() and partial.read_bytes().count(b"\n") >= 8):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        # As if the last line had been torn.
        with partial.open("ab") as file:
            file.write(b'{"version":1,"trajectory_id":"trajectory-2')
        safe = [
            Selection.model_validate_json(line).trajectory_id
            for line in partial.read_bytes().splitlines()[:-1]
        ]
        time.sleep(0.2)
        asked = len(server.requests)
        assert 8 <= len(safe) < 30
        select_steps(config, run, out)
        again = Counter(map(asked_about, server.requests[asked:]))
    assert again == Counter({trajectory.id for trajectory in trajectories} - set(safe))
    assert [selection.trajectory_id for selection in selections_in(out)] == [
        trajectory.id for trajectory in trajectories
    ]
    assert not partial.exists()


def test_the_key_is_in_no_file_of_the_run(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sk-very-secret-0123456789"
    monkeypatch.setenv("OPENAI_API_KEY", key)

    def answer(body: dict[str, Any], number: int) -> Reply:
        name = asked_about(body)
        if name == "trajectory-2":
            return failure(400, f"bad request with {key}")
        if name == "trajectory-4":
            return completion(None, refusal=f"not with {key}")
        if name == "trajectory-6":
            return completion(f"no JSON but {key}")
        return completion(answer_of(range(num_allowed(body)), reason=f"I saw {key}"))

    with serve(answer) as server:
        manifest = select_steps(oracle(server.url), run, tmp_path / "out")
    assert set(server.authorizations) == {f"Bearer {key}"}
    assert manifest.summary["problems"] == 3
    for file in (tmp_path / "out").iterdir():
        assert key not in file.read_text()


def test_selection_works_where_an_event_loop_runs_already(run: Path, tmp_path: Path) -> None:
    import asyncio

    async def notebook_cell() -> int:
        return select_steps(select_config(selector="random"), run, tmp_path / "out").summary[
            "selected_steps"
        ]

    assert asyncio.run(notebook_cell()) == 21


def test_ctrl_c_in_a_notebook_ends_the_asking(run: Path, tmp_path: Path) -> None:
    cell = """
import asyncio, pathlib, sys
from atlas.selection.select_steps import SelectConfig, select_steps

async def cell():
    endpoint = {"base_url": sys.argv[1], "max_in_flight": 1}
    config = SelectConfig(selector={"name": "oracle", "model": "judge", "endpoint": endpoint})
    select_steps(config, *map(pathlib.Path, sys.argv[2:]))

try:
    asyncio.new_event_loop().run_until_complete(cell())
except KeyboardInterrupt:
    print("interrupted")
"""
    with serve(lambda body, number: completion(answer_of(range(1)), delay=0.3)) as server:
        cell_process = subprocess.Popen(
            [sys.executable, "-c", cell, server.url, run, tmp_path / "out"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while len(server.requests) < 2:
            time.sleep(0.01)
        cell_process.send_signal(signal.SIGINT)
        said = wait_for(cell_process)
    assert said == ("interrupted\n", "")
    assert len(server.requests) == 2


def test_selecting_does_not_import_the_client_of_the_oracle() -> None:
    modules = "atlas.selection.select_steps, atlas.selection.selectors.oracle"
    script = (
        f"import sys, {modules}; sys.exit('inspect_ai' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], env={**os.environ}).returncode == 0
