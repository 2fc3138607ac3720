from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from atlas.errors import DataError
from atlas.records import CriticalStep, Selection, Trajectory
from atlas.rendering.chat_templates.stock import set_chat_template
from atlas.rendering.renderer import Renderer
from atlas.store.readers import SELECTION_FILE, TRAJECTORY_FILES
from atlas.terminal.visible_text import one_line, shortened, visible
from atlas.viewing.terminal.show import print_trajectory, show_trajectories, show_trajectory
from atlas.viewing.terminal.show_tokens import print_tokens
from tests.conftest import make_trajectory
from tests.opened_files import opens_of
from tests.run_folders import write_selections, write_trajectories
from tests.templates import CHATML, tiny_tokenizer
from tests.tool_runs import call_trajectory

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "show.txt"


def selection_of(trajectory: Trajectory, *indices: int) -> Selection:
    steps = tuple(
        CriticalStep(
            index=index, kinds=("plan_creation",), reason="[bold]sets the goal[/]", score=0.5
        )
        for index in indices
    )
    num = len(trajectory.steps)
    return Selection(
        trajectory_id=trajectory.id,
        selector="test",
        num_steps=num,
        budget=num,
        critical_steps=steps,
    )


def piped() -> Console:
    return Console(file=io.StringIO(), width=120, highlight=False)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    trajectories = [
        make_trajectory(3, "room-1"),
        make_trajectory(2, "room-2"),
        make_trajectory(1, "other"),
    ]
    run = write_trajectories(tmp_path / "t", trajectories)
    return run, write_selections(
        tmp_path / "s", [selection_of(one, 0) for one in trajectories], run
    )


def test_a_trajectory_reads_as_in_the_golden_file(runs: tuple[Path, Path]) -> None:
    """Regenerate by deleting the file, then judge it by eye."""
    console = piped()
    show_trajectory(console, runs[0], "room-1", runs[1], Renderer(tiny_tokenizer(CHATML), "chatml"))
    shown = text_of(console)
    if not GOLDEN.exists():
        GOLDEN.write_text(shown, encoding="utf-8")
        pytest.fail(f"{GOLDEN.name} was missing and has been written: look at it, then run again")
    assert shown == GOLDEN.read_text(encoding="utf-8")


def test_the_beginning_of_an_id_is_enough_if_only_one_id_has_it(runs: tuple[Path, Path]) -> None:
    console = piped()
    show_trajectory(console, runs[0], "o")
    assert "other" in text_of(console)
    with pytest.raises(DataError, match="room-1, room-2"):
        show_trajectory(console, runs[0], "room")
    with pytest.raises(DataError, match="no trajectory 'none'"):
        show_trajectory(console, runs[0], "none")


def test_without_an_id_the_first_trajectories_are_listed(runs: tuple[Path, Path]) -> None:
    console = piped()
    show_trajectories(console, *runs, num=2)
    shown = text_of(console)
    assert "room-1" in shown
    assert "room-2" in shown
    assert "other" not in shown
    assert "1 more" in shown


def test_each_file_is_opened_once(runs: tuple[Path, Path]) -> None:
    counts = [
        opens_of(runs[0] / TRAJECTORY_FILES["collect"]),
        opens_of(runs[1] / SELECTION_FILE),
    ]
    show_trajectories(piped(), *runs)
    assert [count() for count in counts] == [1, 1]
    show_trajectory(piped(), runs[0], "other", runs[1])
    assert [count() for count in counts] == [2, 2]


def test_ids_are_whole_in_a_narrow_terminal(tmp_path: Path) -> None:
    long_id = "babyai/PutNextAcross/1000000/evaluate-0"
    console = Console(file=io.StringIO(), width=40, highlight=False)
    show_trajectories(console, write_trajectories(tmp_path / "t", [make_trajectory(2, long_id)]))
    assert long_id in text_of(console)


def test_text_of_a_trajectory_can_neither_move_the_cursor_nor_pass_for_markup() -> None:
    hostile = "\x1b[2J[red]x[/red][/]\x00\u202e\r\x9b31m\u2028"
    trajectory = make_trajectory(2, "t\x1b[31m", thought=hostile)
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    print_trajectory(console, trajectory, selection_of(trajectory, 1))
    shown = text_of(console)
    assert "[red]x[/red][/]" in shown
    assert not {"\x1b", "\x00", "\u202e", "\r", "\x9b", "\u2028"} & set(shown)
    assert "[bold]sets the goal[/]" in shown


def test_a_token_limit_that_drops_a_critical_step_and_a_selection_of_none_are_warned_of(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    renderer = Renderer(tiny_tokenizer(CHATML), "chatml")
    console = piped()
    show_trajectory(console, runs[0], "room-1", runs[1], renderer, max_tokens=20)
    shown = text_of(console)
    assert "warning: no token is supervised" in shown
    assert "beyond the token limit, left out: 0" in shown


def test_texts_are_shortened_with_a_word_on_how_much_is_left_out() -> None:
    assert shortened("a\n" * 100, 2, 100).startswith("a\na\n… 1")
    assert shortened("short", 2, 100) == "short"
    assert one_line("a\n b" * 50, 10) == "a ba ba b…"
    assert visible("tab\tstays\n") == "tab\tstays\n"


def test_what_the_template_does_not_write_is_warned_of_with_the_template_to_set() -> None:
    def shown(renderer: Renderer) -> str:
        console = Console(file=io.StringIO(), width=400, highlight=False)
        print_tokens(console, call_trajectory(), None, renderer, None)
        return text_of(console)

    text = shown(Renderer(tiny_tokenizer(CHATML), "chatml"))
    assert "warning: the chat template does not write the tool calls of steps 0, 1\n" in text
    assert "warning: only the end of turn is written of steps 1: training would stop here" in text
    assert "warning: chat_template=chatml-calls writes tool calls" in text
    tokenizer = tiny_tokenizer(CHATML)
    set_chat_template(tokenizer, "chatml-calls", "chatml")
    assert "warning" not in shown(Renderer(tokenizer, "chatml"))


def test_full_shows_every_text_to_its_end(tmp_path: Path) -> None:
    long = "word " * 2_000 + "the end"
    trajectory = make_trajectory(2, "long")
    seen = trajectory.steps[0].observation[0].model_copy(update={"content": long})
    step = trajectory.steps[0].model_copy(update={"observation": (seen,)})
    prompt = trajectory.prompt[0].model_copy(update={"content": long})
    changed = trajectory.model_copy(update={"steps": (step,), "prompt": (prompt,)})
    run = write_trajectories(tmp_path / "t", [changed])
    shown = {}
    for whole in (False, True):
        console = piped()
        show_trajectory(console, run, "long", whole=whole)
        shown[whole] = text_of(console).count("the end")
    assert shown == {False: 0, True: 2}
