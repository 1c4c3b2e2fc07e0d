"""Masks of guides against brute force over small vocabularies."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from service.engine.request import Grammar, SamplingParams, TokenChoices
from service.engine.sampling.guides import Guides, GuideState, allowed_tokens
from service.engine.sampling.logits_processors import (
    PromptTokens,
    SampleState,
    SamplingRules,
    processed,
)

pytest.importorskip("llguidance", reason="the extra 'guided' is not installed")

SPELLINGS = [b"", b"", b"\n", b" ", b"a", b"b", b" a", b"ab", b" ab", b"1", b"12", b"\xc3", b"\xa9"]
END = 1
STOPS = np.array([END], np.int64)
GUIDES = Guides(SPELLINGS)


def regex(pattern: str) -> Grammar:
    from llguidance import LLMatcher

    lark = f'%llguidance {{"no_forcing": true}}\nstart: /{pattern}/\n'
    return Grammar(LLMatcher.grammar_from_lark(lark))


def allowed(state: GuideState) -> set[int]:
    return set(np.flatnonzero(allowed_tokens(state, STOPS)).tolist())


def paths(state: GuideState, length: int) -> set[tuple[int, ...]]:
    """Token sequences of at most `length` tokens that the guide lets end."""
    found: set[tuple[int, ...]] = set()
    for token in allowed(state):
        if token == END:
            found.add(())
        elif length:
            after = state.copy()
            after.advance(token)
            found |= {(token, *rest) for rest in paths(after, length - 1)}
    return found


@pytest.mark.parametrize("pattern", ["a*b?", " ?(ab)+", "(a|12)[ab1]", "é|a", "[^b]{2}"])
def test_a_grammar_lets_through_what_spells_a_match(pattern: str) -> None:
    every = range(2, len(SPELLINGS))
    expected = set()
    for size in range(4):
        for tokens in itertools.product(every, repeat=size):
            try:
                text = b"".join(SPELLINGS[token] for token in tokens).decode()
            except UnicodeDecodeError:
                continue
            breaks = any(
                SPELLINGS[left].endswith(b"\n") and SPELLINGS[right].startswith(b" ")
                for left, right in itertools.pairwise(tokens)
            )
            if re.fullmatch(pattern, text, re.DOTALL) and not breaks:
                expected.add(tokens)
    if "^" in pattern:  # in Rust, too, a class takes a line break
        assert any(2 in tokens for tokens in expected)
    assert paths(GUIDES.begin(regex(pattern)), 3) == expected


def test_choices_are_let_through_and_nothing_else() -> None:
    sequences = ((4, 5), (4,), (7, 7, 9), (), (6,))
    assert paths(GUIDES.begin(TokenChoices(sequences)), 5) == set(sequences)
    nowhere = GUIDES.begin(TokenChoices(sequences))
    nowhere.advance(9)
    assert allowed(nowhere) == set()


def test_what_is_no_grammar_is_refused() -> None:
    with pytest.raises(ValueError, match="no usable grammar"):
        GUIDES.begin(Grammar("{"))
    with pytest.raises(ValueError, match="how its tokens are spelled"):
        Guides(()).begin(TokenChoices(((4,),)))


def test_rows_are_masked_and_put_back() -> None:
    params = SamplingParams(stop_token_ids=(END,), suppressed_token_ids=(0,), logit_bias={4: 1.0})
    rules, guide = SamplingRules(params), GUIDES.begin(TokenChoices(((4, 5), (9,))))
    guided = SampleState(rules, 0, PromptTokens(rules, (), guide))
    free = SampleState(rules, 0, PromptTokens(rules))
    values = np.random.default_rng(0).normal(size=(3, len(SPELLINGS))).astype(np.float32)
    before = values.copy()
    with processed(values, [guided, free, guided], lambda: before):
        for row in (0, 2):
            assert set(np.flatnonzero(values[row] > -np.inf).tolist()) == {4, 9}
            assert values[row, 4] == before[row, 4] + 1
        assert set(np.flatnonzero(values[1] == -np.inf).tolist()) == {0}
    assert (values == before).all()
    guided.append(4)
    with processed(values, [guided], lambda: before):
        assert np.flatnonzero(values[0] > -np.inf).tolist() == [5]
