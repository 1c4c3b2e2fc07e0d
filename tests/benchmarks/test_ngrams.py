"""n-gram columns: counted as the network's figures are, and interpolated by the best weight."""

import json
import lzma
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.ngrams import (
    measure,
    mixed,
    mixing_weight,
    read_text,
    share_of,
    with_train,
)
from models.tokenizer import Tokenizer

SENTENCES = [
    f"the {a} {b} on the {c}" for a in ["cat", "dog"] for b in ("sat", "lay") for c in "xyz"
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(SENTENCES * 3, vocab_size=290, model_type="bpe")


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    for role, lines in (("train", SENTENCES * 5), ("valid", SENTENCES[:4]), ("test", SENTENCES)):
        (tmp_path / f"{role}.txt.xz").write_bytes(lzma.compress("\n".join(lines).encode()))
        turns = [{"role": "user", "content": line.upper()} for line in lines]
        text = json.dumps({"turns": turns}) + "\n"
        (tmp_path / f"chat.{role}.jsonl").write_text(text)
    return tmp_path


def test_figures_of_a_uniform_model_by_hand(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the cat\n\né\n")
    text = read_text(tokenizer, tmp_path / "text.txt")
    assert (text.words, len(text.sentences), text.bytes) == (3, 3, 7 + 0 + 2 + 3)
    scored = sum(map(len, text.sentences)) + 3
    bits, perplexity = text.figures(np.full(scored, -math.log(290)))
    assert bits == pytest.approx(scored * math.log2(290) / 12)
    assert perplexity == pytest.approx(290 ** (scored / 6))


def test_a_share_is_spread_evenly() -> None:
    sentences = [[str(n)] for n in range(10)]
    assert share_of(sentences, 1.0) == sentences
    assert share_of(sentences, 0.3) == [["3"], ["6"], ["9"]]


@given(st.floats(0.05, 0.95))
def test_the_weight_is_that_of_the_source(weight: float) -> None:
    """Tokens drawn from a known mixture of two distributions, in their exact proportions."""
    p, q = np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.3, 0.6])
    counts = np.round(1e3 * (weight * p + (1 - weight) * q)).astype(int)
    drawn = np.repeat(np.arange(3), counts)
    one, other = (np.log(x[drawn]) for x in (p, q))
    assert mixing_weight(one, other) == pytest.approx(weight, abs=0.05)
    mixture = np.exp(mixed(one, other, weight))
    assert mixture == pytest.approx((weight * p + (1 - weight) * q)[drawn])


def test_each_set_is_measured_by_pooled_in_domain_and_mixed_models(
    tokenizer: Tokenizer, corpora: Path
) -> None:
    sets = with_train(
        {
            "prose": (corpora / "test.txt.xz", "newline"),
            "chat": (corpora / "chat.test.jsonl", "newline"),
            "no train": (corpora / "other/test.txt", "newline"),
            "only valid": (corpora / "valid.txt.xz", "newline"),
        }
    )
    assert set(sets) == {"prose", "chat"}
    found = dict(measure(tokenizer, sets, 1_000_000))
    assert set(found) == {"prose", "chat"}
    for figures in found.values():
        # Eight sentences, each as likely: 3 bits for 21 bytes.
        entropy = 3 / 21
        bits = {kind: pair[0] for kind, pair in figures.items()}
        assert entropy <= bits["in_domain"] < bits["pooled"] < 5 * entropy
        assert bits["mix"] <= bits["in_domain"] + 0.02
    assert dict(measure(tokenizer, sets, 1_000_000, ["chat"])) == {"chat": found["chat"]}
