"""Draws against exact distributions, and rows that know nothing of each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.engine.request import Floats, SamplingParams
from service.engine.sampling.draw import stream_key, uniform
from service.engine.sampling.logits_processors import SampleState
from service.engine.sampling.sampler import Sampled, Scratch, sample, top_logprobs
from tests.service.engine.exact_sampling import exact_distribution, exact_draw
from tests.service.engine.statistics import chi_square_p_value

VOCAB = 30
DRAWS = 6000
LEAST_P = 1e-4  # seeds are fixed: a pass stays a pass
PROMPT, GENERATED = (3, 4, 4, 5, 9), (5, 6, 6, 6, 7)

SETTINGS: dict[str, dict[str, Any]] = {
    "pure": {},
    "cold": {"temperature": 0.5},
    "hot": {"temperature": 2.5},
    "greedy": {"temperature": 0},
    "top_k": {"top_k": 5},
    "top_k of one": {"top_k": 1},
    "top_k beyond the vocabulary": {"top_k": 1000},
    "top_p": {"top_p": 0.8},
    "a tiny top_p": {"top_p": 1e-6},
    "min_p": {"min_p": 0.1},
    "min_p of one": {"min_p": 1.0},
    "typical_p": {"typical_p": 0.6},
    "repetition_penalty": {"repetition_penalty": 1.8},
    "a repetition bonus": {"repetition_penalty": 0.6},
    "presence_penalty": {"presence_penalty": 1.5},
    "frequency_penalty": {"frequency_penalty": 0.7},
    "a frequency bonus": {"frequency_penalty": -0.5},
    "logit_bias": {"logit_bias": {0: 2.0, 1: -3.0, 5: 0.5}},
    "a bias that decides": {"logit_bias": {2: 100.0}},
    "two biases that decide": {"logit_bias": {2: 100.0, 8: 100.5}, "temperature": 0.7},
    "a bias that excludes": {"logit_bias": {2: -100.0}},
    "allowed": {"allowed_token_ids": (3, 1, 20)},
    "suppressed": {"suppressed_token_ids": (0, 5, 29)},
    "allowed and suppressed": {"allowed_token_ids": (3, 1, 20), "suppressed_token_ids": (1,)},
    "bad_words that were begun": {"bad_words": ((6, 7, 2), (7, 11), (12,))},
    "bad_words that were not begun": {"bad_words": ((7, 7, 2), (5, 6, 7, 8), (6, 3))},
    "a bad word begun in the prompt": {"bad_words": ((9, *GENERATED, 2),)},
    "min_tokens not reached": {"min_tokens": 6, "stop_token_ids": (1, 2)},
    "min_tokens reached": {"min_tokens": 5, "stop_token_ids": (1, 2)},
    "temperature, top_k": {"temperature": 0.7, "top_k": 7},
    "temperature, top_p": {"temperature": 1.6, "top_p": 0.7},
    "top_k, top_p": {"top_k": 6, "top_p": 0.75},
    "min_p, top_p": {"min_p": 0.05, "top_p": 0.9},
    "top_k, typical_p": {"top_k": 12, "typical_p": 0.7},
    "bias, repetition_penalty": {"logit_bias": {4: 6.0, 5: -4.0}, "repetition_penalty": 2.0},
    "everything": {
        "temperature": 1.3,
        "top_k": 14,
        "top_p": 0.9,
        "min_p": 0.02,
        "typical_p": 0.9,
        "repetition_penalty": 1.2,
        "presence_penalty": 0.3,
        "frequency_penalty": 0.2,
        "logit_bias": {10: 1.0},
        "suppressed_token_ids": (8,),
        "bad_words": ((7, 2),),
        "min_tokens": 9,
        "stop_token_ids": (1,),
    },
}
every_setting = pytest.mark.parametrize("fields", SETTINGS.values(), ids=SETTINGS.keys())


def some_logits(vocab: int, seed: int = 0, levels: int | None = None) -> Floats:
    """As a network gives them, of both signs; `levels`: of so many distinct values only."""
    logits = 2 * np.random.default_rng(seed).standard_normal(vocab)
    if levels is not None:
        logits = np.round(logits * levels / 4) * 4 / levels
    return logits.astype(np.float32)


def log_softmax(logits: Floats) -> Floats:
    values = logits.astype(np.float64)
    total = np.log(np.exp(values - values.max()).sum()) + values.max()
    return logits - np.float32(total)


def state(
    params: SamplingParams,
    key: int = 0,
    prompt: Sequence[int] = (),
    generated: Sequence[int] = (),
) -> SampleState:
    result = SampleState.of(params, key, prompt=tuple(prompt))
    for token in generated:
        result.append(token)
    return result


def draw(logits: Floats, rows: Sequence[SampleState]) -> Sampled:
    """One token for each row of `logits` (R, V)."""
    logprobs = np.stack([log_softmax(row) for row in logits])
    return sample(logprobs, rows, lambda: logits)


def numbers(key: int, position: int = 0) -> Callable[[int], float]:
    """The random numbers of one draw, by attempt."""
    return lambda attempt: uniform(key, position, attempt)


def count(ids: Sequence[int | None]) -> NDArray[np.int64]:
    """Draws of each token."""
    return np.bincount([token for token in ids if token is not None], minlength=VOCAB)


@every_setting
def test_draws_have_the_exact_distribution(fields: Mapping[str, Any]) -> None:
    params, logits = SamplingParams(**fields), some_logits(VOCAB)
    rows = [state(params, stream_key(k), PROMPT, GENERATED) for k in range(DRAWS)]
    observed = count(draw(np.tile(logits, (DRAWS, 1)), rows).ids)
    expected = DRAWS * exact_distribution(logits, params, PROMPT, GENERATED)
    assert chi_square_p_value(observed, expected) > LEAST_P
    assert set(np.flatnonzero(observed)) <= set(np.flatnonzero(expected))
    assert set(np.flatnonzero(observed)) >= set(np.flatnonzero(expected > 20))


def test_draws_along_one_stream_have_the_exact_distribution() -> None:
    """Not only first tokens of many streams, but the many tokens of one."""
    logits, key = some_logits(VOCAB), stream_key(1)
    params = SamplingParams()
    rows = [SampleState.of(params, key, generated=[0] * position) for position in range(DRAWS)]
    ids = draw(np.tile(logits, (DRAWS, 1)), rows).ids
    expected = DRAWS * exact_distribution(logits, params)
    assert chi_square_p_value(count(ids), expected) > LEAST_P


# Large vocabularies, where blocks of it are looked at

temperatures = st.sampled_from([0.3, 0.7, 1.0, 1.8])
top_ks = st.sampled_from([0, 1, 7, 40, 64, 65, 300, 5000])
# No simple fractions: ten equal tokens reach 0.9 after nine or ten of them, as rounding has it.
masses = st.sampled_from([1.0, 0.999, 0.907, 0.503, 0.107])
min_ps = st.sampled_from([0.0, 1e-4, 0.02, 0.3])


@st.composite
def truncations(draw: st.DrawFn) -> SamplingParams:
    return SamplingParams(
        temperature=draw(temperatures),
        top_k=draw(top_ks),
        top_p=draw(masses),
        min_p=draw(min_ps),
        typical_p=draw(masses),
    )


@settings(max_examples=60)
@given(
    params=truncations(),
    seed=st.integers(0, 10_000),
    levels=st.sampled_from([None, None, 40, 9]),
    vocab=st.sampled_from([1024, 1100, 8192]),
)
def test_large_vocabularies_are_sampled_as_if_they_were_sorted(
    params: SamplingParams, seed: int, levels: int | None, vocab: int
) -> None:
    """The same random numbers pick the same token from the exact distribution, ties and all."""
    logits = np.stack([some_logits(vocab, seed + k, levels) for k in range(4)])
    rows = [state(params, stream_key(seed, k)) for k in range(4)]
    drawn = draw(logits, rows)
    for k, token in enumerate(drawn.ids):
        assert token == exact_draw(logits[k], params, numbers(stream_key(seed, k)))


@pytest.mark.parametrize("size", [1, 20, 1000, 4000])
@pytest.mark.parametrize("kind", ["top_k", "top_p"])
def test_a_uniform_distribution_keeps_its_lower_ids(kind: str, size: int) -> None:
    params = SamplingParams(top_k=size)
    if kind == "top_p":
        params = SamplingParams(top_p=(size - 0.5) / 4096)
    rows = [state(params, stream_key(k)) for k in range(400)]
    drawn = draw(np.zeros((400, 4096), np.float32), rows)
    observed = np.array(drawn.ids)
    assert observed.max() < size
    bins = min(size, 20)
    assert (
        chi_square_p_value(np.bincount(observed * bins // size), np.full(bins, 400 / bins))
        > LEAST_P
    )


# Rows of a batch

histories = st.lists(st.integers(0, VOCAB - 1), max_size=6)
tokens = st.lists(st.integers(0, VOCAB - 1), max_size=4).map(tuple)
biases = st.dictionaries(st.integers(0, VOCAB - 1), st.sampled_from([-100.0, -1.0, 2.0, 100.0]))


@dataclass(frozen=True)
class Row:
    """One row's settings and history, from which its state is made anew for every call."""

    params: SamplingParams
    prompt: tuple[int, ...]
    generated: tuple[int, ...]
    seed: int

    def state(self) -> SampleState:
        return state(self.params, stream_key(self.seed), self.prompt, self.generated)


