from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atlas.errors import ConfigError, DataError
from atlas.records import Label
from atlas.store.labels import COLUMNS, LabelFile, read_labels
from atlas.store.record_files import write_records

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(str.strip).filter(bool)
LABELS = st.lists(
    st.builds(
        Label,
        trajectory_id=NAMES,
        step=st.integers(0, 50),
        type=st.sampled_from(["plan_creation", "critical"]),
        annotator=NAMES,
        note=st.none() | NAMES,
    ),
    max_size=8,
    unique_by=lambda label: (label.trajectory_id, label.step, label.annotator),
)


def read(folder: Path, text: str, name: str = "labels.jsonl") -> LabelFile:
    (folder / name).write_bytes(text.encode("utf-8"))
    return read_labels(folder / name)


def lines(*labels: dict[str, object]) -> str:
    return "".join(json.dumps({"trajectory_id": "t", "step": 0} | label) + "\n" for label in labels)


def problems_of(file: LabelFile) -> list[tuple[str, str]]:
    return [(problem.where, problem.reason) for problem in file.problems]


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(labels=LABELS)
def test_what_is_written_as_json_lines_is_read_again(labels: list[Label], tmp_path: Path) -> None:
    write_records(tmp_path / "labels.jsonl", labels)
    file = read_labels(tmp_path / "labels.jsonl")
    assert ([placed.label for placed in file.labels], file.problems) == (labels, ())


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(labels=LABELS, separator=st.sampled_from(",;\t"), mark=st.sampled_from(["", "\ufeff"]))
def test_what_a_spreadsheet_writes_is_read_again(
    labels: list[Label], separator: str, mark: str, tmp_path: Path
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator)
    writer.writerow(COLUMNS)
    writer.writerows([*label.model_dump().values()] for label in labels)
    file = read(tmp_path, mark + text.getvalue(), "labels.csv")
    assert ([placed.label for placed in file.labels], file.problems) == (labels, ())


@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    text=st.text(st.characters(exclude_categories=["Cs"])),
    name=st.sampled_from(["labels.jsonl", "labels.csv"]),
)
def test_any_text_is_labels_problems_or_one_clear_error(
    text: str, name: str, tmp_path: Path
) -> None:
    try:
        file = read(tmp_path, text, name)
    except DataError as error:
        told = [str(error)]
    else:
        told = [problem.where for problem in file.problems]
    assert all(f"{name} line " in place for place in told)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("[1]", "a list, expected an object"),
        ('{"step": 1}', "no trajectory_id"),
        ('{"trajectory_id": "t"}', "no step"),
        ('{"trajectory_id": "t", "step": -1}', "Turns of the prompt"),
        ('{"trajectory_id": "t", "step": 1.5}', "whole number"),
        ('{"trajectory_id": "t", "step": true}', "whole number"),
        ('{"trajectory_id": "t", "step": 1, "type": "important"}', "type is 'important'"),
        ('{"trajectory_id": "t", "step": 1, "kind": "none"}', "the field 'kind' is not known"),
        ('{"trajectory_id": "t", "step": 1, "annotator": ""}', "annotator is ''"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_line_that_is_no_label_is_a_problem_with_its_number_and_costs_no_other(
    line: str, reason: str, tmp_path: Path
) -> None:
    file = read(tmp_path, f"{lines({})}\n{line}\n{lines({'step': 5})}")
    assert [placed.label.step for placed in file.labels] == [0, 5]
    ((where, said),) = problems_of(file)
    assert where == "labels.jsonl line 3"
    assert reason in said


def test_types_may_be_written_as_people_write_them(tmp_path: Path) -> None:
    file = read(
        tmp_path,
        "trajectory_id,step,type\nt,0,Plan Creation\nt,1,self-correction\nt,2,\nt,3,NONE\n",
        "labels.csv",
    )
    assert [placed.label.type for placed in file.labels] == [
        "plan_creation",
        "self_correction",
        "critical",
        "none",
    ]


def test_a_repetition_counts_once_and_several_types_of_one_step_all(tmp_path: Path) -> None:
    file = read(
        tmp_path,
        lines(
            {"type": "critical_action"},
            {"type": "plan_creation"},
            {"type": "critical_action", "note": "again"},
        ),
    )
    assert [placed.label.type for placed in file.labels] == ["critical_action", "plan_creation"]
    assert problems_of(file) == [
        (
            "labels.jsonl line 3",
            "unnamed repeats labels.jsonl line 1 for step 0; it counts once",
        )
    ]


def test_where_one_person_contradicts_herself_neither_label_counts_but_two_people_may_disagree(
    tmp_path: Path,
) -> None:
    mine, hers = {"annotator": "ann"}, {"annotator": "bea"}
    file = read(tmp_path, lines(mine, hers, mine | {"type": "none"}, mine | {"step": 1}))
    assert [(placed.label.annotator, placed.label.step) for placed in file.labels] == [
        ("bea", 0),
        ("ann", 1),
    ]
    ((where, reason),) = problems_of(file)
    assert where == "labels.jsonl line 3"
    assert "(lines 1 and 3)" in reason


def test_a_csv_row_is_named_by_the_line_where_it_begins(tmp_path: Path) -> None:
    text = 'trajectory_id;step;note\nt;0;"one\ntwo\nthree"\nt;x;\nt;1;a;b\n'
    file = read(tmp_path, text, "labels.csv")
    assert [placed.where for placed in file.labels] == ["labels.csv line 2"]
    assert [where for where, _ in problems_of(file)] == ["labels.csv line 5", "labels.csv line 6"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "trajectory,step\nt,0\n",
            "the column 'trajectory' is not known. Did you mean 'trajectory_id'",
        ),
        ("step,note\n0,a\n", "no column trajectory_id"),
        ("trajectory_id,step,step\nt,0,1\n", "'step' occurs twice"),
    ],
)
def test_a_csv_file_with_a_wrong_first_line_is_refused(
    text: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="line 1") as caught:
        read(tmp_path, text, "labels.csv")
    assert said in str(caught.value)


def test_files_that_are_missing_otherwise_named_or_not_utf_8_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_labels(tmp_path / "labels.jsonl")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ConfigError, match="Is a directory"):
        read_labels(tmp_path / "folder.csv")
    with pytest.raises(ConfigError, match=r"ends in \.jsonl or \.csv"):
        read_labels(tmp_path / "labels.xlsx")
    (tmp_path / "labels.csv").write_bytes("trajectory_id,step,note\nt,0,é\n".encode("latin-1"))
    with pytest.raises(DataError, match="line 2: not UTF-8"):
        read_labels(tmp_path / "labels.csv")
