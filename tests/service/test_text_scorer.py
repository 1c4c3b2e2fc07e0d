"""What a small checkpoint says of texts, against its network and against brute force."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.checkpoint import CheckpointError
from models.tokenizer import Tokenizer
from service.results import TextState
from service.text_scorer import TextScorer
from tests.service.plain_engine import PlainLSTM

TEXTS = ["the cat sat on the mat", "i scream for ice cream", "", "Кошка\n 5 o'clock"]


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> Iterator[TextScorer]:
    with TextScorer.load(tiny_folder, precision="fp32", max_num_seqs=8) as loaded:
        yield loaded


def exact(lstm: PlainLSTM, ids: list[int]) -> float:
    """ln P of ids[1:]."""
    state, total = np.zeros(lstm.state_size, np.float32), 0.0
    for token, following in itertools.pairwise(ids):
        state = lstm.step(token, state)
        total += float(lstm.logprobs(state)[following])
    return total


def test_scores_are_the_networks(model: TextScorer, tokenizer: Tokenizer, lstm: PlainLSTM) -> None:
    for eos in (True, False):
        for text, score in zip(TEXTS, model.score(TEXTS, eos=eos), strict=True):
            ids = [tokenizer.bos_id, *tokenizer.encode(text)] + [tokenizer.eos_id] * eos
            assert score.logprob == pytest.approx(exact(lstm, ids), abs=1e-4)
            assert score.num_tokens == len(ids) - 1
            assert (score.tokens, score.words, score.state) == (None, None, None)


def test_one_text_is_scored_as_one_of_many(model: TextScorer) -> None:
    assert model.score(TEXTS[0]) == model.score(TEXTS)[0]
    assert model.score([]) == []


def test_a_context_is_what_stands_before_and_is_not_scored(model: TextScorer) -> None:
    whole = model.score("the cat sat", eos=False).logprob
    first = model.score("the cat", eos=False).logprob
    rest = model.score(" sat", context="the cat", eos=False).logprob
    assert first + rest == pytest.approx(whole, abs=1e-5)


def test_the_words_own_ends_are_in_their_surprisal(model: TextScorer) -> None:
    """By brute force: P(word and its end | before), given that a word begins there."""
    text = "The cat, who had been waiting, sat down."
    words = model.surprisals(text)
    assert [word.word for word in words] == text.split()
    for number, word in enumerate(words):
        before = " ".join(text.split()[:number])
        assert text[word.start : word.end] == word.word
        if number:
            asked = model.next_word(before, top_k=0, words=[word.word])
            expected = asked.words[0].logprob - asked.context_end_logprob
            assert word.logprob == pytest.approx(expected, abs=1e-5)
    assert model.surprisals(" \n ") == []


def test_advancing_many_states_is_scoring_each(model: TextScorer) -> None:
    states = [model.state(text) for text in ("the cat", "a dog", "")]
    words = [" sat", " ran away", "no"]
    advanced = model.advance(states, words)
    for state, word, step in zip(states, words, advanced, strict=True):
        assert step.logprob == model.score(word, state=state, eos=False).logprob
    further = model.advance([step.state for step in advanced], [" down"] * 3)
    whole = model.score("the cat sat down", eos=False).logprob
    parts = (model.score("the cat", eos=False), advanced[0], further[0])
    assert math.fsum(part.logprob for part in parts) == pytest.approx(whole, abs=1e-5)
    with pytest.raises(ValueError, match="shorter"):
        model.advance(states, words[:1])


def test_a_state_goes_on_where_the_text_stood_even_within_a_word(model: TextScorer) -> None:
    whole = model.next_token("the cat sat on the m", full=True)
    resumed = model.next_token(state=model.state("at on the m", state=model.state("the cat s")))
    assert resumed.top == whole.top[: len(resumed.top)]
    scored = model.score("the cat", eos=False, return_state=True)
    assert scored.state is not None
    assert model.next_token(state=scored.state).top == model.next_token("the cat").top


def test_next_tokens_are_a_distribution(model: TextScorer, tokenizer: Tokenizer) -> None:
    found = model.next_token("the", top_k=5, tokens=["▁the", 7], full=True)
    assert found.logprobs is not None
    assert np.exp(found.logprobs.astype(np.float64)).sum() == pytest.approx(1, abs=1e-5)
    best = np.argsort(-found.logprobs, kind="stable")[:5]
    assert [token.id for token in found.top] == best.tolist()
    assert [token.id for token in found.tokens] == [tokenizer.piece_to_id("▁the"), 7]
    for token in (*found.top, *found.tokens):
        assert token.logprob == float(found.logprobs[token.id])
        assert token.token == tokenizer.piece(token.id)


def test_next_words_begin_with_what_was_typed_and_sum_to_no_more_than_one(
    model: TextScorer,
) -> None:
    found = model.next_word("the cat", top_k=5, prefix="s", max_expansions=50)
    assert all(word.word.startswith("s") for word in found.top)
    logprobs = [word.logprob for word in found.top]
    assert logprobs == sorted(logprobs, reverse=True)
    free = model.next_word("the cat", top_k=5, max_expansions=50)
    masses = (
        *(free.found_mass, free.unexplored_mass, free.non_canonical_mass),
        *(free.no_word_mass, free.continued_mass, free.excluded_mass),
    )
    assert all(mass >= 0 for mass in masses)
    assert free.context_end_logprob < 0
    assert model.next_word("", top_k=1, max_expansions=5).context_end_logprob == 0


def test_a_list_is_ranked_by_the_documented_total(model: TextScorer) -> None:
    given: list[dict[str, Any]] = [
        {"text": "the cat", "score": -1.0, "scores": {"am": -2.0}},
        {"text": "a", "scores": {"am": 0}},
    ]
    (ranked, empty) = model.rescore(
        [given, []], lm_weight=0.5, length_bonus=0.25, weights={"am": 3.0}
    )
    assert empty == []
    for own in ranked:
        entry = given[own.index]
        assert own.lm_logprob == pytest.approx(model.score(own.text).logprob, abs=1e-6)
        assert own.total == pytest.approx(
            entry.get("score", 0) + 3 * entry["scores"]["am"] + 0.5 * own.lm_logprob
            + 0.25 * own.num_words
        )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"device": "tpu"}, "device must be one of"),
        ({"precision": "int4"}, "precision must be one of"),
    ],
)
def test_options_that_there_are_not_are_named(
    tiny_folder: Path, options: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        TextScorer.load(tiny_folder, **options)


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"no checkpoint at {tmp_path}/missing"):
        TextScorer.load(tmp_path / "missing")


def test_a_state_of_another_model_is_refused(model: TextScorer) -> None:
    other = TextState(model.state("x").history, "sha256:0")
    for call in (lambda: model.advance([other], ["a"]), lambda: model.next_word(state=other)):
        with pytest.raises(ValueError, match="state: belongs to another model"):
            call()
