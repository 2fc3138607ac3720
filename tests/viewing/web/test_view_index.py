"""The index: made once, continued after a kill, and honest about lines that cannot be read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from sqlite3 import Connection

import pytest

import atlas.viewing.web.index as index_module
from atlas.errors import DataError
from atlas.records import Message, Step, ToolCall
from atlas.store.record_files import to_json
from atlas.viewing.web import facets
from atlas.viewing.web import library as library_module
from atlas.viewing.web.index import Line
from atlas.viewing.web.library import Library, NotFound
from atlas.viewing.web.query import Query
from atlas.viewing.web.sources import open_sources
from tests.viewing.web.view_runs import (
    make_episode,
    open_library,
    seal_partial,
    write_partial,
    write_run,
    write_selection,
)


def ids(library: Library, query: Query | None = None) -> list[str]:
    return [row.id for row in library.find(query or Query(size=500)).rows]


def line(name: str) -> bytes:
    return to_json(make_episode(name)) + b"\n"


def test_a_second_start_reads_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "run", [make_episode("a"), make_episode("b")])
    open_library(tmp_path, run).close()

    def refuse(line: bytes) -> None:
        raise AssertionError("a line was read again")

    monkeypatch.setattr(index_module, "describe_trajectory_line", refuse)
    assert ids(open_library(tmp_path, run)) == ["a", "b"]


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [make_episode("a", words="old")])
    open_library(tmp_path, run).close()
    (run / "trajectories.jsonl").write_bytes(line("b") + line("c"))
    library = open_library(tmp_path, run)
    assert ids(library) == ["b", "c"]
    assert ids(library, Query(text="old")) == []


def test_lines_that_cannot_be_read_are_rows_with_a_problem(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [make_episode("a")])
    broken = [b"{", b"", b"[]", b'{"id": "named"}', b'{"id": 7}', b"\xff\xfe", b'"\x00"', b"null"]
    with (run / "trajectories.jsonl").open("ab") as file:
        file.write(b"\n".join(broken) + b"\n" + line("z"))
    library = open_library(tmp_path, run)
    page = library.find(Query())
    assert page.total == len(broken) + 2
    assert [row.problem is None for row in page.rows] == [True, *[False] * len(broken), True]
    assert page.rows[4].id == "named"
    assert library.find(Query(problem=True)).total == len(broken)
    with pytest.raises(DataError, match=r"line 5: .*expected a Trajectory"):
        library.trajectory("run", "named")
    assert library.trajectory("run", "z").id == "z"


def test_an_error_of_an_episode_is_a_problem(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [make_episode("a", outcome="error")])
    assert open_library(tmp_path, run).find(Query(problem=True)).total == 1


def test_a_run_in_progress_grows_and_ends_while_it_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_module, "SECONDS_BETWEEN_LOOKS", 0.0)
    run = write_partial(tmp_path / "run", line("b") + line("a")[:20])
    library = open_library(tmp_path, run)
    assert ids(library) == ["b"]
    with (run / "episodes.jsonl.partial").open("ab") as file:
        file.write(line("a")[20:] + b"{torn")
    assert ids(library) == ["b", "a"]
    assert library.sources[0].is_partial
    write_partial(run, line("a") + line("b"))
    seal_partial(run)
    assert ids(library) == ["a", "b"]
    assert library.trajectory("run", "b").id == "b"
    assert not library.sources[0].is_partial


def test_every_viewer_of_a_growing_run_shows_the_same_totals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_module, "SECONDS_BETWEEN_LOOKS", 0.0)
    run = write_partial(tmp_path / "run", b"")
    viewers = [open_library(tmp_path, run) for _ in range(3)]
    for number in range(1, 4):
        with (run / "episodes.jsonl.partial").open("ab") as file:
            file.write(line(f"t{number}"))
        # Each of them is once the one that reads the new line.
        viewers = [*viewers[1:], viewers[0]]
        for viewer in viewers:
            page = viewer.find(Query())
            assert len(page.rows) == page.total == page.facets["run"][0].count == number


def test_a_run_that_is_removed_while_it_is_shown_breaks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_module, "SECONDS_BETWEEN_LOOKS", 0.0)
    run = write_run(tmp_path / "run", [make_episode("a")])
    library = open_library(tmp_path, run)
    (run / "trajectories.jsonl").rename(tmp_path / "away")
    with pytest.raises(DataError, match="is gone"):
        library.trajectory("run", "a")
    assert ids(library) == []
    (tmp_path / "away").rename(run / "trajectories.jsonl")
    assert ids(library) == ["a"]


def test_every_word_of_goal_first_text_and_responses_is_found(tmp_path: Path) -> None:
    parts = [[f"part{part}word{word}" for word in range(5_000)] for part in range(8)]
    goal, first, *said = (" ".join(part) for part in parts)
    steps = [
        Step(
            observation=(Message(role="user", content=first),) if place == 0 else (),
            response=Message(
                role="assistant",
                reasoning=reasoning,
                content=content,
                tool_calls=(ToolCall(id=None, name="act", arguments=arguments),),
            ),
        )
        for place, (reasoning, content, arguments) in enumerate((said[:3], said[3:]))
    ]
    episode = make_episode("a", goal=goal).model_copy(update={"steps": tuple(steps)})
    library = open_library(tmp_path, write_run(tmp_path / "run", [episode]))
    ends = [word for part in parts for word in (part[0], part[-1])]
    assert [word for word in ends if not library.find(Query(text=f'"{word}"')).total] == []


def test_selections_with_broken_lines_are_problems_of_their_trajectories(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [make_episode("a"), make_episode("b")])
    chosen = write_selection(tmp_path / "chosen", run, {"a": [0]})
    with (chosen / "selections.jsonl").open("a") as file:
        file.write('{"trajectory_id": "b", "selector": 3}\n{"\n')
    library = open_library(tmp_path, chosen)
    assert ids(library, Query(problem=True)) == ["b"]
    (named,) = library.selections("run", "b")
    assert named.selection.problem
    assert library.selections("run", "a")[0].selection.problem is None


def test_the_first_of_two_trajectories_with_one_id_is_shown(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [make_episode("a"), make_episode("a", num_steps=1)])
    assert len(open_library(tmp_path, run).trajectory("run", "a").steps) == 3


def test_unknown_sources_and_ids_are_not_found(tmp_path: Path) -> None:
    library = open_library(tmp_path, write_run(tmp_path / "run", [make_episode("a")]))
    for source, name in (("run", "b"), ("none", "a"), ("run", "\ud800"), ("../run", "a")):
        with pytest.raises(NotFound):
            library.trajectory(source, name)


KILLED = """
import sys, time
from pathlib import Path
import atlas.viewing.web.index as index
from atlas.viewing.web.library import Library
from atlas.viewing.web.sources import open_sources
index.LINES_PER_BATCH = 10
add = index._add_trajectories
def slowly(*given):
    add(*given)
    print("batch", flush=True)
    time.sleep(0.05)
