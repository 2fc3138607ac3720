"""Planning puzzles: PDDL, planner, words, splits, the folder of problems, and the expert."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.environments.experts import ExpertConfig, stream
from atlas.environments.planning.config import PlanningConfig
from atlas.environments.planning.environment import PlanningEnvironment
from atlas.environments.planning.grounding import Puzzle
from atlas.environments.planning.pddl import PuzzleProblem, read_domain, read_problem
from atlas.environments.planning.planner import Planner, after
from atlas.environments.planning.tasks import DOMAINS, LARGE
from atlas.environments.react import react_message
from atlas.errors import ConfigError, DataError
from atlas.records import Task

BLOCKS = DOMAINS["blockworld"]
TOWER = """
(define (problem tower) (:domain blockworld)
  (:objects b1 b2 b3 - block)
  (:init (arm-empty) (on-table b1) (on b2 b1) (on b3 b2) (clear b3)) ; a comment
  (:goal (and (on b2 b3) (on-table b1))))
"""


def puzzle_of(domain: str, problem: PuzzleProblem) -> Puzzle:
    return Puzzle(read_domain(DOMAINS[domain].pddl, domain), problem)


def make(**settings: object) -> PlanningEnvironment:
    return PlanningEnvironment(PlanningConfig.model_validate(settings))


def folder_of(tmp_path: Path, problem: str = TOWER) -> Path:
    (tmp_path / "blockworld").mkdir()
    (tmp_path / "blockworld.pddl").write_text(BLOCKS.pddl)
    for number in (10, 2, 1):
        (tmp_path / "blockworld" / f"p{number}.pddl").write_text(problem)
    return tmp_path


def test_a_variable_ends_where_the_next_begins() -> None:
    glued = BLOCKS.pddl.replace("(?b ?under - block)", "(?b?under - block)")
    assert read_domain(glued, "glued") == read_domain(BLOCKS.pddl, "blockworld")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected"),
        ("(define (domain x)", "not closed"),
        ("(define (domain x)))", "brackets"),
        ("(" * 60, "brackets"),
        ("(define (domain x) (:functions (cost)))", ":functions"),
        ("(define (domain x) (:types a))", "no action"),
        ("(define (domain x) (:action a :effect (when (p) (q))))", "when"),
        ("(define (domain x) (:action a :precondition (not (p)) :effect (q)))", "not"),
        ("(define (domain x) (:action a :effect))", ":effect"),
        ("(define (domain x) (:action a :parameters (?a - (either b c)) :effect (q)))", "either"),
        ("(define (domain x) (:action))", "a name"),
        ("(define (domain x) (:action (a) :effect (q)))", "a name"),
        ("(define (domain x) (:action a (b) (c)))", "'a'"),
        ("(define (domain x) (:action a :parameters ?b :effect (q)))", "list of names"),
        ("(define (domain x) (:action a :effect (p) :effect (q)))", "twice"),
        ("(define (domain x) (:constants b) (:constants c) (:action a :effect (q)))", "twice"),
        ("(define (domain x) (:action a :parameters (?b ?b) :effect (q ?b)))", "twice"),
        ("(define (domain x) (:action a :parameters (?b) :effect (q ?c)))", "'.c'"),
        ("(define (domain x) (:action a :precondition (and (and) (p)) :effect (q)))", "and"),
        ("(define (domain x) (:action a :effect (increase cost 1)))", "increase"),
    ],
)
def test_what_is_not_read_is_named_with_its_source(text: str, said: str) -> None:
    with pytest.raises(DataError, match=rf"^rules\.pddl.*{said}"):
        read_domain(text, "rules.pddl")


@pytest.mark.parametrize(
    "text",
    [
        "(define (problem x))",
        "(define (problem x) (:init (p)) (:goal (and)))",
        "(define (problem x) (:init (p)) (:goal (or (p) (q))))",
        "(define (problem x) (:init (= (cost) 0)) (:goal (p)))",
        "(define (problem x) (:init (p)) (:goal (p)) (:metric minimize (cost)))",
        "(define (problem x) (:init (p)) (:init (q)) (:goal (r)))",
        "(define (problem x) (:init (p)) (:goal (q)) (:goal (r)))",
        "(define (problem x) (:init (p)) (:goal (q ?a)))",
        "(define (problem x) (:objects a a) (:init (p)) (:goal (q a)))",
    ],
)
def test_a_problem_without_start_or_plain_goal_is_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"^some\.pddl"):
        read_problem(text, "some.pddl")


def test_a_goal_about_an_object_that_does_not_exist_is_refused() -> None:
    text = "(define (problem x) (:objects b1 b2 - block) (:init (arm-empty)) (:goal (on b1 b3)))"
    with pytest.raises(DataError, match=r"\(on b1 b3\) names 'b3'"):
        Puzzle(read_domain(BLOCKS.pddl, "blocks"), read_problem(text, "some.pddl"))


def test_a_byte_order_mark_is_no_part_of_a_text() -> None:
    assert read_domain(f"\ufeff{BLOCKS.pddl}", "marked") == read_domain(BLOCKS.pddl, "plain")


@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize("name", DOMAINS)
def test_every_generated_problem_has_a_plan_that_holds(name: str, is_large: bool) -> None:
    for seed in range(6 if is_large else 25):
        problem = DOMAINS[name].generate(stream("test", name, seed), is_large)
        puzzle = puzzle_of(name, problem)
        plan = Planner(puzzle).plan(puzzle.init)
        assert plan is not None
        state = puzzle.init
        for action in plan:
            assert action.is_possible(state)
            state = action.apply(state)
        assert puzzle.is_solved(state)
        assert len(plan) <= 30


def test_a_plan_has_no_step_that_it_works_without() -> None:
    puzzle = puzzle_of("blockworld", read_problem(TOWER, "tower"))
    plan = Planner(puzzle).plan(puzzle.init)
    assert plan is not None
    assert [action.name for action in plan] == ["unstack", "putdown", "unstack", "stack"]
    assert puzzle.is_solved(after(puzzle.init, plan))


def test_an_impossible_goal_has_no_plan() -> None:
    impossible = TOWER.replace("(on b2 b3)", "(on b2 b3) (on b3 b2)")
    puzzle = puzzle_of("blockworld", read_problem(impossible, "circle"))
    assert Planner(puzzle).plan(puzzle.init) is None


def test_a_move_that_changes_nothing_is_not_an_action() -> None:
    problem = DOMAINS["gripper"].generate(stream("test", 1), False)
    puzzle = puzzle_of("gripper", problem)
    moves = [action.objects for action in puzzle.actions if action.name == "move"]
    assert moves
    assert all(start != end for start, end in moves)


def test_the_score_is_the_share_of_the_goal_and_success_is_all(tmp_path: Path) -> None:
    environment = make(problems=str(folder_of(tmp_path)))
    [task] = environment.tasks("paper_test", 1, 0)
    [first] = environment.reset(task)
    assert "Goal: b2 is on b3; b1 is on the table." in first.content
    result = environment.step(react_message("", "look around"))
    assert (result.score, result.is_invalid) == (0.0, False)
    result = environment.step(react_message("", "Stack b2 on b3."))
    assert result.is_invalid
    assert "you hold b2" in result.observation[0].content
    scores = []
    for text in ("Unstack the b3 from b2", "putdown b3", "unstack b2 b1", "stack b2 on b3"):
        result = environment.step(react_message("", text))
        assert not result.is_invalid
        scores.append(result.score)
    assert scores == [0.5, 0.5, 0.5, 1.0]
    assert result.success
    assert result.terminated


@pytest.mark.parametrize(
    "form", ["{}", "- {}", "1. {}", "2) {}", "**{}**", "`{}`.", "The {}", " {} ", "{}!"]
)
def test_an_action_is_read_whatever_stands_around_it(form: str) -> None:
    environment = PlanningEnvironment(PlanningConfig())
    [task] = environment.tasks("train", 1, 0)
    environment.reset(task)
    puzzle = environment.episode
    action = puzzle.words.action(puzzle.puzzle.possible(puzzle.state)[0])
    for text in (action, action.replace(" ", "  "), "check  valid actions", "look around"):
        environment.reset(task)
        assert not environment.step(react_message("", form.format(text))).is_invalid, text


def test_possible_actions_are_those_that_work() -> None:
    environment = make(domains=["tyreworld", "barman"])
    for task in environment.tasks("train", 4, 2):
        environment.reset(task)
        said = environment.step(react_message("", "check valid actions")).observation[0].content
        for text in said.removeprefix("You can: ").removesuffix(".").split("; "):
            environment.reset(task)
            assert not environment.step(react_message("", text)).is_invalid, text


def test_the_held_out_split_has_large_problems_and_the_other_domains() -> None:
    groups = {task.group for task in make().tasks("held_out_test", 40, 0)}
    assert groups == {
        *(f"{name}{LARGE}" for name in ("gripper", "blockworld", "tyreworld", "barman")),
        "barman",
    }
    assert {task.group for task in make(domains=["gripper"]).tasks("train", 9, 0)} == {"gripper"}


def test_no_content_is_in_two_splits_whatever_the_seed() -> None:
    environment = make()
    texts = {
        split: {
            environment.reset(task)[0].content
            for seed in range(2)
            for task in environment.tasks(split, 60, seed)
        }
        for split in ("train", "held_in_test")
    }
    assert not texts["train"] & texts["held_in_test"]


def test_the_problems_of_a_folder_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    environment = make(problems=str(folder_of(tmp_path)))
    ids = [task.id.rpartition("/")[2] for task in environment.tasks("paper_test", 3, 0)]
    assert ids == ["p1", "p2", "p10"]
    with pytest.raises(ConfigError, match="holds 3"):
        environment.tasks("paper_test", 4, 0)


def test_a_missing_folder_says_where_the_problems_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"problems=AgentBoard/agentboard"):
        make().tasks("paper_test", 1, 0)
    with pytest.raises(ConfigError, match="is not a folder"):
        make(problems=str(tmp_path / "none")).tasks("paper_test", 1, 0)
    with pytest.raises(ConfigError, match="holds no problems"):
        make(problems=str(tmp_path)).tasks("paper_test", 1, 0)


def test_a_file_of_the_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    environment = make(problems=str(folder_of(tmp_path, "(define")))
    [task] = environment.tasks("paper_test", 1, 0)
    with pytest.raises(DataError, match=r"p1\.pddl"):
        environment.reset(task)
    with pytest.raises(DataError, match=r"p99\.pddl cannot be read"):
        environment.reset(task.model_copy(update={"id": "planning/paper/blockworld/p99"}))


def test_a_task_of_another_world_is_refused() -> None:
    with pytest.raises(DataError, match="'other'"):
        make().reset(Task(id="other", environment="planning", group="chess", seed=1))


def test_a_careful_expert_makes_no_slip_and_a_careless_one_corrects_itself() -> None:
    careful = make(expert=ExpertConfig(detour_rate=0, mistake_rate=0))
    careless = make(expert=ExpertConfig(detour_rate=0, mistake_rate=1))
    for task in careful.tasks("train", 6, 0):
        careful.reset(task)
        plan = Planner(careful.episode.puzzle).plan(careful.episode.state)
        assert plan is not None
        expert = careful.expert(0)
        results = [careful.step(expert.respond().response) for _ in plan]
        assert results[-1].success
        assert not any(result.is_invalid for result in results)

        careless.reset(task)
        expert, kinds, result = careless.expert(0), set[str](), None
        while result is None or not (result.terminated or result.truncated):
            turn = expert.respond()
            kinds |= set(turn.annotation.kinds)
            result = careless.step(turn.response)
        assert result.success
        assert "self_correction" in kinds or len(plan) < 3