@st.composite
def mixed_rows(draw: st.DrawFn) -> Row:
    params = SamplingParams(
        temperature=draw(st.just(0.0) | temperatures),
        top_k=draw(top_ks),
        top_p=draw(masses),
        min_p=draw(min_ps),
        typical_p=draw(st.just(1.0) | masses),
        repetition_penalty=draw(st.sampled_from([1.0, 1.0, 1.3, 0.7])),
        presence_penalty=draw(st.sampled_from([0.0, 0.0, 0.5, -0.5])),
        frequency_penalty=draw(st.sampled_from([0.0, 0.0, 0.4])),
        logit_bias=draw(st.just({}) | biases),
        allowed_token_ids=draw(st.none() | tokens),
        suppressed_token_ids=draw(st.just(()) | tokens),
        bad_words=draw(st.lists(tokens.filter(bool), max_size=2).map(tuple)),
        stop_token_ids=draw(tokens),
        min_tokens=draw(st.integers(0, 4)),
        logprobs=draw(st.sampled_from([None, 0, 1, 5])),
    )
    prompt, generated = draw(histories), draw(histories)
    return Row(params, tuple(prompt), tuple(generated), draw(st.integers(0, 100)))


def bits(drawn: Sampled, k: int) -> tuple[Any, ...]:
    return drawn.ids[k], drawn.logprobs[k] if drawn.ids[k] is not None else None, drawn.tops[k]