index._add_trajectories = slowly
Library(open_sources([Path(sys.argv[1])]), Path(sys.argv[2]))
"""


def test_after_kill_9_the_index_continues_after_the_last_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"t{number}" for number in range(200)]
    run = write_run(tmp_path / "run", map(make_episode, names))
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(run), str(tmp_path / "index")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(4):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    read = []
    describe = index_module.describe_trajectory_line

    def counted(line: bytes) -> object:
        read.append(line)
        return describe(line)

    monkeypatch.setattr(index_module, "describe_trajectory_line", counted)
    library = open_library(tmp_path, run)
    assert ids(library) == names
    assert 0 < len(read) <= 170
    assert library.find(Query(text="absent")).total == 0
    assert library.find(Query(text="look")).total == 200


def test_a_batch_ends_at_its_first_limit_and_no_line_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"t{number}" for number in range(12)]
    run = write_run(tmp_path / "run", map(make_episode, names))
    sizes: list[list[int]] = []
    add = index_module._add_trajectories

    def noted(inside: Connection, source: str, lines: int, batch: Sequence[Line]) -> None:
        sizes.append([len(text) for _, text in batch])
        add(inside, source, lines, batch)

    monkeypatch.setattr(index_module, "_add_trajectories", noted)
    monkeypatch.setattr(index_module, "LINES_PER_BATCH", 4)
    for limit in (1, 2_000, 1 << 20):
        sizes.clear()
        monkeypatch.setattr(index_module, "BYTES_PER_BATCH", limit)
        assert ids(open_library(tmp_path / str(limit), run)) == names
        assert all(len(batch) <= 4 and sum(batch[:-1]) < limit for batch in sizes)


def test_every_run_has_its_count_however_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facets, "MAX_VALUES", 1)
    runs = [write_run(tmp_path / name, [make_episode(name)]) for name in ("a", "b", "c")]
    page = open_library(tmp_path, *runs).find(Query())
    assert [facet.count for facet in page.facets["run"]] == [1, 1, 1]


def test_two_processes_may_show_the_same_runs(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [make_episode(f"t{number}") for number in range(60)])
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(run), str(tmp_path / "index")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert open_library(tmp_path, run).find(Query()).total == 60
        process.communicate(timeout=60)
        assert process.returncode == 0


def test_unused_indexes_are_removed(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, [make_episode("a")]) for name in ("one", "two")]
    open_library(tmp_path, runs[0]).close()
    (old,) = (tmp_path / "index").glob("*.sqlite")
    long_ago = time.time() - 90 * 24 * 3600
    os.utime(old, (long_ago, long_ago))
    open_library(tmp_path, runs[1])
    assert not old.exists()


def test_threads_that_have_ended_leave_no_connection_open(tmp_path: Path) -> None:
    library = open_library(tmp_path, write_run(tmp_path / "run", [make_episode("a")]))

    def num_open_after(num_threads: int) -> int:
        for _ in range(num_threads):
            thread = threading.Thread(target=library.row, args=("run", "a"))
            thread.start()
            thread.join()
        return len(list(Path("/dev/fd").iterdir()))

    assert num_open_after(1) == num_open_after(30)


def test_opening_is_lazy_about_files(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [make_episode("a")])
    sources = open_sources([run])
    (run / "trajectories.jsonl").unlink()
    assert Library(sources, tmp_path / "index").find(Query()).total == 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:4096] + bytes(len(data) - 4096),
        lambda data: data[:8192],
        lambda data: b"not a database " * 500,
    ],
)
def test_a_damaged_index_is_made_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    run = write_run(tmp_path / "run", [make_episode(f"e{number}") for number in range(300)])
    open_library(tmp_path, run).close()
    [file] = (tmp_path / "index").glob("*.sqlite")
    file.write_bytes(damage(file.read_bytes()))
    library = open_library(tmp_path, run)
    assert library.find(Query(text="look")).total == 300
    library.close()
