"""Time and template calls of rendering a trajectory, by the number of its steps.

    python benchmarks/rendering.py --steps 10 100 1000 20000 --max-tokens 32768

Each row renders one trajectory with one of the templates in tests/chat_templates. In `chat` the
observations are user turns, in `calls` they are results of tools after one question; under
templates that write thinking, each response has some. Every third step is wanted. `characters` are
those that the template wrote in all calls, as a multiple of the text of the conversation.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from atlas.records import Message, Outcome, Source, Step, Task, ToolCall, Trajectory
from atlas.rendering.renderer import Renderer
from tests.template_families import FAMILIES, family_renderer

ROWS = (
    ("qwen2.5", "chat"),
    ("qwen2.5", "calls"),
    ("llama-2", "chat"),
    ("gemma-strict", "chat"),
    ("qwen3", "calls"),
    ("qwen3", "chat"),
    ("deepseek-r1", "chat"),
)
OBSERVATION = "You see a red ball, a green box and a door. " * 4
RESPONSE = "Thought: the ball is behind the door, so I open it first. Action: open door {}"


def make_trajectory(num_steps: int, kind: str, thinks: bool) -> Trajectory:
    """A trajectory of `num_steps` steps, about 70 words each."""
    steps = []
    for index in range(num_steps):
        has_call = kind == "calls"
        role: Any = "tool" if has_call and index else "user"
        call = ToolCall(id=f"call_{index}", name="open", arguments=f'{{"door": {index}}}')
        seen = Message(
            role=role,
            content=f"{index}. {OBSERVATION}",
            tool_call_id=f"call_{index - 1}" if role == "tool" else None,
        )
        said = Message(
            role="assistant",
            content=RESPONSE.format(index),
            reasoning=f"Perhaps the door number {index} is the right one." if thinks else None,
            tool_calls=(call,) if has_call else (),
        )
        steps.append(Step(observation=(seen,), response=said))
    return Trajectory(
        id=f"{kind}-{num_steps}",
        task=Task(id=kind, environment="benchmark"),
        prompt=(Message(role="system", content="You are an agent in a house. " * 40),),
        steps=tuple(steps),
        outcome=Outcome(status="success"),
        source=Source(name="benchmark"),
    )


class CountedTemplate:
    """Counts the calls of a renderer's template, their messages, and the characters written."""

    def __init__(self, renderer: Renderer) -> None:
        self.calls = self.messages = self.characters = 0
        self._renderer = renderer
        self._apply = renderer.tokenizer.apply_chat_template

    def __enter__(self) -> CountedTemplate:
        def counted(*given: Any, **options: Any) -> Any:
            self.calls += 1
            self.messages += len(given[0])
            text = self._apply(*given, **options)
            self.characters += len(text)
            return text

        self._renderer.tokenizer.apply_chat_template = counted
        return self

    def __exit__(self, *exception: object) -> None:
        self._renderer.tokenizer.apply_chat_template = self._apply


def measure(
    name: str, kind: str, num_steps: int, max_tokens: int | None, truncation: Any
) -> dict[str, float]:
    """The counts and the processor time of one trajectory."""
    renderer = family_renderer(name)
    trajectory = make_trajectory(num_steps, kind, FAMILIES[name].thinks)
    length = len(renderer.render(trajectory.messages))
    with CountedTemplate(renderer) as template:
        start = time.process_time()
        examples = renderer.tokenize_trajectory(
            trajectory, max_tokens, range(0, num_steps, 3), truncation
        )
        seconds = time.process_time() - start
    return {
        "examples": len(examples),
        "tokens": sum(len(example.token_ids) for example in examples),
        "calls": template.calls,
        "characters": template.characters / length,
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 100, 1000, 20000])
    parser.add_argument("--max-tokens", type=int, default=None)
    parser.add_argument("--truncation", default="drop_tail")
    parser.add_argument("--rows", nargs="*", default=[f"{name}/{kind}" for name, kind in ROWS])
    arguments = parser.parse_args()
    print("| template | steps | examples | tokens | calls a step | characters | seconds |")
    print("|---|---|---|---|---|---|---|")
    for row in arguments.rows:
        name, kind = row.split("/")
        for num_steps in arguments.steps:
            found = measure(name, kind, num_steps, arguments.max_tokens, arguments.truncation)
            print(
                f"| {name}, {kind} | {num_steps:,} | {found['examples']:,.0f} "
                f"| {found['tokens']:,.0f} | {found['calls'] / num_steps:.1f} "
                f"| {found['characters']:.1f} | {found['seconds']:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
