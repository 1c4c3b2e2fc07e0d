"""The tree against plain sets of prefixes: it says the same with fewer tokens."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.prefix_tree import Node, PrefixTree

# Few letters, so that prefixes are shared, sequences repeat, and one is the prefix of another.
prompts = st.lists(st.lists(st.integers(0, 2), max_size=8).map(tuple), min_size=1, max_size=8)


@st.composite
def prompts_with_positions(
    draw: st.DrawFn,
) -> tuple[list[tuple[int, ...]], list[int], list[int | None]]:
    """Prompts, from where each is scored, and where the state of each is taken."""
    chosen = draw(prompts)
    score_from = [draw(st.integers(0, len(prompt))) for prompt in chosen]
    state_at = [draw(st.none() | st.integers(0, len(prompt))) for prompt in chosen]
    return chosen, score_from, state_at


def prefixes(sequences: Sequence[Sequence[int]]) -> set[tuple[int, ...]]:
    """All distinct prefixes but the empty one."""
    return {tuple(s[:size]) for s in sequences for size in range(1, len(s) + 1)}


def text_of(node: Node) -> tuple[int, ...]:
    """Tokens from the root to the node's end, read upwards."""
    return (*(text_of(node.parent) if node.parent else ()), *node.tokens)


@given(prompts)
def test_the_path_of_a_prompt_spells_it(sequences: list[tuple[int, ...]]) -> None:
    tree = PrefixTree(sequences)
    for index, sequence in enumerate(sequences):
        path = tree.path(index)
        assert [token for node in path for token in node.tokens] == list(sequence)
        assert index in (path[-1] if path else tree.root).prompts


@given(prompts)
def test_every_shared_token_is_computed_once(sequences: list[tuple[int, ...]]) -> None:
    assert PrefixTree(sequences).num_tokens == len(prefixes(sequences))


@given(prompts_with_positions())
def test_nodes_tile_the_prefixes(
    drawn: tuple[list[tuple[int, ...]], list[int], list[int | None]],
) -> None:
    """Every prefix lies in one node, children begin differently, depths and parents fit."""
    sequences, score_from, state_at = drawn
    tree = PrefixTree(sequences, score_from, state_at)
    covered = []
    for node in tree:
        assert node.tokens
        assert node.parent is not None
        assert node.parent.children[node.tokens[0]] is node
        assert node.depth == node.parent.end
        text = text_of(node)
        assert len(text) == node.end
        covered += [text[:size] for size in range(node.depth + 1, node.end + 1)]
    assert sorted(covered) == sorted(prefixes(sequences))


@given(prompts_with_positions())
def test_nodes_end_only_where_something_happens(
    drawn: tuple[list[tuple[int, ...]], list[int], list[int | None]],
) -> None:
    """The tree is compressed: an end is a parting of ways, the end of a prompt, or a taken state.

    A node fewer is a copy of a state fewer.
    """
    sequences, score_from, state_at = drawn
    for node in PrefixTree(sequences, score_from, state_at):
        assert len(node.children) > 1 or node.prompts or node.taken_by


@given(prompts_with_positions())
def test_each_prompt_ends_and_has_its_state_taken_where_asked(
    drawn: tuple[list[tuple[int, ...]], list[int], list[int | None]],
) -> None:
    sequences, score_from, state_at = drawn
    tree = PrefixTree(sequences, score_from, state_at)
    nodes = [tree.root, *tree]
    ended = {index: text_of(node) for node in nodes for index in node.prompts}
    assert ended == dict(enumerate(sequences))
    assert sum(len(node.prompts) for node in nodes) == len(sequences)
    taken = {index: text_of(node) for node in nodes for index in node.taken_by}
    assert taken == {
        index: sequences[index][:position]
        for index, position in enumerate(state_at)
        if position is not None
    }
    assert sum(len(node.taken_by) for node in nodes) == len(taken)


@given(prompts_with_positions())
def test_a_token_is_scored_if_any_prompt_through_it_asks(
    drawn: tuple[list[tuple[int, ...]], list[int], list[int | None]],
) -> None:
    """A node's first scored position is the least of the prompts that pass through it."""
    sequences, score_from, state_at = drawn
    for node in PrefixTree(sequences, score_from, state_at):
        text = text_of(node)
        asking = [
            first
            for sequence, first in zip(sequences, score_from, strict=True)
            if sequence[: len(text)] == text
        ]
        assert node.score_from == min(asking)


@given(prompts)
def test_nothing_is_scored_unless_asked(sequences: list[tuple[int, ...]]) -> None:
    assert all(node.score_from > node.end for node in PrefixTree(sequences))


@given(prompts)
def test_parents_come_before_their_children(sequences: list[tuple[int, ...]]) -> None:
    seen: set[int] = set()
    tree = PrefixTree(sequences)
    seen.add(id(tree.root))
    for node in tree:
        assert id(node.parent) in seen
        seen.add(id(node))


@pytest.mark.parametrize(
    ("sequences", "runs"),
    [
        ([(1, 2, 3)], [[1, 2, 3]]),
        ([(1, 2, 3), (1, 2, 4)], [[1, 2], [3], [4]]),
        ([(1, 2), (1, 2, 3)], [[1, 2], [3]]),
        ([(1, 2, 3), (1,)], [[1], [2, 3]]),
        ([(1, 2), (1, 2)], [[1, 2]]),
        ([()], []),
    ],
    ids=["one", "a parting", "a longer one", "a shorter one", "duplicates", "empty"],
)
def test_known_trees(sequences: list[tuple[int, ...]], runs: list[list[int]]) -> None:
    assert sorted(node.tokens for node in PrefixTree(sequences)) == runs


def test_a_taken_state_splits_a_run() -> None:
    tree = PrefixTree([(5, 6, 7)], None, [2])
    assert [node.tokens for node in tree.path(0)] == [[5, 6], [7]]
    assert tree.path(0)[0].taken_by == [0]
