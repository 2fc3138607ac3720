from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import AtlasError, ConfigError
from atlas.store.paths import check_path, name_fault, shown_path
from atlas.store.run_folders import start_run
from tests.run_folders import NoSettings


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "it is empty"),
        ("a\0b", "NUL"),
        ("a\udcff", "not UTF-8"),
        ("x" * 300, "longer than the file system allows"),
        ("x" * 300 + "/y", "longer than the file system allows"),
        ("nowhere", "nowhere is a link to .*gone, which does not exist"),
        ("nowhere/x", "nowhere is a link to .*gone, which does not exist"),
        ("loop", "lead back to themselves"),
        ("loop/x", "lead back to themselves"),
        ("file/x", "a part of it is a file"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused_with_the_reason(
    path: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_text("x")
    given = f"{tmp_path}/{path}" if path else ""
    with pytest.raises(ConfigError, match=rf"--out .* cannot be used: .*{reason}"):
        check_path(given, "--out")
    if path:
        with pytest.raises(AtlasError):
            start_run(Path(given), "collect", NoSettings())


@given(st.text(max_size=300))
def test_a_name_without_a_fault_is_a_folder_in_the_folder_where_it_is_made(name: str) -> None:
    if name_fault(name) is None:
        made = Path("/out") / name
        assert made.parent == Path("/out")
        assert made.name == name
        assert name.isprintable() or not name.isascii()


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "/etc", "a/b", "a\\b", "a\0", "a\x1b[31m", "a\u202eb", "x" * 300],
)
def test_names_that_leave_the_folder_or_cannot_be_seen_have_a_fault(name: str) -> None:
    assert name_fault(name)


def test_bytes_that_are_not_utf8_are_shown_as_escapes() -> None:
    assert shown_path("a\udcffb") == "a\\xffb"
    assert shown_path("Zürich") == "Zürich"
