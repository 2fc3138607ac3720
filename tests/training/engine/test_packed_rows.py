from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.training.engine.micro_batches import cut_into_micro_batches
from atlas.training.engine.packed_rows import MIN_SHARED_TOKENS, PackedRow, pack_row
from tests.training.tiny_families import example, nested_examples

shapes = st.lists(
    st.tuples(st.integers(2, 40), st.sampled_from([0, 20, 33, 70])), min_size=1, max_size=8
)
PROMPT = np.random.default_rng(5).integers(0, 50, 70).tolist()


def sequences_of(row: PackedRow) -> list[list[int]]:
    """Every sequence that the row holds: the tokens on the path to each node."""
    return [
        [
            int(token)
            for index in (*node.ancestors, place)
            for token in row.token_ids[row.nodes[index].start : row.nodes[index].end]
        ]
        for place, node in enumerate(row.nodes)
    ]


@settings(max_examples=50, deadline=None)
@given(shapes=shapes, shares=st.booleans())
def test_a_row_holds_every_sequence_at_its_own_positions_and_every_supervised_token(
    shapes: list[tuple[int, int]], shares: bool
) -> None:
    examples = [
        example(index % 4, length, PROMPT[:shared]) for index, (length, shared) in enumerate(shapes)
    ]
    row = pack_row([(one.input_ids, one.labels) for one in examples], shares)
    held = sequences_of(row)
    assert all(one.input_ids.tolist() in held for one in examples)
    for node in row.nodes:
        assert row.position_ids[node.start : node.end].tolist() == list(
            range(node.position, node.position + node.end - node.start)
        )
        assert node.position == sum(
            row.nodes[above].end - row.nodes[above].start for above in node.ancestors
        )
    assert [node.start for node in row.nodes[1:]] == [node.end for node in row.nodes[:-1]], (
        "no gap, no padding"
    )
    assert sorted(row.targets.tolist()) == sorted(
        int(label) for one in examples for label in one.labels if label != -100
    )
    assert len(row.token_ids) <= sum(len(one.input_ids) for one in examples)


def test_a_common_beginning_occurs_once_and_nests() -> None:
    row = pack_row([(one.input_ids, one.labels) for one in nested_examples()], share_prompts=True)
    depths = sorted(len(node.ancestors) for node in row.nodes)
    assert depths == [0, 0, 0, 1, 1, 1, 2, 2]
    assert (
        len(row.token_ids) == sum(len(one.input_ids) for one in nested_examples()) - 4 * 40 - 2 * 36
    )


def test_a_short_common_beginning_is_not_shared() -> None:
    examples = [example(index, 20, PROMPT[: MIN_SHARED_TOKENS - 1]) for index in range(3)]
    row = pack_row([(one.input_ids, one.labels) for one in examples], share_prompts=True)
    assert len(row.nodes) == 3


def test_siblings_that_part_after_a_shared_token_are_all_supervised() -> None:
    examples = [example(index, 1, PROMPT[:40], supervised=0) for index in range(5)]
    row = pack_row([(one.input_ids, one.labels) for one in examples], share_prompts=True)
    assert len(row.kept) == 1
    assert sorted(row.targets.tolist()) == sorted(int(one.input_ids[-1]) for one in examples)


@settings(max_examples=50, deadline=None)
@given(
    shapes=shapes | st.just([]),
    max_tokens=st.integers(1, 300),
    max_examples=st.one_of(st.none(), st.integers(1, 3)),
    padded=st.booleans(),
    at_least=st.integers(1, 4),
)
def test_micro_batches_hold_every_example_once_within_their_limits(
    shapes: list[tuple[int, int]],
    max_tokens: int,
    max_examples: int | None,
    padded: bool,
    at_least: int,
) -> None:
    tokens = [
        example(index % 4, length, PROMPT[:shared]).input_ids
        for index, (length, shared) in enumerate(shapes)
    ]
    batches = cut_into_micro_batches(tokens, max_tokens, max_examples, padded, not padded, at_least)
    assert sorted(index for batch in batches for index in batch) == list(range(len(tokens)))
    assert len(batches) >= min(at_least, len(tokens))
    for batch in batches:
        assert max_examples is None or len(batch) <= max_examples
        if padded:
            cost = len(batch) * max(len(tokens[index]) for index in batch)
        else:
            cost = len(
                pack_row(
                    [(tokens[index], np.full(len(tokens[index]), -100)) for index in batch], True
                ).token_ids
            )
        assert cost <= max_tokens or len(batch) == 1
