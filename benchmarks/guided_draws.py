"""What masks of a grammar cost a draw: rows that are each somewhere else in a JSON text."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.harness import SHIPPED
from models.checkpoint import load_checkpoint
from service.engine.request import Floats, Grammar, SamplingParams
from service.engine.sampling.draw import stream_key
from service.engine.sampling.guides import Guides, allowed_tokens
from service.engine.sampling.logits_processors import PromptTokens, SampleState, SamplingRules
from service.engine.sampling.sampler import Scratch, sample

SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer"},
            "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}},
        },
        "required": ["name", "age", "tags"],
        "additionalProperties": False,
    },
}
_LONGEST_WALK = 40


def spellings_of(vocab_size: int) -> list[bytes]:
    """Those of the shipped tokenizer's first tokens."""
    tokenizer = load_checkpoint(SHIPPED).tokenizer
    return [tokenizer.token_bytes(token) for token in range(vocab_size)]


def json_grammar() -> Grammar:
    """Sentences are JSON texts of `SCHEMA`, in the form that the service asks for."""
    from llguidance import LLMatcher

    lark = f'%llguidance {{"no_forcing": true}}\nstart: %json {json.dumps(SCHEMA)}\n'
    return Grammar(LLMatcher.grammar_from_lark(lark))


def guided_rows(
    count: int, spellings: Sequence[bytes], params: SamplingParams
) -> list[SampleState]:
    """Rows that have gone different ways, of different lengths, through such a text."""
    draw, begin = np.random.default_rng(4), Guides(spellings).begin(json_grammar())
    rules, no_stops = SamplingRules(params), np.zeros(0, np.int64)
    rows: list[SampleState] = []
    while len(rows) < count:
        row = SampleState(rules, stream_key(len(rows)), PromptTokens(rules, (), begin))
        assert row.guide is not None
        length = int(draw.integers(1, _LONGEST_WALK))
        mask = allowed_tokens(row.guide, no_stops)
        while len(row.generated) < length and mask.any():
            row.append(int(draw.choice(np.flatnonzero(mask))))
            mask = allowed_tokens(row.guide, no_stops)
        if mask.any():  # not at the text's end
            rows.append(row)
    return rows


def guided_sampling(logprobs: Floats, params: SamplingParams) -> Callable[[], object]:
    """Draw a token for each of (R, V) that keeps its row a JSON text; a mask is made for each."""
    count, vocab_size = logprobs.shape
    rows, scratch = guided_rows(count, spellings_of(vocab_size), params), Scratch()
    return lambda: sample(logprobs, rows, lambda: logprobs, scratch)
