"""Sampled and searched continuations, against the oracle and brute force."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.request import SamplingParams
from service.engine.runners.onnx_runner import OnnxRunner
from tests.service.engine.driving import Result, make_engine, run_one
from tests.service.engine.examples import CLOSE, prompt_lists, unhurried
from tests.service.engine.small_models import Oracle


def test_greedy_is_the_oracles_most_probable_token(runner: OnnxRunner, oracle: Oracle) -> None:
    sampling = SamplingParams(temperature=0, max_tokens=15)
    result = run_one(make_engine(runner), prompts=((9, 4),), sampling=sampling)
    ids = [9, 4]
    for _ in range(15):
        ids.append(int(oracle.read(ids).logprobs[-1].argmax()))
    assert result.ids() == ids[2:]


@unhurried
@given(prompts=prompt_lists, n=st.integers(1, 3), seed=st.integers(0, 100))
def test_a_sampled_token_has_the_bits_of_its_score(
    runner: OnnxRunner, prompts: list[tuple[int, ...]], n: int, seed: int
) -> None:
    """What was generated, sent back as a text to score, gets the numbers that it was sent with."""
    sampling = SamplingParams(max_tokens=5, n=n, seed=seed, temperature=1.4, top_k=20, logprobs=2)
    result = run_one(make_engine(runner, 3), prompts=tuple(prompts), sampling=sampling)
    for index, sample in product(range(len(prompts)), range(n)):
        tokens, prompt = result.tokens[index, sample], prompts[index]
        text = (*prompt, *result.ids(index, sample))
        scored = run_one(make_engine(runner), prompts=(text,), prompt_logprobs=2).prompts[0]
        assert scored.logprobs is not None
        assert scored.top is not None
        assert [t.logprob for t in tokens] == scored.logprobs[len(prompt) :].tolist()
        assert tuple(t.top for t in tokens) == scored.top[len(prompt) :]


def test_samples_have_streams_of_their_own(runner: OnnxRunner) -> None:
    def sampled(n: int, seed: int) -> Result:
        sampling = SamplingParams(n=n, seed=seed, max_tokens=10)
        return run_one(make_engine(runner), prompts=((1, 2), (1, 2)), sampling=sampling)

    four = sampled(4, 0)
    texts = {tuple(four.ids(prompt, k)) for prompt in range(2) for k in range(4)}
    assert len(texts) == 8
    assert sampled(4, 0).bits() == four.bits()
    fewer, other = sampled(2, 0), sampled(2, 1)
    assert fewer.tokens == {key: four.tokens[key] for key in fewer.tokens}
    assert not texts & {tuple(other.ids(prompt, k)) for prompt in range(2) for k in range(2)}


def test_a_stop_token_ends_a_continuation_and_is_part_of_it(runner: OnnxRunner) -> None:
    stops = tuple(range(12))
    sampling = SamplingParams(n=12, max_tokens=6, stop_token_ids=stops)
    result = run_one(make_engine(runner), prompts=((1,),), sampling=sampling)
    reasons = set()
    for tokens in result.tokens.values():
        *before, last = tokens
        assert all(t.token_id not in stops and t.finish_reason is None for t in before)
        assert last.finish_reason == ("stop" if last.token_id in stops else "length")
        assert len(tokens) == 6 or last.finish_reason == "stop"
        reasons.add(last.finish_reason)
    assert reasons == {"stop", "length"}


def test_a_stop_token_as_the_last_one_allowed_is_a_stop(runner: OnnxRunner) -> None:
    params = SamplingParams(max_tokens=1, stop_token_ids=(5,), allowed_token_ids=(5,))
    result = run_one(make_engine(runner), prompts=((1,),), sampling=params)
    assert [t.finish_reason for t in result.tokens[0, 0]] == ["stop"]


def test_a_stop_token_does_not_come_too_early(runner: OnnxRunner) -> None:
    stops = tuple(range(40))
    sampling = SamplingParams(n=10, min_tokens=3, max_tokens=9, stop_token_ids=stops)
    result = run_one(make_engine(runner), prompts=((1,),), sampling=sampling)
    assert all(len(tokens) >= 4 for tokens in result.tokens.values())
    assert any(tokens[-1].finish_reason == "stop" for tokens in result.tokens.values())


def test_penalties_look_at_prompt_and_continuation(runner: OnnxRunner, oracle: Oracle) -> None:
    """Greedy with a repetition penalty, against the definition on the oracle's logits.

    Of a distribution the logits' signs are lost; the oracle has them from its own softmax matrix.
    """
    weight = oracle.model.output_weight.detach().numpy()
    features = slice(-weight.shape[1], None)
    if not runner.layout.features_apart:
        features = runner.layout.slices()["features"]
    ids = [9, 4, 4]
    for _ in range(10):
        logits = weight @ oracle.read(ids).states[-1][features]
        for token in set(ids):
            logits[token] *= 1 / 1.7 if logits[token] > 0 else 1.7
        ids.append(int(logits.argmax()))
    sampling = SamplingParams(temperature=0, repetition_penalty=1.7, max_tokens=10)
    result = run_one(make_engine(runner), prompts=((9, 4, 4),), sampling=sampling)
    assert result.ids() == ids[3:]


def test_more_continuations_than_rows_are_all_made(runner: OnnxRunner) -> None:
    sampling = SamplingParams(n=40, max_tokens=3, repetition_penalty=1.3)
    result = run_one(make_engine(runner, 2), prompts=((1, 2),), sampling=sampling)
    assert [len(tokens) for tokens in result.tokens.values()] == [3] * 40


def brute_force(
    oracle: Oracle, prompt: tuple[int, ...], params: SamplingParams
) -> list[tuple[tuple[int, ...], float]]:
    """All continuations of allowed tokens and their scores, best first."""
    assert params.allowed_token_ids is not None
    found = []
    for size in range(1, params.max_tokens + 1):
        for ids in product(params.allowed_token_ids, repeat=size):
            stops = [token in params.stop_token_ids for token in ids]
            if any(stops[:-1]) or not (stops[-1] or size == params.max_tokens):
                continue
            history = oracle.read((*prompt, *ids))
            total = history.scores((*prompt, *ids))[len(prompt) :].sum()
            found.append((ids, float(total / size**params.length_penalty)))
    return sorted(found, key=lambda item: -item[1])


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("stops", [(), (6,), (6, 11)])
def test_a_wide_beam_search_finds_the_best_of_all(
    runner: OnnxRunner, oracle: Oracle, length_penalty: float, stops: tuple[int, ...]
) -> None:
    params = SamplingParams(
        beam_width=27,
        n=5,
        max_tokens=3,
        allowed_token_ids=(5, 6, 11),
        stop_token_ids=stops,
        length_penalty=length_penalty,
        logprobs=1,
    )
    prompts = ((3, 3), (9,))
    result = run_one(make_engine(runner, 4), prompts=prompts, sampling=params)
    for index, prompt in enumerate(prompts):
        for k, (ids, score) in enumerate(brute_force(oracle, prompt, params)[:5]):
            tokens = result.tokens[index, k]
            assert tuple(result.ids(index, k)) == ids
            mean = sum(t.logprob for t in tokens) / len(tokens) ** length_penalty
            assert mean == pytest.approx(score, abs=5 * CLOSE)
            assert tokens[-1].finish_reason == ("stop" if ids[-1] in stops else "length")
            assert all(t.finish_reason is None for t in tokens[:-1])


def test_beams_come_best_first_with_the_bits_of_their_scores(runner: OnnxRunner) -> None:
    params = SamplingParams(beam_width=4, n=4, max_tokens=6, stop_token_ids=(2, 3), logprobs=2)
    prompt = (8, 1)
    result = run_one(make_engine(runner, 3), prompts=(prompt,), sampling=params)
    means = []
    for k in range(4):
        tokens = result.tokens[0, k]
        text = (*prompt, *result.ids(0, k))
        scored = run_one(make_engine(runner), prompts=(text,), prompt_logprobs=2).prompts[0]
        assert scored.logprobs is not None
        assert scored.top is not None
        assert [t.logprob for t in tokens] == scored.logprobs[2:].tolist()
        assert tuple(t.top for t in tokens) == scored.top[2:]
        means.append(sum(t.logprob for t in tokens) / len(tokens))
    assert means == sorted(means, reverse=True)


def test_a_beam_of_one_is_greedy(runner: OnnxRunner) -> None:
    beam = SamplingParams(beam_width=1, max_tokens=8, length_penalty=0)
    greedy = SamplingParams(temperature=0, max_tokens=8)
    results = [
        run_one(make_engine(runner), prompts=((4, 4),), sampling=params)
        for params in (beam, greedy)
    ]
    assert results[0].bits() == results[1].bits()
