"""What a local and a served model have in common: tokens are counted alike, tools are called."""

from __future__ import annotations

import json
import shutil
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from atlas.config import check_config
from atlas.evaluation.evaluate_agent import EvaluateConfig, evaluate_agent
from atlas.evaluation.metrics import EpisodeMetrics
from atlas.records import Trajectory
from atlas.store.record_files import read_records
from tests.models.endpoints.chat_server import Reply, completion, serve
from tests.rendering.scripted_model import ScriptedModel
from tests.templates import TOOL_CALLING

PUSH = "tests.environments.push:PushEnvironment"
TOOLS = "tests.environments.push:ToolPushEnvironment"


def evaluate(out: Path, model: str, player: dict[str, Any], **changes: Any) -> EpisodeMetrics:
    values = {"model": model, "environment": PUSH, "episodes": 4, "player": player}
    evaluate_agent(check_config(EvaluateConfig, values | changes, "recipe"), out)
    return EpisodeMetrics.model_validate_json((out / "metrics.json").read_bytes())


def at(url: str, **settings: Any) -> dict[str, Any]:
    return {"name": "endpoint", "endpoint": {"base_url": url, "max_retries": 0}, **settings}


def test_both_players_count_the_same_tokens_as_the_tokenizer_does(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny_model_folder)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_folder)

    def answer(body: dict[str, Any], number: int) -> Reply:
        prompt = tokenizer.apply_chat_template(
            body["messages"], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        sent = prompt["input_ids"].shape[1]
        whole = model.generate(
            **prompt, max_new_tokens=body["max_tokens"], do_sample=False, pad_token_id=0
        )[0]
        text = tokenizer.decode(whole[sent:], skip_special_tokens=True)
        is_cut = int(whole[-1]) != tokenizer.eos_token_id
        finish = "length" if is_cut else "stop"
        return completion(text, finish_reason=finish, tokens=(sent, len(whole) - sent))

    local = {"name": "local", "precision": "fp32", "max_new_tokens": 5}
    world = {"name": PUSH, "max_steps": 1}
    with serve(answer) as server:
        served = evaluate(tmp_path / "served", "m", at(server.url, max_tokens=5), environment=world)
    own = evaluate(tmp_path / "own", str(tiny_model_folder), local, environment=world)
    assert own.mean_input_tokens == served.mean_input_tokens
    assert own.mean_output_tokens == served.mean_output_tokens
    assert own.mean_input_tokens.value > 20  # type: ignore[operator]
    assert own.cut_step_share == served.cut_step_share
    said = [
        [[step.response.content for step in episode.steps] for episode in episodes(tmp_path / name)]
        for name in ("own", "served")
    ]
    assert said[0] == said[1]


def episodes(out: Path) -> list[Trajectory]:
    return list(read_records(out / "episodes.jsonl", Trajectory))


def test_a_world_with_tools_is_played_by_native_calls_of_both_players(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoTokenizer

    shutil.copytree(tiny_model_folder, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_folder)
    (tmp_path / "model" / "chat_template.jinja").write_text(TOOL_CALLING)
    call = '<tool_call>{"name": "push", "arguments": {"force": 2}}</tool_call>'
    tokens = cycle(
        [*tokenizer(call, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    )

    class CallingModel(ScriptedModel):
        def __call__(self, **given: Any) -> Any:
            self.script = [next(tokens)]
            return super().__call__(**given)

    from atlas.models.local import decoders, local_player

    made = CallingModel(len(tokenizer), keeps_cache=False)
    monkeypatch.setattr(local_player, "load_model", lambda *_: made)
    single = decoders.SingleDecoder(made, keeps_cache=False)
    monkeypatch.setattr(decoders, "make_decoder", lambda *_: single)

    def answer(body: dict[str, Any], number: int) -> Reply:
        function = {"name": "push", "arguments": '{"force": 2}'}
        return completion(None, tool_calls=[{"id": f"c{number}", "function": function}])

    world = {"name": TOOLS, "strength": 2}
    local = {"name": "local", "precision": "fp32", "max_new_tokens": 200, "batch_size": 1}
    own = evaluate(tmp_path / "own", str(tmp_path / "model"), local, environment=world, worlds=1)
    with serve(answer) as server:
        served = evaluate(tmp_path / "served", "m", at(server.url), environment=world)
    assert own.success_rate.value == served.success_rate.value == 1.0
    for name in ("own", "served"):
        for episode in episodes(tmp_path / name):
            for step in episode.steps:
                [made_call] = step.response.tool_calls
                assert made_call.name == "push"
                assert json.loads(made_call.arguments) == {"force": 2}
            ids = [step.response.tool_calls[0].id for step in episode.steps]
            heard = [step.observation[0].tool_call_id for step in episode.steps[1:]]
            assert heard == ids[:-1]
    asked = max(server.requests, key=lambda body: len(body["messages"]))["messages"]
    assert [message["role"] for message in asked[2:4]] == ["assistant", "tool"]


@pytest.mark.parametrize("price", [None, {"m": {"input": 2.0, "output": 10.0}}])
def test_the_cost_of_a_run_is_known_where_the_price_is(
    price: dict[str, Any] | None, tmp_path: Path
) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(json.dumps(price or {}))
    with serve(lambda body, number: completion("push", tokens=(1_000, 100))) as server:
        evaluate(tmp_path / "run", "m", at(server.url, prices=str(file)), episodes=2)
    summary = json.loads((tmp_path / "run" / "manifest.json").read_text())["summary"]
    # Three answers: the tasks need one and two pushes.
    assert summary["usage"]["input_tokens"] == 3_000
    assert summary.get("cost_usd") == (pytest.approx(0.009) if price else None)
