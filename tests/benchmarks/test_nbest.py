"""N-best lists: read, or made up."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.nbest import Lists, made_up_lists, read_lists
from models.tokenizer import Tokenizer

HYPOTHESES = st.lists(st.lists(st.integers(3, 6), max_size=6), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    lines = ["i scream for ice cream", "you scream for ice cream", "we all scream for ice cream"]
    return Tokenizer.train(lines * 4, vocab_size=280, character_coverage=1.0)


@given(st.lists(HYPOTHESES, min_size=1, max_size=3))
def test_tokens_per_node_counts_distinct_prefixes(words: list[list[list[int]]]) -> None:
    hypotheses = [[[1, *ids, 2] for ids in own] for own in words]
    prefixes = {
        (number, *ids[:size])
        for number, own in enumerate(hypotheses)
        for ids in own
        for size in range(1, len(ids) + 1)
    }
    tokens = sum(len(ids) for own in hypotheses for ids in own)
    lists = Lists(hypotheses=hypotheses, source="")
    assert lists.tokens_per_node == tokens / len(prefixes)
    assert lists.num_scored == tokens - sum(map(len, hypotheses))


def test_made_up_lists_are_like_a_recognisers() -> None:
    lists = made_up_lists(20, 8192)
    assert lists.hypotheses == made_up_lists(20, 8192).hypotheses
    for own in lists.hypotheses:
        assert len(set(map(tuple, own))) == len(own) == 100
        assert all(ids[0] == 1 and ids[-1] == 2 and max(ids) < 8192 for ids in own)
    assert 2.2 < lists.tokens_per_node < 3


def test_lists_are_read(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "lists.jsonl.gz"
    texts = ["i scream for ice cream", "ice cream"]
    record = {"utt": "1", "hyps": [{"text": text, "am": -1.0} for text in texts]}
    path.write_bytes(gzip.compress((json.dumps(record) + "\n").encode()))
    lists = read_lists(path, tokenizer)
    assert lists.source == "lists.jsonl.gz"
    expected = [[tokenizer.bos_id, *tokenizer.encode(t), tokenizer.eos_id] for t in texts]
    assert lists.hypotheses == [expected]


@pytest.mark.parametrize("line", ['{"utt": "1"}', "no json", '{"hyps": [1]}'])
def test_other_files_are_refused(tmp_path: Path, tokenizer: Tokenizer, line: str) -> None:
    path = tmp_path / "lists.jsonl.gz"
    path.write_bytes(gzip.compress(line.encode()))
    with pytest.raises(ValueError, match="line 1, is no N-best list"):
        read_lists(path, tokenizer)
