"""Small results as other programs write them, one writer for each format of results."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

# What became of an attempt: whether it succeeded, or why it is invalid.
Ending = bool | str
CRASH, NAN = "crash", "nan"
SAID = "the sandbox <b>broke</b>"
Attempts = Sequence[tuple[str, Ending]]


def number_of(ending: Ending) -> float:
    return float("nan") if ending == NAN else float(ending is True)


def inspect_header(model: str, name: str, **changes: Any) -> dict[str, Any]:
    evaluated = {"eval_id": f"id-{model}-{name}", "task": "sums", "model": model, "packages": {}}
    return {"version": 2, "status": "success", "eval": evaluated | changes, "plan": {}}


def inspect_rows(attempts: Attempts) -> list[dict[str, Any]]:
    seen: dict[str, int] = {}
    rows = []
    for task, ending in attempts:
        seen[task] = seen.get(task, 0) + 1
        value: Any = float("nan") if ending == NAN else "C" if ending is True else "I"
        row: dict[str, Any] = {"id": task, "epoch": seen[task], "input": f"of {task}"}
        row["target"] = "yes"
        row |= {"error": SAID} if ending == CRASH else {"scores": {"match": {"value": value}}}
        rows.append(row)
    return rows


def write_inspect(folder: Path, model: str, attempts: Attempts) -> Path:
    path = folder / f"{model}.eval"
    write_archive(path, inspect_header(model, "a"), inspect_rows(attempts))
    return path


def write_archive(path: Path, header: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("_journal/start.json", json.dumps({"version": 2}))
        archive.writestr("summaries.json", json.dumps(rows))
        archive.writestr("header.json", json.dumps(header))


def write_inspect_json(folder: Path, model: str, attempts: Attempts) -> Path:
    path = folder / f"{model}.json"
    rows = [
        {**row, "error": {"message": row["error"]}} if "error" in row else row
        for row in inspect_rows(attempts)
    ]
    path.write_text(json.dumps({**inspect_header(model, "a"), "samples": rows}, indent=1))
    return path


def write_harbor(folder: Path, model: str, attempts: Attempts) -> Path:
    job = folder / model
    job.mkdir()
    done = {"n_total_trials": len(attempts), "stats": {}, "finished_at": "2026-11-01"}
    (job / "result.json").write_text(json.dumps(done))
    (job / "config.json").write_text("{}")
    for number, (task, ending) in enumerate(attempts):
        trial = job / f"trial__{number:04}"
        (trial / "agent").mkdir(parents=True)
        (trial / "config.json").write_text("{}")
        (trial / "agent" / "trajectory.json").write_text('{"steps": []}')
        raised = {"exception_type": "RuntimeError", "exception_message": SAID}
        verified = {"rewards": {"reward": number_of(ending)}}
        result = {
            "task_name": task,
            "trial_name": trial.name,
            "source": "sums",
            "task_checksum": f"sum of {task}",
            "agent_info": {"name": "terminus", "version": "2", "model_info": {"name": model}},
            "verifier_result": None if ending == CRASH else verified,
            "exception_info": raised if ending == CRASH else None,
        }
        (trial / "result.json").write_text(json.dumps(result))
    return job


def write_verifiers(folder: Path, model: str, attempts: Attempts) -> Path:
    run = folder / model
    run.mkdir()
    metadata = {"env_id": "sums", "model": model, "pass_threshold": 0.5}
    (run / "metadata.json").write_text(json.dumps(metadata))
    rows = [
        {
            "example_id": task,
            "prompt": [{"role": "user", "content": f"of {task}"}],
            "completion": [{"role": "assistant", "content": "\u2028"}],
            "reward": 0.0 if ending == CRASH else number_of(ending),
            "metrics": {"format": 1.0},
            "error": {"error": "RuntimeError", "message": SAID} if ending == CRASH else None,
        }
        for task, ending in attempts
    ]
    write_lines(run / "results.jsonl", rows)
    return run


def write_lm_eval(folder: Path, model: str, attempts: Attempts) -> Path:
    run = folder / model
    run.mkdir()
    rows = [
        {
            "doc_id": task,
            "doc": {"q": task},
            "target": "yes",
            "filtered_resps": ["x"],
            "filter": "none",
            "metrics": ["acc"],
            "doc_hash": f"hash of {task}",
            **({} if ending == CRASH else {"acc": number_of(ending)}),
        }
        for task, ending in attempts
    ]
    write_lines(run / "samples_sums_2026-11-30T10-00-00.123456.jsonl", rows)
    results = {"model_name": model, "config": {}, "n-shot": {"sums": 0}}
    (run / "results_2026-11-30T10-00-00.123456.json").write_text(json.dumps(results))
    return run


def write_tau(folder: Path, model: str, attempts: Attempts) -> Path:
    path = folder / f"{model}.json"
    system = {"role": "system", "content": "# Airline agent policy"}
    rows = [
        {
            "task_id": task,
            "reward": 0.0 if ending == CRASH else number_of(ending),
            "info": {"task": {"instruction": task}} | ({"error": SAID} if ending == CRASH else {}),
            "traj": [] if ending == CRASH else [system, {"role": "assistant", "content": "hi"}],
        }
        for task, ending in attempts
    ]
    path.write_text(json.dumps(rows))
    return path


def write_tau2(folder: Path, model: str, attempts: Attempts) -> Path:
    path = folder / f"{model}.json"
    simulations = [
        {
            "task_id": task,
            "termination_reason": "infrastructure_error" if ending == CRASH else "user_stop",
            "reward_info": {"reward": number_of(ending)},
            "messages": [{"role": "assistant", "content": "hi"}],
        }
        for task, ending in attempts
    ]
    info = {"environment_info": {"domain_name": "airline"}, "agent_info": {"llm": model}}
    tasks = [{"id": task, "user_scenario": {"instructions": task}} for task, _ in attempts]
    path.write_text(json.dumps({"info": info, "tasks": tasks, "simulations": simulations}))
    return path


def write_table(folder: Path, model: str, attempts: Attempts) -> Path:
    """The repetitions are numbered: without a number, a task that comes twice is refused."""
    path = folder / f"{model}.csv"
    seen: dict[str, int] = {}
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["task", "success", "repetition", "status", "reason"])
        for task, ending in attempts:
            seen[task] = seen.get(task, 0) + 1
            broke = ["error", SAID] if ending == CRASH else ["", ""]
            said = "" if ending == CRASH else ending if ending == NAN else str(ending).lower()
            writer.writerow([task, said, seen[task], *broke])
    return path


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


WRITERS: dict[str, tuple[str, Callable[[Path, str, Attempts], Path]]] = {
    "inspect": ("inspect", write_inspect),
    "inspect_json": ("inspect", write_inspect_json),
    "harbor": ("harbor", write_harbor),
    "verifiers": ("verifiers", write_verifiers),
    "lm_eval": ("lm_eval", write_lm_eval),
    "tau": ("tau", write_tau),
    "tau2": ("tau", write_tau2),
    "table": ("table", write_table),
}
# Formats in which a task stands once.
WITHOUT_REPETITIONS = ("lm_eval",)
