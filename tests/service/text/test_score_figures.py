"""Figures of a text from the log-probabilities of its tokens, by their definitions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.tokenizer import Tokenizer
from service.text.generated_text import TopLogprobs
from service.text.history import Prompt, begin, build_prompt
from service.text.score_figures import Detail, describe_score, name_token, perplexity

texts = st.text("ab thecsot\n  ▁é🙂К\t", max_size=40)


@dataclass(frozen=True)
class Scores:
    logprobs: NDArray[np.float32]
    top: Sequence[TopLogprobs] | None = None


def scored(tokenizer: Tokenizer, text: str, *, eos: bool, context: str = "") -> Prompt:
    return build_prompt(begin(tokenizer, bos=True).with_text(context), text, eos=eos)


def some_scores(prompt: Prompt) -> Scores:
    """Every token has a number of its own, in eighths, so that sums are exact."""
    return Scores(np.arange(-1, -len(prompt.ids) - 1, -1).astype(np.float32) / np.float32(8))


@given(text=texts, context=texts, eos=st.booleans())
def test_totals_are_sums_and_means_of_the_texts_own_tokens(
    tokenizer: Tokenizer, text: str, context: str, eos: bool
) -> None:
    prompt = scored(tokenizer, text, eos=eos, context=context)
    scores = some_scores(prompt)
    own = scores.logprobs[prompt.first :].tolist()
    found = describe_score(prompt, scores, eos=eos, detail="totals")
    assert found["logprob"] == sum(own)
    assert found["num_tokens"] == len(own)
    words, size = len(text.split()), len(text.encode())
    assert (found["num_words"], found["num_bytes"]) == (words, size)
    for key, events in (("perplexity", len(own)), ("word_perplexity", words + eos)):
        expected = math.exp(-sum(own) / events) if events else None
        assert found[key] == (expected and pytest.approx(expected))
    bits = -sum(own) / math.log(2) / size if size else None
    assert found["bits_per_byte"] == (bits and pytest.approx(bits))
    assert found["tokens"] is None
    assert found["words"] is None


@given(text=texts, context=texts, eos=st.booleans())
def test_words_and_tokens_add_up_to_the_text(
    tokenizer: Tokenizer, text: str, context: str, eos: bool
) -> None:
    prompt = scored(tokenizer, text, eos=eos, context=context)
    found = describe_score(prompt, some_scores(prompt), eos=eos, detail="tokens")
    for parts in (found["tokens"], found["words"]):
        assert math.fsum(part["logprob"] for part in parts) == found["logprob"]
    spelled = [word["word"] for word in found["words"]]
    blank = [""] if text and not text.split() and not eos else []
    assert spelled == (text.split() or blank) + ["</s>"] * eos
    for word in found["words"]:
        if word["word"] not in ("", "</s>"):
            assert text[word["start"] : word["end"]] == word["word"]
    assert "".join(text[token["start"] : token["end"]] for token in found["tokens"]) == text
    assert [token["id"] for token in found["tokens"]] == list(prompt.ids[prompt.first :])


def test_the_white_space_behind_the_last_word_counts_for_the_end(tokenizer: Tokenizer) -> None:
    ended = scored(tokenizer, "the cat \n", eos=True)
    words = describe_score(ended, some_scores(ended), eos=True, detail="words")["words"]
    own = some_scores(ended).logprobs[1:]
    last = next(k for k, end in enumerate(ended.offsets()[1]) if end == len("the cat"))
    assert words[-1] == {
        "word": "</s>", "logprob": float(own[last + 1 :].sum()), "start": 9, "end": 9,
    }  # fmt: skip
    open_ended = scored(tokenizer, "the cat \n", eos=False)
    words = describe_score(open_ended, some_scores(open_ended), eos=False, detail="words")["words"]
    assert [word["word"] for word in words] == ["the", "cat"]


def test_a_token_without_a_probability_is_not_in_the_sums_and_text_figures_need_all(
    tokenizer: Tokenizer,
) -> None:
    prompt = build_prompt(begin(tokenizer, bos=False), "the cat", eos=False)
    scores = some_scores(prompt)
    scores.logprobs[0] = np.nan
    found = describe_score(prompt, scores, eos=False, detail="tokens")
    assert found["logprob"] == float(scores.logprobs[1:].sum())
    assert found["num_tokens"] == len(prompt.ids) - 1
    assert found["word_perplexity"] is None
    assert found["bits_per_byte"] is None
    assert math.isnan(found["tokens"][0]["logprob"])


@pytest.mark.parametrize("detail", ["totals", "words", "tokens"])
def test_where_nothing_was_scored_there_is_nothing(tokenizer: Tokenizer, detail: Detail) -> None:
    found = describe_score(scored(tokenizer, "", eos=False), None, eos=False, detail=detail)
    assert (found["logprob"], found["num_tokens"], found["perplexity"]) == (0, 0, None)
    assert found["words"] == ([] if detail != "totals" else None)
    assert found["tokens"] == ([] if detail == "tokens" else None)


def test_alternatives_are_named_and_only_the_texts_own_told(tokenizer: Tokenizer) -> None:
    prompt = scored(tokenizer, "the cat", eos=False)
    tops = [((k, -0.5), (k + 1, -1.5)) for k in range(100, 100 + len(prompt.ids))]
    scores = Scores(some_scores(prompt).logprobs, tops)
    found = describe_score(prompt, scores, eos=False, detail="tokens")
    assert [token["top_logprobs"] for token in found["tokens"]] == [
        [name_token(tokenizer, *pair) for pair in top] for top in tops[prompt.first :]
    ]
    assert name_token(tokenizer, tokenizer.eos_id, -1.0) == {
        "id": tokenizer.eos_id, "token": "</s>", "logprob": -1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("logprob", "events", "expected"),
    [(-math.log(8), 3, 2.0), (-5.0, 0, None), (-1e6, 1, None), (0.0, 4, 1.0)],
)
def test_perplexity_by_hand(logprob: float, events: int, expected: float | None) -> None:
    assert perplexity(logprob, events) == (expected and pytest.approx(expected))
