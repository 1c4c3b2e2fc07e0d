"""The word search against brute force over a vocabulary small enough to enumerate."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.tokenizer import Tokenizer
from service.text.word_search import (
    Floats,
    Path,
    WordSearch,
    check_word,
    context_tokens,
    search_words,
    word_end_logprob,
    word_logprob,
)

SYLLABLES = ["the", "cat", "sat", "on", "mat", "a", "thé", "na", "ive", "x", "re", "n", ",", "s"]
TEXT = [" ".join(map("".join, itertools.product(SYLLABLES, SYLLABLES)))]


class TinyVocabulary:
    """Eleven pieces over "a", "b" and "é" in two bytes; of two segmentations the one with fewer
    pieces is canonical, and of those the one with longer pieces first."""

    pieces = (b"", b"", b"\n", b" ", b" a", b"a", b"b", b"ab", b" ab", b"\xc3", b"\xa9")
    begins_word = np.array([not piece or piece[:1] in b" \n" for piece in pieces])

    def token_bytes(self, token_id: int) -> bytes:
        return self.pieces[token_id]

    def encode(self, text: str, *, continuation: bool = False) -> list[int]:
        assert continuation
        return min(self.segmentations(text.encode()), key=self._badness)

    def segmentations(self, spelling: bytes) -> list[list[int]]:
        if not spelling:
            return [[]]
        return [
            [token_id, *rest]
            for token_id, piece in enumerate(self.pieces)
            if piece and spelling.startswith(piece)
            for rest in self.segmentations(spelling[len(piece) :])
        ]

    def _badness(self, ids: list[int]) -> tuple[int, list[int]]:
        return len(ids), [-len(self.pieces[token_id]) for token_id in ids]


@cache
def tiny_model(path: Path, seed: int, size: int = len(TinyVocabulary.pieces)) -> Floats:
    """ln P of the next token; any function of the path will do, so these are random numbers."""
    logits = np.random.default_rng([seed, *path]).normal(scale=2.0, size=size)
    logits[[2, 3, 4, 8]] += 3.0  # the tokens that begin a word, so that most words are short
    logprobs = normalized(logits)
    logprobs.flags.writeable = False  # every caller gets the same array
    return logprobs


def normalized(logits: NDArray[np.float64]) -> Floats:
    logprobs: Floats = (logits - np.logaddexp.reduce(logits)).astype(np.float32)
    return logprobs


@cache
def brute_force(seed: int, length: int) -> dict[tuple[str, Path], float]:
    """P of every (word, token path) of at most `length` tokens, canonical or not."""
    vocabulary, found = TinyVocabulary(), {}
    inside = [i for i, begins in enumerate(vocabulary.begins_word) if not begins]
    starts = [i for i, piece in enumerate(vocabulary.pieces) if piece.startswith(b" ")]
    ends = np.flatnonzero(vocabulary.begins_word)
    for n in range(length):
        for path in itertools.product(starts, *[inside] * n):
            steps = [tiny_model(path[:k], seed)[path[k]] for k in range(n + 1)]
            end = np.exp(tiny_model(path, seed)[ends].astype(np.float64)).sum()
            spelling = b"".join(vocabulary.pieces[i] for i in path)
            word = spelling.decode(errors="replace")[1:]
            found[word, path] = math.exp(sum(map(float, steps))) * float(end)
    return found


async def search(
    seed: int, *, top_k: int, max_expansions: int, prefix: str = ""
) -> tuple[WordSearch, list[int]]:
    sizes: list[int] = []

    async def expand(paths: Sequence[Path]) -> list[Floats]:
        sizes.append(len(paths))
        return [tiny_model(path, seed) for path in paths]

    found = await search_words(
        expand, TinyVocabulary(), top_k=top_k, max_expansions=max_expansions, prefix=prefix
    )
    return found, sizes


@pytest.mark.parametrize("seed", range(6))
async def test_finds_the_words_that_brute_force_finds(seed: int) -> None:
    vocabulary = TinyVocabulary()
    expected: dict[str, float] = {}
    for (word, path), probability in brute_force(seed, length=5).items():
        canonical = vocabulary.segmentations(b" " + word.encode()) if "\ufffd" not in word else []
        if word and canonical and vocabulary.encode(" " + word, continuation=True) == list(path):
            expected[word] = probability
    best = sorted(expected, key=lambda word: -expected[word])[:8]

    found, sizes = await search(seed, top_k=8, max_expansions=500)

    assert found.is_complete
    assert [word.word for word in found.words] == best
    for each in found.words:
        assert math.exp(each.logprob) == pytest.approx(expected[each.word], rel=1e-9)
        assert list(each.token_ids) == vocabulary.encode(" " + each.word, continuation=True)
    assert sum(sizes) == found.num_expansions <= 500


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("prefix", ["a", "b", "ab", "aba", "é", "aé", "bb"])
async def test_of_a_half_typed_word_it_finds_what_brute_force_finds(seed: int, prefix: str) -> None:
    """The same words with the same probabilities as without a prefix, and no others."""
    vocabulary = TinyVocabulary()
    expected = {
        word: probability
        for (word, path), probability in brute_force(seed, length=5).items()
        if word.startswith(prefix)
        and "\ufffd" not in word
        and vocabulary.encode(" " + word, continuation=True) == list(path)
    }
    best = sorted(expected, key=lambda word: -expected[word])[:3]
    found, _ = await search(seed, top_k=3, max_expansions=500, prefix=prefix)
    assert [word.word for word in found.words] == best
    for each in found.words:
        assert math.exp(each.logprob) == pytest.approx(expected[each.word], rel=1e-9)
    assert found.is_complete


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("prefix", ["a", "ab", "aé"])
async def test_a_prefix_excludes_all_other_words_and_nothing_else(seed: int, prefix: str) -> None:
    every, _ = await search(seed, top_k=10**6, max_expansions=1500)
    found, _ = await search(seed, top_k=10**6, max_expansions=400, prefix=prefix)
    other = math.fsum(
        math.exp(word.logprob) for word in every.words if not word.word.startswith(prefix)
    )
    slack = every.unexplored_mass + every.non_canonical_mass + 1e-6
    assert other - 1e-6 <= found.excluded_mass <= other + slack
    assert all(word.word.startswith(prefix) for word in found.words)
    assert found.continued_mass == every.continued_mass


@pytest.mark.parametrize("seed", range(4))
async def test_the_masses_are_those_of_brute_force(seed: int) -> None:
    """With nearly everything explored, each account is the sum over the paths it stands for."""
    vocabulary = TinyVocabulary()
    found, _ = await search(seed, top_k=10**6, max_expansions=1500)
    assert found.unexplored_mass < 0.02

    root = np.exp(tiny_model((), seed).astype(np.float64))
    mass: dict[str, float] = defaultdict(float)
    for (word, path), probability in brute_force(seed, length=5).items():
        spelled = b" " + word.encode()
        if not word:
            mass["none"] += probability
        elif "\ufffd" in word or vocabulary.encode(spelled.decode(), continuation=True) != list(
            path
        ):
            mass["other"] += probability
        else:
            mass["found"] += probability

    inside, others = root[~vocabulary.begins_word].sum(), root[:3].sum()
    slack = found.unexplored_mass + 1 - inside - others - sum(mass.values()) + 1e-6
    assert slack < 0.05
    assert found.continued_mass == pytest.approx(inside, abs=1e-6)
    assert found.no_word_mass == pytest.approx(others + mass["none"], abs=1e-6)
    assert found.found_mass == pytest.approx(mass["found"], abs=slack)
    assert found.non_canonical_mass == pytest.approx(mass["other"], abs=slack)
    assert found.non_canonical_mass > 0.001


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("max_expansions", [1, 2, 17, 40, 400])
@pytest.mark.parametrize("prefix", ["", "ab"])
async def test_masses_add_up_at_any_budget_and_bound_what_is_missing(
    seed: int, max_expansions: int, prefix: str
) -> None:
    found, sizes = await search(seed, top_k=10**6, max_expansions=max_expansions, prefix=prefix)
    assert found.num_expansions == sum(sizes) <= max_expansions
    total = (
        found.found_mass
        + found.unexplored_mass
        + found.non_canonical_mass
        + found.no_word_mass
        + found.continued_mass
        + found.excluded_mass
    )
    assert total == pytest.approx(1.0, abs=1e-6)
    more, _ = await search(seed, top_k=10**6, max_expansions=3 * max_expansions, prefix=prefix)
    assert set(found.words) <= set(more.words)
    missed = set(more.words) - set(found.words)
    assert math.fsum(math.exp(word.logprob) for word in missed) <= found.unexplored_mass
    assert more.unexplored_mass < found.unexplored_mass


async def test_no_words_asked_for_costs_one_expansion() -> None:
    found, sizes = await search(0, top_k=0, max_expansions=100)
    assert sizes == [1]
    assert found.words == ()
    assert found.is_complete
    starts = tiny_model((), 0)[[3, 4, 8]].astype(np.float64)
    assert found.unexplored_mass == pytest.approx(float(np.exp(starts).sum()))


async def test_equal_probabilities_come_in_a_fixed_order() -> None:
    async def uniform(paths: Sequence[Path]) -> list[Floats]:
        size = len(TinyVocabulary.pieces)
        return [np.full(size, -math.log(size), dtype=np.float32) for _ in paths]

    found = await search_words(uniform, TinyVocabulary(), top_k=2, max_expansions=60)
    assert [word.word for word in found.words] == ["a", "ab"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXT, vocab_size=300)


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return Tokenizer.train(TEXT, vocab_size=300, model_type="bpe")


words = st.text(st.sampled_from("thecaslomn猫é,.x"), min_size=1, max_size=40)


@given(word=words)
@settings(max_examples=200)
@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_the_start_of_a_canonical_path_is_canonical(
    kind: str, word: str, tokenizer: Tokenizer, bpe: Tokenizer
) -> None:
    """What entitles the search to leave a path as soon as it is not canonical."""
    vocabulary = tokenizer if kind == "unigram" else bpe
    ids = vocabulary.encode(" " + word, continuation=True)
    spelling = b""
    for k, token_id in enumerate(ids, start=1):
        spelling += vocabulary.token_bytes(token_id)
        text = spelling.decode(errors="ignore")
        if text.encode() == spelling:
            assert vocabulary.encode(text, continuation=True) == ids[:k]


texts = st.text(st.sampled_from("the ca\n猫,"), max_size=12)


@given(context=texts, continuation=st.booleans(), word=words)
def test_context_and_word_are_the_canonical_tokens_of_their_text(
    context: str, continuation: bool, word: str, tokenizer: Tokenizer
) -> None:
    ids = context_tokens(tokenizer, context, continuation=continuation)
    fresh_line = context.endswith("\n") or (not context and not continuation)
    space = "" if fresh_line or context.endswith(" ") else " "
    whole = tokenizer.encode(context + space + word, continuation=continuation)
    assert ids + tokenizer.encode(word) == whole


@given(context=texts.filter(lambda text: text.strip(" ") == text != "" and text[-1] != "\n"))
def test_one_space_at_the_end_of_the_context_changes_nothing(
    context: str, tokenizer: Tokenizer
) -> None:
    bare = context_tokens(tokenizer, context, continuation=False)
    assert context_tokens(tokenizer, context + " ", continuation=False) == bare
    assert bare == tokenizer.encode(context)


async def test_search_over_a_real_tokenizer_agrees_with_the_asked_word(
    tokenizer: Tokenizer,
) -> None:
    """Also for words spelled in bytes, whose characters end inside a path."""
    paths_seen: list[Path] = []
    cat = tuple(tokenizer.encode("猫,"))
    assert sum(map(tokenizer.is_byte, cat)) == 3

    def model(path: Path) -> Floats:
        logprobs = tiny_model(path, 1, tokenizer.vocab_size) - 4
        if len(path) < len(cat) and path == cat[: len(path)]:
            logprobs[cat[len(path)]] = 0.0
        if path == cat:
            logprobs[tokenizer.eos_id] = 0.0
        return normalized(logprobs.astype(np.float64))

    async def expand(paths: Sequence[Path]) -> list[Floats]:
        paths_seen.extend(paths)
        return [model(path) for path in paths]

    found = await search_words(expand, tokenizer, top_k=5, max_expansions=120)
    assert found.words[0].word == "猫,"
    assert len(set(paths_seen)) == len(paths_seen) == found.num_expansions
    for word in found.words:
        ids = tuple(tokenizer.encode(word.word))
        assert ids == word.token_ids
        steps = np.array([model(ids[:k])[ids[k]] for k in range(len(ids))], dtype=np.float32)
        assert word_logprob(steps, model(ids), tokenizer) == word.logprob


def test_word_end_is_the_mass_of_tokens_that_begin_a_word() -> None:
    logprobs: NDArray[np.float32] = np.log(np.arange(1, 12) / 66).astype(np.float32)
    # Ids 0, 1 (controls), 2 (newline), 3, 4 and 8 (with a space): (1+2+3+4+5+9) / 66.
    assert word_end_logprob(logprobs, TinyVocabulary()) == pytest.approx(math.log(24 / 66))


@pytest.mark.parametrize("word", ["", " a", "a b", "a\n"])
def test_check_word_refuses_what_is_not_one_word(word: str) -> None:
    with pytest.raises(ValueError, match=r"must not be empty|not one word"):
        check_word(word)


def test_check_word_takes_any_other_text() -> None:
    for word in ["the", "naïve", "don't", "\t", "▁"]:
        check_word(word)