@settings(max_examples=60)
@given(
    rows=st.lists(mixed_rows(), min_size=2, max_size=8),
    vocab=st.sampled_from([VOCAB, 1030, 4096]),
    levels=st.sampled_from([None, 9]),
)
def test_a_row_is_drawn_as_if_it_were_alone(
    rows: list[Row], vocab: int, levels: int | None
) -> None:
    logits = np.stack([some_logits(vocab, row.seed, levels) for row in rows])
    logprobs = np.stack([log_softmax(row) for row in logits])
    before = logprobs.copy()
    together = sample(logprobs, [r.state() for r in rows], lambda: logits)
    assert np.array_equal(logprobs, before), "the log-probabilities were left modified"
    for k, row in enumerate(rows):
        alone = draw(logits[[k]], [row.state()])
        assert bits(together, k) == bits(alone, 0)


@settings(max_examples=60)
@given(row=mixed_rows())
def test_any_mixture_of_settings_is_sampled_as_defined(row: Row) -> None:
    logits = some_logits(VOCAB, row.seed)
    drawn = draw(logits[None], [row.state()])
    random = numbers(stream_key(row.seed), len(row.generated))
    assert drawn.ids == [exact_draw(logits, row.params, random, row.prompt, row.generated)]


@pytest.mark.parametrize("fields", [{"typical_p": 0.9}, {"top_p": 0.95}, {"min_p": 1e-3}], ids=str)
@pytest.mark.parametrize("neighbour", ["two tokens left", "all tokens equal"])
def test_a_neighbour_that_brings_many_or_few_candidates_changes_nothing(
    fields: dict[str, Any], neighbour: str
) -> None:
    params, odd = SamplingParams(temperature=3.0, **fields), SamplingParams(top_p=0.5)
    logits = np.stack([some_logits(1500), np.zeros(1500, np.float32)])
    if neighbour == "two tokens left":
        odd = replace(odd, allowed_token_ids=(7, 1499))
    for k in range(40):
        drawn = draw(logits, [state(params, stream_key(k)), state(odd)])
        assert drawn.ids[0] == exact_draw(logits[0], params, numbers(stream_key(k)))


def test_a_batch_that_changes_is_noticed() -> None:
    """What is kept from call to call is for the rows of the last call alone."""
    logits = np.stack([some_logits(1500, seed) for seed in range(3)])
    logprobs = np.stack([log_softmax(row) for row in logits])
    params = [SamplingParams(top_k=k, presence_penalty=1.0, logprobs=k) for k in (1, 3, 60)]
    rows = [state(own, stream_key(k)) for k, own in enumerate(params)]
    scratch = Scratch()
    for chosen in ([0, 1, 2], [0, 1, 2], [2, 1], [1, 2], [0], [0, 2]):
        mine = [rows[r] for r in chosen]
        together = sample(logprobs[chosen], mine, lambda: logits, scratch)
        assert together == sample(logprobs[chosen], mine, lambda: logits)
        for row, token in zip(mine, together.ids, strict=True):
            assert token is not None
            row.append(token)


# What is reported


def test_reported_log_probabilities_are_the_models_own() -> None:
    fields = {**SETTINGS["everything"], "logprobs": 3}
    logits = some_logits(VOCAB)
    logprobs = log_softmax(logits)
    drawn = draw(logits[None], [state(SamplingParams(**fields), 1, PROMPT, GENERATED)])
    (token,) = drawn.ids
    assert token is not None
    assert drawn.logprobs == [float(logprobs[token])]
    best = np.argsort(-logprobs)[:3]
    assert drawn.tops == [tuple((int(i), float(logprobs[i])) for i in best)]


