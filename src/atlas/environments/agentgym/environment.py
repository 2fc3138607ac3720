"""AgentGym's worlds over HTTP, played as the paper's own client plays them.

Score: the reward of the last turn, divided by the highest (100 for sciworld, else 1), within 0 and
1. In babyai the server's score adds up after the goal was reached, so the first one counts. A task
is solved if that reward is above the server's threshold (servers.py names the source); AgentGym's
own `success` is never true for sciworld and babyai, because it expects a reward of exactly 1.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec

from atlas.environments.agentgym.client import GymClient
from atlas.environments.agentgym.config import AgentGymConfig
from atlas.environments.agentgym.items import GymItem, GymItems, goal_in, numbers_of
from atlas.environments.agentgym.parsing import parse_response
from atlas.environments.agentgym.servers import SERVERS
from atlas.environments.agentgym.session import GymSession, GymTurn
from atlas.environments.agentgym.texts import INSTRUCTIONS, load_rules
from atlas.environments.base import StepResult
from atlas.environments.experts import stream
from atlas.environments.instruction import load_instruction
from atlas.environments.react import user
from atlas.environments.splits import check_split, split_of, take_tasks
from atlas.errors import ConfigError, DependencyError, EpisodeError
from atlas.records import Message, Task

SPLITS = ("train", "held_in_test", "held_out_test", "paper_train", "paper_test")
# The first connection is not waited for: a wrong address is a mistake of the settings.
PROBE_SECONDS = 5.0
# The number of each goal at a TextCraft server, by address.
_GOALS: dict[str, dict[str, int]] = {}
_GOALS_LOCK = threading.Lock()


class AgentGymEnvironment:
    """AgentGym: fourteen servers of text worlds, and SearchQA, played over HTTP."""

    Config = AgentGymConfig

    def __init__(self, config: AgentGymConfig) -> None:
        if find_spec("urllib3") is None:
            raise DependencyError("urllib3", "agentgym")
        self._config = config
        self._server = server = SERVERS[config.server]
        self.name = f"agentgym_{config.server}"
        self.prompt: tuple[Message, ...] = load_instruction(
            config.instruction, INSTRUCTIONS[config.server], server.item_prefix
        )
        self.max_steps = config.max_steps or server.max_steps
        earlier = server.rule_2024 if config.client == 2024 else None
        self._rule = earlier or server.rule
        # The worlds of LMRL-Gym share one server; AgentGym's client has their path in the address.
        self._url = config.url.removesuffix(server.path) if server.path else config.url
        self._rules_text = load_rules(config.rules_text, config.instruction, config.server)
        self._items = GymItems(config)
        self._session: GymSession | None = None
        self._num_turns = 0
        self._score = 0.0
        self._is_over = True

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The first tasks of a split: those of the paper in the order of their file."""
        check_split(self.name, split, SPLITS)
        items = self._items_of(split)
        self._probe()
        if not split.startswith("paper_"):
            items = stream(self.name, split, seed).sample(items, len(items))
        return [
            Task(
                id=item.id,
                environment=self.name,
                group=item.group,
                split=split,
                seed=item.number,
                goal=item.goal,
            )
            for item in take_tasks(self.name, split, num_tasks, items)
        ]

    def notes(self, split: str) -> Sequence[str]:
        """What is known about overlaps of a split, and about tasks that were left out."""
        server, config, found = self._server, self._config, []
        train, test = self._items.known("paper_train"), self._items.known("paper_test")
        if repeated := self._items.num_repeated.get(split, 0):
            found.append(f"{repeated} of its rows name a task again; each task is played once")
        if split == "paper_test" and train is None and server.num_leaked != 0:
            are = f"{server.num_leaked} are" if server.num_leaked else "some may be"
            found.append(f"of AgentEval's tasks {are} in AgentTraj: agenttraj=… finds them")
        if split == "paper_test" and train is not None and test is not None:
            num_shared = len(test) - len(self._without(test, train))
            did = "were left out" if config.drop_leaked else "drop_leaked=true leaves them out"
            if num_shared:
                found.append(f"{num_shared} of its {len(test)} tasks are in paper_train; {did}")
        if split == "held_in_test" and train is None and "held_in_test" not in server.splits:
            found.append("tasks of AgentTraj may be among them: give agenttraj")
        if server.unplayable and split.startswith("paper_"):
            named = ", ".join(f"{server.item_prefix}{number}" for number in server.unplayable)
            found.append(f"{named} cannot be played, so it is in no split")
        if config.server == "wordle":
            found.append("its tasks share one short list of secret words")
        if config.server == "textcraft" and split != "paper_train":
            found.append("the order of files at the server decides which goal a number stands for")
        return [f"{self.name}, {split}: {one}." for one in found]

    def reset(self, task: Task) -> tuple[Message, ...]:
        """Start the task at the server."""
        number = self._items.number_of(task)
        if self._session is None:
            self._session = self._new_session()
        self._is_over = True
        text = self._session.first_text(number, self._rules_text)
        if self._config.server == "textcraft" and (known := self._items.goal_of(task)) is not None:
            goal = known.removeprefix("craft ")
            text = text if goal_in(text) == goal else self._find_goal(self._session, goal)
        self._num_turns, self._score, self._is_over = 0, 0.0, False
        return user(self._worded(text))

    def step(self, response: Message) -> StepResult:
        """Send the action in `response`, as AgentGym's client does, and read the reply."""
        if self._session is None or self._is_over:
            raise EpisodeError(
                f"{self.name}: the episode is over. Call reset before the next step."
            )
        self._num_turns += 1
        # Half of a surrogate pair can be neither sent nor recorded.
        said = response.content.encode("utf-8", "replace").decode()
        parsed = parse_response(said, self._rule)
        if parsed.refusal is None:
            turn = self._session.step(parsed.sent)
        else:
            turn = GymTurn(parsed.refusal, is_refused=True)
        server = self._server
        if server.reward != "score" or server.best != 1.0 or self._score == 0.0:
            self._score = turn.reward
        success = self._score > server.threshold
        is_late = server.step_limit is not None and self._num_turns >= server.step_limit
        is_limit = turn.done and not success and is_late and turn.reward != server.loss
        truncated = is_limit or (not turn.done and self._num_turns >= self.max_steps)
        self._is_over = turn.done or truncated
        is_action = parsed.action is not None and (
            server.actions is None or server.actions.fullmatch(parsed.action) is not None
        )
        is_impossible = server.invalid is not None and server.invalid.match(turn.text) is not None
        return StepResult(
            observation=user(self._worded(turn.text)),
            reward=turn.reward,
            terminated=turn.done and not is_limit,
            truncated=truncated,
            success=success,
            score=min(1.0, max(0.0, self._score / server.best)),
            action=parsed.action,
            is_invalid=turn.is_refused or not is_action or is_impossible,
        )

    def close(self) -> None:
        """Give the world back to the server."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _items_of(self, split: str) -> list[GymItem]:
        known = self._items.known(split)
        if split == "paper_test" and known is not None and self._config.drop_leaked:
            train = self._items.known("paper_train")
            if train is None and self._server.num_leaked != 0:
                raise ConfigError(
                    f"{self.name}: drop_leaked=true needs the tasks of AgentTraj. Give its file, "
                    "or numbers such as 0-99, as agenttraj=…"
                )
            return self._without(known, train)
        if known is not None:
            return known
        if split.startswith("paper_"):
            key = "agenttraj" if split == "paper_train" else "agenteval"
            what = "AgentTraj" if split == "paper_train" else "AgentEval"
            raise ConfigError(
                f"{self.name}: the tasks of '{split}' are not known. Give the file of {what}, or "
                f"numbers such as 0-99, as {key}=…"
            )
        if split == "held_out_test" or "train" in self._server.splits or not self._server.items:
            has = [one for one in SPLITS if one in self._server.splits]
            if self._server.items and not has:
                has = ["train", "held_in_test"]
            given = f"It has {', '.join(has)}. " if has else ""
            raise ConfigError(
                f"{self.name}: the server has no split '{split}'. {given}The splits paper_train "
                "and paper_test hold what agenttraj=… and agenteval=… name."
            )
        other = "paper_test" if split == "train" else "paper_train"
        items = [
            item for item in self._items.all() if split_of(f"{self.name}/{item.number}") == split
        ]
        return self._without(items, self._items.known(other))

    def _without(self, items: list[GymItem], others: list[GymItem] | None) -> list[GymItem]:
        """The items that are not among `others`: by goal where that is known, else by number."""
        goals = {item.goal for item in others or () if item.goal is not None}
        if not goals:
            numbers = numbers_of(others)
            return [item for item in items if item.number not in numbers]
        here = self._goals_here()
        return [
            replace(item, goal=here.get(item.number))
            for item in items
            if here.get(item.number) not in goals
        ]

    def _goals_here(self) -> dict[int, str]:
        """The goal of each number at a TextCraft server."""
        self._probe()
        session = self._new_session()
        try:
            goals = _goals_at(self._url, session, self._items, False)
        finally:
            session.close()
        return {number: goal for goal, number in goals.items()}

    def _new_session(self) -> GymSession:
        config = self._config
        client = GymClient(self._url, config.timeout_seconds, config.restart_seconds)
        return GymSession(self._server, client)

    def _probe(self) -> None:
        """Refuse an address where no server listens, or another one."""
        where = f"{self.name}: the server at url={self._config.url}"
        client = GymClient(self._url, min(PROBE_SECONDS, self._config.timeout_seconds), 0.0)
        try:
            reply = client.get("/")
        except EpisodeError as error:
            raise ConfigError(
                f"{where} does not answer: {error}. Start it, or give its address; "
                "docs/environments/agentgym.md says how."
            ) from None
        finally:
            client.close()
        greeting = reply.value if isinstance(reply.value, str) else ""
        _, is_named, named = greeting.partition("This is environment ")
        if is_named and self._server.greeting != named.rstrip("."):
            raise ConfigError(f"{where} says '{greeting[:80]}', expected {self._config.server}.")

    def _find_goal(self, session: GymSession, goal: str) -> str:
        """Start the task with this goal, wherever the server's order of files puts it."""
        for is_fresh in (False, True):
            goals = _goals_at(self._url, session, self._items, is_fresh)
            known = goal if goal in goals else next(iter(goals), "")
            text = session.first_text(goals.get(known, 0), self._rules_text)
            if goal_in(text) == goal:
                return text
            if goal_in(text) == known:
                # The server still numbers its goals so, and this one is not among them.
                break
        raise EpisodeError(f"{self.name}: the server at {self._url} has no task '{goal}'.")

    def _worded(self, text: str) -> str:
        """An observation as the settings want it."""
        if self._config.wording == "agenttraj":
            match self._config.server:
                case "textcraft":
                    return f"Instruction:\n{text}"
                case "babyai":
                    return text.partition("\nAvailable actions: ")[0]
                case "maze":
                    return text if text.endswith("\n") else f"{text}\n"
        return text


def _goals_at(url: str, session: GymSession, items: GymItems, is_fresh: bool) -> dict[str, int]:
    """The number of each goal at a TextCraft server, found by starting every task once."""
    with _GOALS_LOCK:
        if is_fresh or url not in _GOALS:
            first_texts = (
                (item.number, session.first_text(item.number, "")) for item in items.all()
            )
            found = {goal_in(text): number for number, text in first_texts}
            _GOALS[url] = {goal: number for goal, number in found.items() if goal is not None}
        return _GOALS[url]
