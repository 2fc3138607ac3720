"""The tasks of the planning puzzles: generated problems by domain and size, and those of a folder.

A generated problem belongs to a split by what it is. `held_out_test` has the large problems of the
training domains, and the problems of the other domains, of both sizes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from atlas.environments.experts import stream
from atlas.environments.planning.barman import BARMAN
from atlas.environments.planning.blockworld import BLOCKWORLD
from atlas.environments.planning.config import PlanningConfig
from atlas.environments.planning.domain import PlanningDomain
from atlas.environments.planning.gripper import GRIPPER
from atlas.environments.planning.pddl import Domain, PuzzleProblem, read_domain, read_problem
from atlas.environments.planning.tyreworld import TYREWORLD
from atlas.environments.planning.words import say_goal
from atlas.environments.splits import check_split, draw_tasks, kinds_in_turn, split_of, take_tasks
from atlas.errors import ConfigError, DataError
from atlas.records import Task

# In the order of AgentBoard's settings.
DOMAINS: dict[str, PlanningDomain] = {
    domain.name: domain for domain in (GRIPPER, BLOCKWORLD, BARMAN, TYREWORLD)
}
SPLITS = ("train", "held_in_test", "held_out_test", "paper_test")
LARGE = "-large"


def planning_tasks(config: PlanningConfig, split: str, num_tasks: int, seed: int) -> list[Task]:
    """The first `num_tasks` tasks of a split, one domain after the other.

    Raises:
        ConfigError: the split is unknown, has fewer tasks, or needs a folder of problems.
    """
    check_split("planning", split, SPLITS)
    if split == "paper_test":
        return take_tasks("planning", split, num_tasks, _paper_tasks(config.problems))
    is_held_out = split == "held_out_test"
    return draw_tasks(
        "planning",
        split,
        num_tasks,
        _candidates(_groups(config, split), split, seed),
        lambda content: is_held_out or split_of(content) == split,
    )


def load_problem(
    config: PlanningConfig, task: Task
) -> tuple[PlanningDomain, Domain, PuzzleProblem]:
    """The words, rules and problem of a task.

    Raises:
        ConfigError: the task's file is missing.
        DataError: the task's file cannot be read.
    """
    if task.split == "paper_test":
        return _read_task(config.problems, task)
    kind = DOMAINS.get(task.group.removesuffix(LARGE))
    if kind is None or task.seed is None:
        raise DataError(f"planning: task '{task.id}' has no known domain, or no seed.")
    problem = _generate(kind, task.group, task.seed)
    return kind, read_domain(kind.pddl, kind.name), problem


def _groups(config: PlanningConfig, split: str) -> list[str]:
    if split != "held_out_test":
        return list(config.domains)
    others = [name for name in DOMAINS if name not in config.domains]
    return [f"{name}{LARGE}" for name in config.domains] + [
        f"{name}{size}" for name in others for size in ("", LARGE)
    ]


def _generate(kind: PlanningDomain, group: str, seed: int) -> PuzzleProblem:
    """The problem of a seed; problems that are solved from the start are drawn again."""
    rng = stream("planning problem", group, seed)
    problem = kind.generate(rng, group.endswith(LARGE))
    while problem.init.issuperset(problem.goal):
        problem = kind.generate(rng, group.endswith(LARGE))
    return problem


def _candidates(groups: Sequence[str], split: str, seed: int) -> Iterator[tuple[str, Task]]:
    for group, own_seed in kinds_in_turn(groups, seed):
        kind = DOMAINS[group.removesuffix(LARGE)]
        problem = _generate(kind, group, own_seed)
        content = repr((kind.name, sorted(problem.init), problem.goal))
        task = Task(
            id=f"planning/{group}/{own_seed}",
            environment="planning",
            group=group,
            split=split,
            seed=own_seed,
            goal=say_goal(kind, problem.goal),
        )
        yield content, task


# ---- a folder of PDDL files ----


def _paper_tasks(folder: Path | None) -> list[Task]:
    folder = _checked(folder)
    tasks = []
    for name in DOMAINS:
        if (folder / f"{name}.pddl").is_file():
            files = sorted((folder / name).glob("*.pddl"), key=_by_number)
            tasks += [
                Task(
                    id=f"planning/paper/{name}/{file.stem}",
                    environment="planning",
                    group=name,
                    split="paper_test",
                )
                for file in files
            ]
    if not tasks:
        named = ", ".join(f"{name}.pddl" for name in DOMAINS)
        raise ConfigError(
            f"planning: problems={folder} holds no problems. Expected {named}, and beside each a "
            "folder of its name with .pddl files."
        )
    return tasks


def _checked(folder: Path | None) -> Path:
    if folder is None:
        raise ConfigError(
            "planning: the split paper_test needs the problems of AgentBoard. Clone "
            "https://github.com/hkust-nlp/AgentBoard and give "
            "problems=AgentBoard/agentboard/environment/pddl_env/pddlgym/pddl"
        )
    if not folder.is_dir():
        raise ConfigError(f"planning: problems={folder} is not a folder of PDDL files.")
    return folder


def _read_task(folder: Path | None, task: Task) -> tuple[PlanningDomain, Domain, PuzzleProblem]:
    folder = _checked(folder)
    name = task.group
    domain, problem = folder / f"{name}.pddl", folder / name / f"{Path(task.id).name}.pddl"
    texts = []
    for path in (domain, problem):
        try:
            texts.append(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"planning: {path} cannot be read: {error}.") from None
    return DOMAINS[name], read_domain(texts[0], str(domain)), read_problem(texts[1], str(problem))


def _by_number(path: Path) -> tuple[list[int], str]:
    return [int(digits) for digits in re.findall(r"\d+", path.stem)], path.name
