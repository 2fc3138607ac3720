"""What was paid for is kept: unusable answers, who gave them, and counts that nobody reported."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from atlas.cli.closing_lines import tell
from atlas.errors import DataError, ModelError
from atlas.models.payments import Payment
from atlas.records import Usage
from atlas.selection.judging.transcript import disarm_tokens
from atlas.selection.select_steps import select_steps
from atlas.selection.unusable_answers import UnusableAnswer
from atlas.store.record_files import read_records
from atlas.store.run_folders import read_manifest
from tests.models.endpoints.chat_server import Reply, completion, failure, serve
from tests.run_folders import selections_in
from tests.selection.configs import select_config
from tests.selection.oracle_answers import good, number_in, write_numbered


def oracle(url: str, **settings: Any) -> Any:
    return select_config("oracle", model="judge", base_url=url, **{"max_retries": 0, **settings})


def with_usage(reply: Reply, usage: Any, model: Any = "judge-2026") -> Reply:
    body = json.loads(reply.body) | {"usage": usage, "model": model}
    return Reply(json.dumps(body))


def test_unusable_answers_are_in_a_file_that_the_problem_names(tmp_path: Path) -> None:
    run, out = write_numbered(tmp_path / "run", 4), tmp_path / "out"

    def answer(body: dict[str, Any], number: int) -> Reply:
        said = "I \ud800 like step 1 <|im_end|>" if len(body["messages"]) == 2 else "no"
        return completion(said) if number_in(body) == 2 else good(body)

    with serve(answer) as server:
        manifest = select_steps(oracle(server.url, max_in_flight=1), run, out)
    kept = list(read_records(out / "unusable.jsonl", UnusableAnswer))
    assert [(one.trajectory_id, one.attempt, one.answer) for one in kept] == [
        ("t2", 1, "I ? like step 1 <|im_end|>"),
        ("t2", 2, "no"),
    ]
    assert {one.model for one in kept} == {"test"}
    assert "unusable.jsonl" in str(selections_in(out)[2].problem)
    assert "unusable.jsonl" in manifest.outputs
    [second] = [body for body in server.requests if len(body["messages"]) == 4]
    assert second["messages"][2]["content"] == disarm_tokens("I \ud800 like step 1 <|im_end|>")


def test_a_run_without_unusable_answers_has_no_such_file(tmp_path: Path) -> None:
    run, out = write_numbered(tmp_path / "run", 2), tmp_path / "out"
    with serve(good) as server:
        select_steps(oracle(server.url), run, out)
    assert not list(out.glob("unusable*"))


@pytest.mark.parametrize("num_trajectories", [3, 30])
def test_a_run_without_any_usable_answer_can_be_gone_on_with(
    num_trajectories: int, tmp_path: Path
) -> None:
    run, out = write_numbered(tmp_path / "run", num_trajectories), tmp_path / "out"
    config: Any = None
    with serve(lambda body, number: completion("no")) as server:
        config = oracle(server.url)
        for _ in range(2):
            with pytest.raises((ModelError, DataError), match=r"unusable\.jsonl\.partial"):
                select_steps(config, run, out)
        paid = len(server.requests)
    with serve(good) as server:
        manifest = select_steps(oracle(server.url), run, out)
        assert sorted(map(number_in, server.requests)) == list(range(num_trajectories))
    assert (manifest.summary["problems"], manifest.status) == (0, "finished")
    assert manifest.summary["usage"]["requests"] == paid + num_trajectories


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 10**400, "completion_tokens": 10**400},
        {"prompt_tokens": 100},
        {"prompt_tokens": -5, "completion_tokens": 3},
        {"prompt_tokens": "100", "completion_tokens": 1.5},
        {"prompt_tokens": float("nan"), "completion_tokens": float("inf")},
        None,
        [1, 2],
    ],
    ids=str,
)
def test_usage_that_nobody_can_believe_is_estimated_high_and_said(
    usage: Any, tmp_path: Path
) -> None:
    run, out = write_numbered(tmp_path / "run", 3), tmp_path / "out"
    (tmp_path / "prices.yaml").write_text("judge: {input: 1000000, output: 1000000}\n")
    prices = str(tmp_path / "prices.yaml")
    with serve(lambda body, number: with_usage(good(body), usage)) as server:
        manifest = select_steps(oracle(server.url, prices=prices), run, out)
        assert manifest == read_manifest(out)
        chars = sum(
            len(message["content"]) for body in server.requests for message in body["messages"]
        )
        [paid] = read_records(out / "spent.jsonl", Payment)
        assert manifest.summary["usage_estimated_for"] == paid.estimated == 3
        assert manifest.summary["answered_by"] == {"judge-2026": 3}
        told = [usage.get("prompt_tokens")] if isinstance(usage, dict) else []
        if told != [100]:
            assert chars / 4 < paid.input_tokens <= chars
        assert paid.output_tokens > 0
        with pytest.raises(ModelError, match="max_cost_usd=5e\\+09 cannot be held"):
            select_steps(
                oracle(server.url, prices=prices, max_cost_usd=5e9), run, tmp_path / "other"
            )


@pytest.mark.parametrize("is_mended", [True, False])
def test_answers_that_cannot_be_read_are_paid_for_as_the_server_says(
    is_mended: bool, tmp_path: Path
) -> None:
    run, out = write_numbered(tmp_path / "run", 2), tmp_path / "out"
    seen: Counter[int] = Counter()

    def answer(body: dict[str, Any], number: int) -> Reply:
        seen[number_in(body)] += 1
        reply = with_usage(good(body), {"prompt_tokens": 10, "completion_tokens": 3})
        if number_in(body) == 0 and (seen[0] < 3 or not is_mended):
            return Reply(json.dumps(json.loads(reply.body) | {"choices": []}))
        return reply

    with serve(answer) as server:
        config = oracle(server.url, max_retries=2, accept_unanswered=True)
        manifest = select_steps(config, run, out)
    # Two unreadable answers and a good one, or three unreadable ones.
    assert (
        manifest.summary["usage"]
        == Usage(requests=4, input_tokens=40, output_tokens=12).model_dump()
    )
    assert manifest.summary["problems"] == (0 if is_mended else 1)
    assert len(server.requests) == 4


def test_with_a_cache_the_next_step_after_unusable_answers_is_to_leave_it_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run, out = write_numbered(tmp_path / "run", 3), tmp_path / "out"
    with serve(lambda body, number: completion("no")) as server:
        url = server.url
        with pytest.raises(DataError, match="cache=false"):
            select_steps(oracle(url, cache=True), run, out)
    with serve(good) as server:
        assert select_steps(oracle(server.url), run, out).summary["problems"] == 0


def test_names_of_models_are_counted_and_their_number_is_bounded(tmp_path: Path) -> None:
    run, out = write_numbered(tmp_path / "run", 30), tmp_path / "out"

    def answer(body: dict[str, Any], number: int) -> Reply:
        usage = {"prompt_tokens": 10, "completion_tokens": 10}
        name = f"\x1b[31mmodel {number_in(body)}" * 50 if number_in(body) > 4 else "model 0"
        return with_usage(good(body), usage, name)

    with serve(answer) as server:
        manifest = select_steps(oracle(server.url), run, out)
    names = manifest.summary["answered_by"]
    assert sum(names.values()) == 30
    assert len(names) <= 21
    assert names["model 0"] == 5
    assert all(len(name) <= 100 and name.isprintable() for name in names)


def test_the_closing_lines_name_the_model_that_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = write_numbered(tmp_path / "run", 3), tmp_path / "out"
    usage = {"prompt_tokens": 10, "completion_tokens": 10}
    with serve(lambda body, number: with_usage(good(body), usage)) as server:
        tell(select_steps(oracle(server.url), run, out), out)
    said = capsys.readouterr().out
    assert "model:     judge, answered by judge-2026 (3 answers)" in said
    assert said.count("judge-2026") == 1


def test_a_refused_request_is_no_payment_that_must_be_estimated(tmp_path: Path) -> None:
    run, out = write_numbered(tmp_path / "run", 3), tmp_path / "out"

    def answer(body: dict[str, Any], number: int) -> Reply:
        return failure(400, "too long") if number_in(body) == 1 else good(body)

    with serve(answer) as server:
        manifest = select_steps(oracle(server.url, structured=False), run, out)
    assert "usage_estimated_for" not in manifest.summary
