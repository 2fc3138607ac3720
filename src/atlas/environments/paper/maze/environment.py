"""A maze that is seen locally, in the wording of AgentGym and LMRL-Gym.

Score and success: 1 at the goal (reward above 0.99 in AgentGym's filter), else 0. AgentGym's server
ends a game after 50 turns with "Failure"; so do its games here.
"""

from __future__ import annotations

from collections.abc import Sequence

from atlas.environments.base import Expert, StepResult
from atlas.environments.paper.maze.config import MazeConfig
from atlas.environments.paper.maze.grid import STEPS, Maze, Place, neighbor
from atlas.environments.paper.maze.tasks import PREFIX, WORLD, MazeTasks, is_game, maze_of
from atlas.environments.paper.recorded import prompt_and_rules
from atlas.environments.paper.responses import read_rest_as_action
from atlas.environments.react import ANSWER_FORMAT, user
from atlas.errors import EpisodeError
from atlas.records import Message, Task

INSTRUCTION = f"""\
You walk through a maze to its goal, in as few steps as possible. Each turn tells the goal, your \
position and the walls around you. Moving right adds 1 to the second number of your position, \
moving down adds 1 to the first. Actions: move up, move down, move left, move right.
{ANSWER_FORMAT}"""
PAPER_STEPS = 15
SERVER_STEPS = 50
MOVES = {f"move {way}": way for way in STEPS}


class MazeEnvironment:
    """A maze seen locally: AgentGym's 25 games, and generated mazes of several sizes."""

    Config = MazeConfig
    in_process = True
    name = WORLD

    def __init__(self, config: MazeConfig) -> None:
        self.prompt, recorded = prompt_and_rules(config.instruction, INSTRUCTION, PREFIX)
        # What precedes the description of the place in a recorded first observation.
        self._rules = "" if recorded is None else recorded.rstrip().rpartition("\n")[0] + "\n"
        self._ending = "\n" if config.wording == "agenttraj" else ""
        self._config = config
        self._tasks = MazeTasks(config)
        self._maze: Maze | None = None
        self._is_game = self._is_over = False
        self.task_id = ""
        self.here: Place = (0, 0)
        self.num_turns = 0
        self.max_steps = 0

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The first `num_tasks` tasks of a split."""
        return self._tasks.draw(split, num_tasks, seed)

    def notes(self, split: str) -> Sequence[str]:
        """What to know of a split of the paper."""
        return self._tasks.notes(split)

    def reset(self, task: Task) -> tuple[Message, ...]:
        """Go to the start of the maze of `task`."""
        self._maze = maze_of(task)
        self._is_game, self.task_id = is_game(task), task.id
        self.here, self.num_turns, self._is_over = self._maze.start, 0, False
        of_maze = PAPER_STEPS if self._is_game else 2 * len(self._maze.ways)
        self.max_steps = self._config.max_steps or of_maze
        return user(f"{self._rules}{self._maze.describe(self.here)}{self._ending}")

    @property
    def maze(self) -> Maze:
        """The maze of the episode."""
        if self._maze is None:
            raise EpisodeError(f"{WORLD}: no episode has started. Call reset first.")
        return self._maze

    def expert(self, seed: int) -> Expert:
        """A player for the episode that was just reset, which sees only what is around it."""
        from atlas.environments.paper.maze.expert import MazeExpert

        return MazeExpert(self._config.expert, self, seed)

    def step(self, response: Message) -> StepResult:
        """Make the move in the text of `response`."""
        maze = self.maze
        if self._is_over or self.num_turns >= self.max_steps:
            raise EpisodeError(f"{WORLD}: the episode is over. Call reset before the next step.")
        self.num_turns += 1
        read = read_rest_as_action(response.content)
        way = MOVES.get(read.text)
        is_possible = way is not None and way in maze.ways[self.here]
        has_failed = self._is_game and self.num_turns > SERVER_STEPS
        if way is not None and is_possible and not has_failed:
            self.here = neighbor(self.here, way)
        success = self.here == maze.goal
        self._is_over = success or has_failed
        text = f"{maze.describe(self.here)}{self._ending}"
        if self._is_over:
            text = "Success\n" if success else "Failure\n"
        return StepResult(
            observation=user(text),
            reward=float(success),
            terminated=self._is_over,
            truncated=not self._is_over and self.num_turns >= self.max_steps,
            success=success,
            score=float(success),
            action=read.found,
            is_invalid=not is_possible,
        )

    def close(self) -> None:
        """Forget the maze."""
        self._maze = None
