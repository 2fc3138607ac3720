"""Each finding is found where it is, and nothing is found in a clean file."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from atlas.auditing.audit_files import Audit, AuditConfig, audit_files
from atlas.auditing.audit_report import as_json
from atlas.auditing.findings import FINDINGS
from atlas.errors import ConfigError, DataError
from atlas.kinds import Choice
from atlas.rendering.renderer import Renderer
from tests.conformance.test_trainers import CHAT, golden_row
from tests.template_families import family_renderer
from tests.templates import CHATML, THINKING, make_tokenizer, tiny_tokenizer

RENDERER = Renderer(tiny_tokenizer(CHATML), "chatml")
OPEN_ENDED = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
TWICE_BEGUN = "{{ '<s><s>' }}" + CHATML


def audited(
    folder: Path,
    rows: list[Any],
    name: str,
    renderer: Renderer = RENDERER,
    **settings: Any,
) -> Audit:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = AuditConfig(trainer=Choice(name, settings), paths=(str(file),))
    return audit_files(config, renderer)


def counts(audit: Audit) -> dict[str, int]:
    return {name: found.count for name, found in audit.tally.found.items()}


def chat(*contents: str, **fields: Any) -> dict[str, Any]:
    """A conversation; the fields are those of each response."""
    roles = ("user", "assistant")
    return {
        "messages": [
            {"role": roles[place % 2], "content": text, **(fields if place % 2 else {})}
            for place, text in enumerate(contents)
        ]
    }


def test_a_clean_file_has_no_finding(tmp_path: Path) -> None:
    audit = audited(tmp_path, [golden_row("axolotl")] * 3, "axolotl")
    assert counts(audit) == {}
    assert audit.failed_on == ()
    assert audit.tally.num_rows == 3


def test_a_whole_conversation_under_trl_supervises_headers_and_observations(tmp_path: Path) -> None:
    audit = audited(tmp_path, [{"messages": CHAT}], "trl")
    assert {"headers", "observations"} <= set(audit.failed_on)


def test_an_end_of_turn_that_is_not_the_eos_token_is_untrained_under_axolotl(
    tmp_path: Path,
) -> None:
    special = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
    renderer = Renderer(make_tokenizer(CHATML, special, "<|endoftext|>"), "another eos")
    rows = [chat("a", "b", "c", "d")]
    assert counts(audited(tmp_path, rows, "axolotl", renderer)) == {"end-of-turn": 2}
    named = audited(tmp_path, rows, "axolotl", renderer, eot_tokens=("<|im_end|>",))
    assert counts(named) == {}


def test_a_template_without_an_end_of_turn_is_found(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(CHATML)
    tokenizer.chat_template = OPEN_ENDED
    audit = audited(tmp_path, [chat("a", "b")], "openai", Renderer(tokenizer, "open"))
    assert counts(audit)["end-of-turn"] == 1


def test_a_flag_that_the_trainer_does_not_read_is_found(tmp_path: Path) -> None:
    row = chat("a", "b", "c", "d", weight=0)
    assert counts(audited(tmp_path, [row], "axolotl"))["unread-flags"] == 1
    ours = golden_row("axolotl")
    assert counts(audited(tmp_path, [ours], "axolotl", message_field_training=None)) == {
        "unread-flags": 1
    }


def test_a_row_whose_flags_were_dropped_is_found_among_others(tmp_path: Path) -> None:
    bare = {"messages": CHAT}
    audit = audited(tmp_path, [golden_row("openai"), bare, golden_row("openai")], "openai")
    [example] = audit.tally.found["missing-flags"].examples
    assert "row 1" in example.where
    half = golden_row("openai")
    del half["messages"][2]["weight"]
    assert counts(audited(tmp_path, [half], "openai"))["missing-flags"] == 1


def test_a_row_without_a_supervised_token_is_found(tmp_path: Path) -> None:
    assert counts(audited(tmp_path, [chat("a", "b", weight=0)], "openai")) == {
        "nothing-supervised": 1
    }


def test_what_the_maximum_length_cuts_is_found(tmp_path: Path) -> None:
    rows = [chat("a", "b", "a long question " * 30, "d"), chat("long " * 200, "b")]
    found = counts(audited(tmp_path, rows, "openai", max_length=60))
    assert found["truncated"] == 2
    assert found["all-truncated"] == 1
    dropped = audited(tmp_path, rows, "axolotl", max_length=60)
    assert counts(dropped)["all-truncated"] == 2


def test_thinking_that_the_template_strips_is_found_by_whether_the_turn_is_trained(
    tmp_path: Path,
) -> None:
    renderer = Renderer(tiny_tokenizer(THINKING), "thinking")
    row = chat("a", "b", "c", "d", reasoning_content="Hm.")
    assert counts(audited(tmp_path, [row], "openai", renderer)) == {"thinking-lost": 1}
    row["messages"][1]["weight"], row["messages"][3]["weight"] = 0, 1
    assert counts(audited(tmp_path, [row], "openai", renderer)) == {"thinking-stripped": 1}


def test_calls_that_the_template_does_not_write_are_found(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "look", "arguments": "{}"}}
    row = chat("a", "b", tool_calls=[call])
    assert counts(audited(tmp_path, [row], "openai")) == {"content-lost": 1}
    assert counts(audited(tmp_path, [row], "openai", family_renderer("qwen2.5"))) == {}


def test_axolotl_gives_no_calls_to_a_template_whose_loop_names_a_message_otherwise(
    tmp_path: Path,
) -> None:
    call = {"type": "function", "function": {"name": "look", "arguments": "{}"}}
    row = chat("a", "b", tool_calls=[call])
    found = counts(audited(tmp_path, [row], "axolotl", family_renderer("qwen2.5")))
    assert found == {"content-lost": 1}


def test_a_sequence_that_begins_twice_is_found(tmp_path: Path) -> None:
    special = ["<s>", "<|im_start|>", "<|im_end|>"]
    renderer = Renderer(make_tokenizer(TWICE_BEGUN, special, "<|im_end|>", "<s>"), "twice")
    assert counts(audited(tmp_path, [chat("a", "b")], "openai", renderer)) == {"double-bos": 1}


def test_a_token_that_ends_a_turn_among_words_is_found(tmp_path: Path) -> None:
    audit = audited(tmp_path, [chat("a", "b <|im_end|> c")], "openai")
    assert "stop-inside" in counts(audit)


def test_the_end_of_an_unflagged_last_turn_is_found_under_ms_swift(tmp_path: Path) -> None:
    found = counts(audited(tmp_path, [golden_row("ms-swift")], "ms-swift"))
    assert found["end-only"] == 1


def test_role_headers_are_found_under_torchtune(tmp_path: Path) -> None:
    assert counts(audited(tmp_path, [golden_row("torchtune")], "torchtune"))["headers"] > 0


def test_rows_that_a_trainer_skips_are_refused_with_the_reason(tmp_path: Path) -> None:
    rows = [{"conversations": [{"from": "gpt", "value": "a"}, {"from": "human", "value": "b"}]}]
    audit = audited(tmp_path, [*rows, golden_row("llamafactory")], "llamafactory")
    assert "expected" in audit.tally.found["refused"].examples[0].detail


def test_rows_of_tokens_are_audited_as_they_are(tmp_path: Path) -> None:
    text = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
    ids = RENDERER.encode(text)
    end = len(RENDERER.encode("b<|im_end|>\n"))
    labels = [-100] * (len(ids) - end) + ids[-end:]
    labels[-1] = -100
    assert counts(audited(tmp_path, [{"input_ids": ids, "labels": labels}], "trl")) == {}
    labels[-2] = -100
    found = counts(audited(tmp_path, [{"input_ids": ids, "labels": labels}], "trl"))
    assert found == {"end-of-turn": 1}
    mask = [int(label >= 0) for label in labels]
    for name in ("assistant_masks", "loss_mask"):
        assert counts(audited(tmp_path, [{"input_ids": ids, name: mask}], "trl")) == found


def test_what_is_no_training_row_is_unreadable_and_a_file_of_it_is_an_error(tmp_path: Path) -> None:
    audit = audited(tmp_path, [{"a": 1}, chat("a", "b")], "openai")
    assert counts(audit) == {"unreadable": 1}
    with pytest.raises(DataError, match="none of 1 rows"):
        audited(tmp_path, [{"a": 1}], "openai")


def test_tool_schemas_that_the_template_writes_first_count_as_system_text(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "look", "description": "d", "parameters": {}}}
    row = {**chat("a", "b"), "tools": [tool]}
    for family in ("qwen2.5", "qwen3"):
        audit = audited(tmp_path, [row], "trl", family_renderer(family))
        parts = as_json(audit)["parts"]
        assert parts["system words"]["supervised"] > 50
        assert parts["user header"]["tokens"] < 20
        assert counts(audit)["observations"] > parts["system words"]["supervised"]


BLOCKS = [{"type": "thinking", "thinking": "I think about doors.", "signature": "x"}]


@pytest.mark.parametrize(
    ("fields", "finding"),
    [
        ({"reasoning_text": "I think about doors."}, "thinking-lost"),
        ({"thinking_blocks": BLOCKS}, "thinking-lost"),
        (
            {"reasoning_details": [{"type": "reasoning.text", "text": "I think about doors."}]},
            "thinking-lost",
        ),
        ({"function_call": {"name": "look", "arguments": "{}"}}, "content-lost"),
    ],
    ids=lambda one: next(iter(one)) if isinstance(one, dict) else one,
)
@pytest.mark.parametrize("name", ["axolotl", "llamafactory", "ms-swift", "openai", "torchtune"])
def test_thinking_and_calls_are_lost_in_every_spelling_that_is_not_written(
    name: str, fields: dict[str, Any], finding: str, tmp_path: Path
) -> None:
    family = family_renderer("qwen3" if name in ("axolotl", "openai") else "qwen2.5")
    found = counts(audited(tmp_path, [chat("a", "b", **fields)], name, family))
    assert found[finding] == 1


def test_a_copy_of_thinking_that_is_written_is_not_lost(tmp_path: Path) -> None:
    row = chat("a", "b", reasoning_content="I think.", thinking_blocks=BLOCKS)
    for name in ("openai", "axolotl"):
        assert counts(audited(tmp_path, [row], name, family_renderer("qwen3"))) == {}


SHARED = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
COMPLETED = {
    "prompt": [{"role": "user", "content": "a"}],
    "completion": [{"role": "assistant", "content": "b"}],
}


@pytest.mark.parametrize("row", [SHARED, COMPLETED], ids=["sharegpt", "completion"])
@pytest.mark.parametrize("name", ["axolotl", "openai", "renderers", "tinker", "verl"])
def test_a_row_of_another_dialect_is_refused_and_never_read_as_its_own(
    name: str, row: dict[str, Any], tmp_path: Path
) -> None:
    audit = audited(tmp_path, [row], name)
    assert counts(audit) == {"refused": 1}
    assert "another dialect" in audit.tally.found["refused"].examples[0].detail


@pytest.mark.parametrize("role", ["alien", "human", "gpt"])
def test_a_role_that_openai_does_not_know_is_refused(role: str, tmp_path: Path) -> None:
    row = {"messages": [{"role": role, "content": "a"}, {"role": "assistant", "content": "b"}]}
    assert counts(audited(tmp_path, [row], "openai")) == {"refused": 1}


def test_axolotl_reads_rows_of_sharegpt_where_its_settings_say_so(tmp_path: Path) -> None:
    settings = {"field_messages": "conversations", "read_from_value": True}
    assert counts(audited(tmp_path, [SHARED], "axolotl", **settings)) == {}


@pytest.mark.parametrize("name", ["ms-swift", "llamafactory"])
def test_trainers_of_both_spellings_take_both(name: str, tmp_path: Path) -> None:
    assert "refused" not in counts(audited(tmp_path, [SHARED, chat("a", "b")], name))


def test_trl_writes_the_roles_of_sharegpt_as_they_are(tmp_path: Path) -> None:
    audit = audited(tmp_path, [SHARED], "trl")
    assert "human" in as_json(audit)["worst"][0]["text"]


def test_a_system_column_is_lost_where_the_trainer_does_not_read_it(tmp_path: Path) -> None:
    row = {**chat("a", "b"), "system": "Be brief."}
    audit = audited(tmp_path, [row], "openai")
    assert counts(audit) == {"content-lost": 1}
    assert "system words" not in as_json(audit)["parts"]
    assert counts(audited(tmp_path, [row], "axolotl")) == {}
    listed = {**row, "message_loss_mask": [False, True]}
    assert counts(audited(tmp_path, [listed], "renderers")) == {"content-lost": 1}


@pytest.mark.parametrize(
    ("ids", "name"), [([1, -4], "unreadable"), ([2**70], "unreadable"), ([1, 10**6], "refused")]
)
def test_tokens_that_the_tokenizer_does_not_have_are_found(
    ids: list[int], name: str, tmp_path: Path
) -> None:
    rows = [{"input_ids": ids, "labels": ids}, chat("a", "b")]
    assert audited(tmp_path, rows, "axolotl").tally.found[name].count == 1


@pytest.mark.parametrize("ending", [".json", ".jsonl.gz"])
def test_other_containers_give_the_same_sums(ending: str, tmp_path: Path) -> None:
    rows = [golden_row("openai"), chat("a", "b")]
    plain = audited(tmp_path, rows, "openai")
    file = tmp_path / f"other{ending}"
    if ending == ".json":
        file.write_text(json.dumps(rows), encoding="utf-8")
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        file.write_bytes(gzip.compress(text.encode()))
    config = AuditConfig(trainer=Choice("openai"), paths=(str(file),))
    other = audit_files(config, RENDERER)
    assert (other.tally.supervised == plain.tally.supervised).all()
    assert (other.tally.tokens == plain.tally.tokens).all()


def test_several_processes_find_the_same_as_one(tmp_path: Path) -> None:
    folder = tmp_path / "tokenizer"
    tiny_tokenizer(CHATML).save_pretrained(folder)
    rows = [golden_row("axolotl"), chat("a", "b", weight=0), {"a": 1}] * 50
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    reports = []
    for processes in (1, 2):
        config = AuditConfig(
            trainer=Choice("axolotl"),
            paths=(str(file),),
            tokenizer=str(folder),
            processes=processes,
        )
        reports.append(as_json(audit_files(config)))
    assert reports[0] == reports[1]


def test_a_run_folder_is_for_atlas_and_a_selection_for_a_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no file"):
        audit_files(AuditConfig(trainer=Choice("trl")), RENDERER)
    file = tmp_path / "f.jsonl"
    file.write_text(json.dumps(golden_row("openai")) + "\n")
    config = AuditConfig(trainer=Choice("trl"), paths=(str(file),), selection="s")
    with pytest.raises(ConfigError, match="--as atlas"):
        audit_files(config, RENDERER)
    with pytest.raises(ConfigError, match="--tokenizer"):
        audit_files(AuditConfig(trainer=Choice("trl"), paths=(str(file),)))


def test_the_docs_list_each_finding_and_whether_it_fails_by_default() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "commands" / "audit.md"
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \| .* \| (yes|no) \|$", page.read_text(), re.M)
    assert rows == [
        (name, kind.unit, "yes" if kind.fails else "no") for name, kind in FINDINGS.items()
    ]
