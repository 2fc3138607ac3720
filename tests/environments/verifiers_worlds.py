"""Small environments of verifiers: the lamp by text, and a sum by a tool."""

from __future__ import annotations

import random
from typing import Any

import verifiers.legacy as verifiers
from datasets import Dataset


def lamp_rows(first: int, number: int) -> Dataset:
    rows = []
    for seed in range(first, first + number):
        rng = random.Random(f"lamp {seed}")
        goal, away = rng.randrange(1000, 99_000), rng.randint(1, 3)
        question = f"The lamp shows {goal + away}, bring it to {goal}. Say up or down."
        rows.append({"question": question, "answer": str(goal), "info": {"start": goal + away}})
    return Dataset.from_list(rows)


class LampEnv(verifiers.MultiTurnEnv):
    async def setup_state(self, state: Any) -> Any:
        state["number"] = state["info"]["start"]
        return state

    async def env_response(self, messages: Any, state: Any, **more: Any) -> Any:
        word = (messages[-1].content or "").strip()
        if word == "crash":
            raise verifiers.InfraError("the lamp is broken")
        if word not in ("up", "down"):
            return [{"role": "user", "content": "Say up or down."}]
        state["number"] += 1 if word == "up" else -1
        seen = [{"role": "user", "content": f"It shows {state['number']}."}]
        if state["number"] == int(state["answer"]):
            state["final_env_response"] = seen
        return seen


def is_there(state: Any, answer: str) -> float:
    return float(state["number"] == int(answer))


def make_lamp(max_turns: int = 8) -> LampEnv:
    return LampEnv(
        dataset=lamp_rows(0, 60),
        # The first ten are training rows.
        eval_dataset=lamp_rows(50, 30),
        system_prompt="Mind the lamp.",
        rubric=verifiers.Rubric(funcs=[is_there]),
        max_turns=max_turns,
    )


def add(first: int, second: int) -> int:
    """Add two numbers."""
    return first + second


async def is_right(completion: Any, answer: str) -> float:
    return 0.5 * (answer in (completion[-1].content or ""))


def make_sum() -> verifiers.ToolEnv:
    rows = [{"question": f"What is {n} + {2 * n}?", "answer": str(3 * n)} for n in range(100, 120)]
    return verifiers.ToolEnv(
        tools=[add],
        dataset=Dataset.from_list(rows),
        rubric=verifiers.Rubric(funcs=[is_right]),
        max_turns=4,
    )


class ForgetfulEnv(LampEnv):
    async def get_prompt_messages(self, state: Any) -> Any:
        messages = await super().get_prompt_messages(state)
        return messages[-1:] if state["trajectory"] else messages


def make_forgetful() -> ForgetfulEnv:
    return ForgetfulEnv(dataset=lamp_rows(0, 5), rubric=verifiers.Rubric(funcs=[is_there]))


def make_with_examples() -> LampEnv:
    shot = [{"role": "user", "content": "2 to 3."}, {"role": "assistant", "content": "up"}]
    return LampEnv(
        dataset=lamp_rows(0, 5), few_shot=shot, rubric=verifiers.Rubric(funcs=[is_there])
    )


class LeavingEnv(LampEnv):
    async def env_response(self, messages: Any, state: Any, **more: Any) -> Any:
        raise SystemExit(3)


def make_leaving() -> LeavingEnv:
    return LeavingEnv(dataset=lamp_rows(0, 5), rubric=verifiers.Rubric(funcs=[is_there]))


def make_for_evaluation_only() -> LampEnv:
    return LampEnv(eval_dataset=lamp_rows(0, 5), rubric=verifiers.Rubric(funcs=[is_there]))


async def ask_absent_judge(completion: Any) -> float:
    raise TimeoutError("the judge does not answer")


def make_judged() -> LampEnv:
    rubrics = [verifiers.Rubric(funcs=[is_there]), verifiers.Rubric(funcs=[ask_absent_judge])]
    return LampEnv(
        dataset=lamp_rows(0, 5), rubric=verifiers.RubricGroup(rubrics=rubrics), max_turns=1
    )
