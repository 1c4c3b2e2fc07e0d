"""Texts of a grammar that come to their end within their tokens, whatever is drawn."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.request import Grammar
from service.engine.sampling.guides import Guides, allowed_tokens

pytest.importorskip("llguidance", reason="the extra 'guided' is not installed")

PIECES = ['"', "{", "}", "[", "]", ":", ",", " ", "\\", '",', '"}', "}}", "-", ".", "@", "é"]
PIECES += [*"0123456789", *"abcdefghijklmnopqrstuvwxyz", " the", " cat", "true", "null", "ab"]
SPELLINGS = [b"", *(piece.encode() for piece in PIECES), *(bytes([k]) for k in range(256))]
STOPS = np.array([0], np.int64)
GUIDES = Guides(SPELLINGS)


def grammar(body: str, max_tokens: int | None) -> Grammar:
    from llguidance import LLMatcher

    lark = f'%llguidance {{"no_forcing": true}}\nstart: {body}\n'
    return Grammar(LLMatcher.grammar_from_lark(lark), max_tokens)


def of_json(schema: Any) -> str:
    space = {"x-guidance": {"whitespace_pattern": " ?"}}
    return "%json " + json.dumps({**schema, **space})


def drawn(guide: Grammar, max_tokens: int, seed: int) -> tuple[str, bool]:
    """A text whose every token is drawn from all that may come; whether it ended by itself."""
    state, random = GUIDES.begin(guide), np.random.default_rng(seed)
    spelled = b""
    for _ in range(max_tokens):
        mask = allowed_tokens(state, STOPS)
        token = int(random.choice(np.flatnonzero(mask)))
        if token == 0:
            return spelled.decode(), True
        state.advance(token)
        spelled += SPELLINGS[token]
    return spelled.decode(errors="replace"), False


TREE = {
    "$ref": "#/$defs/tree",
    "$defs": {
        "tree": {
            "type": "object",
            "properties": {
                "leaves": {"type": "array", "items": {"$ref": "#/$defs/tree"}},
                "name": {"type": "string"},
            },
            "required": ["leaves", "name"],
            "additionalProperties": False,
        }
    },
}
SCHEMAS: list[dict[str, Any]] = [
    {"type": "object"},
    {"type": "array", "items": {"type": "string"}, "minItems": 3},
    {"type": "string", "minLength": 5},
    {"type": "number"},
    {"anyOf": [{"type": "array", "items": {"type": "boolean"}}, {"type": "object"}]},
    TREE,
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
@settings(max_examples=10)
@given(max_tokens=st.integers(50, 120), seed=st.integers(0, 2**32))
def test_json_always_ends_and_parses(schema: dict[str, Any], max_tokens: int, seed: int) -> None:
    text, has_ended = drawn(grammar(of_json(schema), max_tokens), max_tokens, seed)
    assert has_ended, text
    json.loads(text)


@pytest.mark.parametrize("pattern", ["[a-z]*", "[a-z ]{3,}1", "(ab)*c", "a{7}", ".*"])
def test_regular_expressions_end(pattern: str) -> None:
    for seed in range(10):
        text, has_ended = drawn(grammar(f"/{pattern}/", 60), 60, seed)
        assert has_ended, text


def test_nothing_is_led_where_no_way_fits() -> None:
    for max_tokens, fits in ((8, True), (7, False)):  # seven letters and the end
        text, has_ended = drawn(grammar("/a{7}/", max_tokens), max_tokens, 1)
        assert (text, has_ended) == ("aaaaaaa", fits)


def test_far_from_the_limit_everything_may_come() -> None:
    led = GUIDES.begin(grammar(of_json({"type": "object"}), 10_000))
    free = GUIDES.begin(grammar(of_json({"type": "object"}), None))
    random = np.random.default_rng(3)
    for _ in range(200):
        masks = [allowed_tokens(state, STOPS) for state in (led, free)]
        assert (masks[0] == masks[1]).all()
        going_on = np.flatnonzero(masks[0][1:]) + 1
        if not len(going_on):
            break
        token = int(random.choice(going_on))
        for state in (led, free):
            state.advance(token)


def test_copies_spend_apart() -> None:
    state = GUIDES.begin(grammar("/[a-z]*/", 20))
    other = state.copy()
    letter = SPELLINGS.index(b"a")
    for _ in range(19):
        mask = allowed_tokens(state, STOPS)
        if not mask[letter]:
            break
        state.advance(letter)
    assert np.flatnonzero(mask).tolist() == [0]
    assert allowed_tokens(other, STOPS)[letter]
