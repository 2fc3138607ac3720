"""The page of episodes, and the links of the report to it."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("matplotlib", reason="the report extra is not installed")

from atlas.experiments.show_episodes import (
    FAILED,
    EpisodesConfig,
    Played,
    choose_tasks,
    show_episodes,
)
from atlas.reporting.build_report import build_report
from atlas.reporting.config import ReportConfig
from tests.reporting.synthetic_runs import RunFolders, make_run_folders

HOSTILE = '<script>alert("x")</script> | `a` [b](http://evil) "q" é'
SPLITS = ("held_in_test", "held_out_test")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> RunFolders:
    root = tmp_path_factory.mktemp("page of") / "runs"
    return make_run_folders(root, num_tasks=80, labels={"critical": HOSTILE})


def settings(folders: RunFolders, **changes: object) -> EpisodesConfig:
    paths = folders.paths
    given: dict[str, object] = {
        "title": "Episodes",
        "arms": ("critical", "all"),
        "labels": {"critical": HOSTILE},
        "played": {
            split: (paths[f"evaluate-critical-0-{split}"], paths[f"evaluate-all-0-{split}"])
            for split in SPLITS
        },
        "trajectories": paths["trajectories"],
        "selections": {"critical": paths["annotated"], "random": paths["random"]},
    }
    return EpisodesConfig(**(given | changes))


def reported(folders: RunFolders, out: Path, page: Path | None) -> str:
    config: ReportConfig = folders.config.model_copy(update={"episodes": page})
    build_report(config, out)
    return (out / "report.html").read_text(encoding="utf-8")


def links(text: str) -> list[str]:
    return re.findall(r'href="([^"#]+#[^"]+)"', text)


def test_every_link_of_the_report_leads_to_an_id_of_the_page(folders: RunFolders) -> None:
    out = folders.root.parent
    manifest = show_episodes(settings(folders), out / "episodes")
    assert manifest.summary["tasks"] == 20
    assert manifest.summary["trajectories"] == 10
    page = (out / "episodes" / "episodes.html").read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    text = reported(folders, out / "report", out / "episodes")
    found = links(text)
    assert len(set(found)) == 2 * 20 + 10
    for link in found:
        file, _, anchor = link.partition("#")
        assert file == "../episodes/episodes.html"
        assert (out / "report" / unquote(file)).resolve() == out / "episodes" / "episodes.html"
        assert anchor in ids
    markdown = (out / "report" / "report.md").read_text(encoding="utf-8")
    in_markdown = re.findall(r"\]\((\.\./episodes/episodes\.html#[^)]+)\)", markdown)
    assert set(in_markdown) == set(found)
    assert "<script>alert" not in page + text + markdown
    # The reader of an episode sees whose it is.
    assert page.count("<b>all, held_in_test</b>") + page.count("<b>all, held_out_test</b>") == 20


def test_a_report_without_a_page_has_no_links(folders: RunFolders) -> None:
    text = reported(folders, folders.root.parent / "plain", None)
    assert not links(text)
    assert "Episodes to read" not in text


def test_the_page_is_the_same_bytes_again_and_made_again_where_its_runs_change(
    folders: RunFolders, tmp_path: Path
) -> None:
    config = settings(folders)
    first = show_episodes(config, tmp_path / "episodes")
    assert show_episodes(config, tmp_path / "episodes") == first
    assert show_episodes(config, tmp_path / "again").outputs == first.outputs
    changed = settings(folders, arms=("random", "all"), played={})
    assert show_episodes(changed, tmp_path / "episodes").summary["tasks"] == 0
    kept = tmp_path / "episodes-1" / "episodes.html"
    assert kept.read_bytes() == (tmp_path / "again" / "episodes.html").read_bytes()


def test_an_interrupted_page_is_written_again(
    folders: RunFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    config, out = settings(folders), tmp_path / "episodes"
    with monkeypatch.context() as patch:
        patch.setattr("atlas.experiments.show_episodes.write_records", interrupt)
        with pytest.raises(KeyboardInterrupt):
            show_episodes(config, out)
    (out / "episodes.html").write_text("<p>half")
    again = show_episodes(config, out)
    assert again.outputs == show_episodes(config, tmp_path / "other").outputs
    assert not (tmp_path / "episodes-1").exists()


played_tasks = st.dictionaries(
    st.sampled_from("abcdefgh"),
    st.tuples(st.just("id"), st.sampled_from(("success", *FAILED, "error", "unknown"))),
)


@given(
    st.dictionaries(st.sampled_from("xyz"), st.tuples(played_tasks, played_tasks)),
    st.integers(0, 9),
)
def test_chosen_tasks_flipped_and_both_directions_take_turns(
    played: dict[str, tuple[Played, Played]], number: int
) -> None:
    chosen = choose_tasks(played, number)
    won = {True: 0, False: 0}
    for split, task in chosen:
        statuses = [side[task][1] for side in played[split]]
        assert statuses.count("success") == 1
        assert set(statuses) - {"success"} <= set(FAILED)
        won[statuses[0] == "success"] += 1
    flipped = [
        (split, task)
        for split, (left, right) in played.items()
        for task in left
        if task in right
        and sorted((left[task][1] == "success", right[task][1] == "success")) == [False, True]
        and {left[task][1], right[task][1]} - {"success"} <= set(FAILED)
    ]
    assert len(chosen) == len(set(chosen)) == min(number, len(flipped))
    assert chosen == [one for one in flipped if one in set(chosen)]
    if len(played) == 1 and number < len(flipped):
        left_wins = sum(played[split][0][task][1] == "success" for split, task in flipped)
        fewest = min(left_wins, len(flipped) - left_wins)
        assert min(won.values()) >= min(number // 2, fewest)