@pytest.mark.parametrize("vocab", [4096, 4100])
def test_penalised_tokens_are_reported_as_probable_as_they_were(vocab: int) -> None:
    """The search for alternatives shares its work with the draw, which sees processed values."""
    logits = np.stack([some_logits(vocab, seed) for seed in range(6)])
    logprobs = np.stack([log_softmax(row) for row in logits])
    order = np.argsort(-logprobs, axis=1, kind="stable")
    params = SamplingParams(
        top_k=20,
        presence_penalty=9.0,
        suppressed_token_ids=tuple(order[0, :9].tolist()),
        logprobs=7,
    )
    rows = [state(params, stream_key(k), generated=order[k, :30:2].tolist()) for k in range(6)]
    tops = sample(logprobs, rows, lambda: logits).tops
    for own, best, top in zip(logprobs, order[:, :7], tops, strict=True):
        assert top == tuple((int(i), float(own[i])) for i in best)


def test_each_row_gets_as_many_alternatives_as_it_asked_for() -> None:
    logprobs = np.stack([log_softmax(some_logits(1100, seed)) for seed in range(5)])
    counts = [None, 3, 0, 1100, 9999]
    tops = top_logprobs(logprobs, counts)
    assert [len(top) for top in tops] == [0, 3, 0, 1100, 1100]
    order = np.argsort(-logprobs[1], kind="stable")[:3]
    assert tops[1] == tuple((int(i), float(logprobs[1, i])) for i in order)


# Extremes


@pytest.mark.parametrize(
    "fields",
    [{}, {"temperature": 0}, {"top_p": 0.5}, {"top_k": 3}, {"min_p": 0.1}, {"typical_p": 0.5}],
    ids=str,
)
@pytest.mark.parametrize("vocab", [VOCAB, 128, 1500])
def test_settings_that_exclude_every_token_draw_none(fields: dict[str, Any], vocab: int) -> None:
    """And the row beside it draws as ever."""
    params = SamplingParams(**fields)
    excluded = replace(params, allowed_token_ids=())
    logits = np.stack([some_logits(vocab)] * 3)
    keys = [stream_key(k) for k in range(3)]
    rows = [state(params, keys[0]), state(excluded, keys[1]), state(params, keys[2])]
    drawn = draw(logits, rows)
    alone = draw(logits[:1], [state(params, keys[2])])
    assert drawn.ids[1] is None
    assert drawn.ids[2] == alone.ids[0] is not None


@pytest.mark.parametrize("temperature", [1e-300, 1e-40, 1e-10, 1e-3, 0.01])
@pytest.mark.parametrize("fields", [{}, {"top_p": 0.9}, {"top_k": 3}, {"typical_p": 0.9}], ids=str)
def test_a_temperature_near_zero_is_nearly_greedy(
    temperature: float, fields: dict[str, Any]
) -> None:
    params = SamplingParams(temperature=temperature, **fields)
    logits = some_logits(1500)
    assert draw(logits[None], [state(params)]).ids == [int(logits.argmax())]


@pytest.mark.parametrize("fields", [{}, {"top_p": 0.999}, {"min_p": 0.5}], ids=str)
def test_a_very_high_temperature_is_nearly_uniform(fields: dict[str, Any]) -> None:
    params = SamplingParams(temperature=1e4, **fields)
    rows = [state(params, stream_key(k)) for k in range(DRAWS)]
    ids = draw(np.tile(some_logits(VOCAB), (DRAWS, 1)), rows).ids
    observed = count(ids)
    assert chi_square_p_value(observed, np.full(VOCAB, DRAWS / VOCAB)) > LEAST_P


@pytest.mark.parametrize("fields", [{}, {"top_p": 0.9}, {"top_k": 2}, {"typical_p": 0.99}], ids=str)
@pytest.mark.parametrize("level", [-500.0, -80.0, 0.0, 80.0, 500.0])
def test_only_differences_matter(fields: dict[str, Any], level: float) -> None:
    """Biases and bans may leave values of any size; equal ones are equally probable."""
    bias = dict.fromkeys(range(4), level)
    params = SamplingParams(logit_bias=bias, allowed_token_ids=(0, 1, 2, 3), **fields)
    logits = np.zeros((1000, 200), np.float32)
    observed = count(draw(logits, [state(params, stream_key(k)) for k in range(1000)]).ids)
    kept = np.flatnonzero(exact_distribution(logits[0], params))
    expected = np.where(np.isin(np.arange(VOCAB), kept), 1000 / len(kept), 0)
    assert chi_square_p_value(observed, expected) > LEAST_P
