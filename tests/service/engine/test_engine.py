"""What an engine says of its requests, against the oracle and against itself."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.config import ModelConfig
from service.engine.onnx_runner import OnnxRunner
from service.engine.prefix_tree import PrefixTree
from service.engine.request import Floats, NextToken, Priority, Request, SamplingParams
from tests.service.engine.driving import Result, make_engine, run, run_one
from tests.service.engine.small_models import Oracle, random_weights

CLOSE = 2e-5  # nats: fp32 sums of this size differ by less from the oracle's

# The runner keeps nothing between requests that an example could see.
unhurried = settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
token_ids = st.integers(0, 60)
prompt_lists = st.lists(
    st.lists(st.integers(0, 2) | token_ids, min_size=1, max_size=7).map(tuple),
    min_size=1,
    max_size=5,
)


def some_start(runner: OnnxRunner, ids: tuple[int, ...] = (7, 7, 3)) -> Floats:
    """The state after some tokens."""
    state = run_one(make_engine(runner), prompts=(ids,), state_at=(len(ids),)).prompts[0].state
    assert state is not None
    return state


# Scores, distributions and states


@st.composite
def questions(draw: st.DrawFn) -> dict[str, Any]:
    """Fields of a request that asks about prompts alone."""
    prompts = draw(prompt_lists)
    fields: dict[str, Any] = {"prompts": tuple(prompts)}
    fields["prompt_logprobs"] = draw(st.none() | st.integers(0, 3))
    if draw(st.booleans()):
        fields["score_from"] = tuple(draw(st.integers(0, len(prompt))) for prompt in prompts)
    if draw(st.booleans()):
        fields["state_at"] = tuple(
            draw(st.none() | st.integers(0, len(prompt))) for prompt in prompts
        )
    if draw(st.booleans()):
        chosen = draw(st.lists(token_ids, max_size=2).map(tuple))
        fields["next_token"] = NextToken(
            top_k=draw(st.integers(0, 4)), token_ids=chosen, full=draw(st.booleans())
        )
    return fields


@unhurried
@given(fields=questions(), continues=st.booleans())
def test_every_answer_about_prompts_is_the_oracles(
    runner: OnnxRunner, oracle: Oracle, fields: dict[str, Any], continues: bool
) -> None:
    start = some_start(runner) if continues else None
    result = run_one(make_engine(runner, 3), start=start, **fields)
    asks = any(fields.get(name) is not None for name in ("prompt_logprobs", "next_token"))
    assert not result.tokens
    for index in range(len(fields["prompts"])):
        state_at = fields["state_at"][index] if "state_at" in fields else None
        assert (index in result.prompts) == (asks or state_at is not None)
        if index in result.prompts:
            first = fields["score_from"][index] if "score_from" in fields else 0
            check_prompt(result, index, fields, max(first, start is None), oracle, start)


def check_prompt(
    result: Result,
    index: int,
    fields: dict[str, Any],
    first: int,
    oracle: Oracle,
    start: Floats | None,
) -> None:
    """first: position of the first scored token."""
    prompt, output = fields["prompts"][index], result.prompts[index]
    history = oracle.read(prompt, start)
    count, wants = fields["prompt_logprobs"], fields.get("next_token")
    assert (output.logprobs is None) == (count is None)
    if output.logprobs is not None:
        expected = history.scores(prompt)
        expected[:first] = np.nan
        assert output.logprobs == pytest.approx(expected, abs=CLOSE, nan_ok=True)
    assert (output.top is None) == (not count)
    if output.top is not None:
        assert output.top[:first] == ((),) * min(first, len(prompt))
        for position in range(first, len(prompt)):
            check_top(output.top[position], count, history.logprobs[position])
    assert (output.next_token is None) == (wants is None)
    if output.next_token is not None and wants is not None:
        after = history.logprobs[-1]
        check_top(output.next_token.top, wants.top_k, after)
        assert [token for token, _ in output.next_token.chosen] == list(wants.token_ids)
        for token, value in output.next_token.chosen:
            assert value == pytest.approx(after[token], abs=CLOSE)
        assert (output.next_token.full is not None) == wants.full
        if output.next_token.full is not None:
            assert output.next_token.full == pytest.approx(after, abs=CLOSE)
    state_at = fields["state_at"][index] if "state_at" in fields else None
    assert (output.state is None) == (state_at is None)
    if output.state is not None:
        assert output.state == pytest.approx(history.states[state_at], abs=CLOSE)


def check_top(
    top: tuple[tuple[int, float], ...], count: int, logprobs: np.ndarray[Any, Any]
) -> None:
    assert len(top) == count
    assert len({token for token, _ in top}) == count
    for token, value in top:
        assert value == pytest.approx(logprobs[token], abs=CLOSE)
    assert [value for _, value in top] == pytest.approx(
        np.sort(logprobs)[::-1][:count].tolist(), abs=CLOSE
    )


@unhurried
@given(prompts=prompt_lists)
def test_a_shared_prefix_is_computed_once(
    runner: OnnxRunner, prompts: list[tuple[int, ...]]
) -> None:
    engine = make_engine(runner, 2)
    run_one(engine, prompts=tuple(prompts), prompt_logprobs=0)
    tree = PrefixTree(prompts)
    # The last token of a text that only ends there is scored, but need not be fed.
    ends = sum(not (node.children or node.is_trunk) for node in tree)
    assert engine.counters.step_rows == tree.num_tokens - ends


def test_a_distribution_nobody_asked_for_is_not_computed(runner: OnnxRunner) -> None:
    prompt = tuple(range(50))
    engine = make_engine(runner)
    run_one(engine, prompts=(prompt,), state_at=(50,))
    assert engine.counters.head_rows == 0
    engine = make_engine(runner)
    run_one(engine, prompts=(prompt,), prompt_logprobs=0, score_from=(40,))
    assert engine.counters.head_rows == 10
    engine = make_engine(runner)
    run_one(engine, prompts=(prompt,), next_token=NextToken(top_k=1))
    assert engine.counters.head_rows == 1


# States


@pytest.mark.parametrize("cut", range(9))
def test_going_on_from_a_state_is_going_on(runner: OnnxRunner, cut: int) -> None:
    """At every cut the rest of a text has the bits that it has in the whole text."""
    whole = (1, 5, 5, 2, 40, 41, 9, 0)
    wanted: dict[str, Any] = {"prompt_logprobs": 2, "next_token": NextToken(top_k=5, full=True)}
    uncut = run_one(make_engine(runner), prompts=(whole,), state_at=(8,), **wanted).prompts[0]
    before = run_one(make_engine(runner), prompts=(whole,), state_at=(cut,)).prompts[0]
    assert uncut.logprobs is not None
    assert uncut.top is not None
    after = run_one(
        make_engine(runner),
        prompts=(whole[cut:],),
        start=before.state,
        state_at=(8 - cut,),
        **wanted,
    ).prompts[0]
    assert after.logprobs is not None
    assert after.top is not None
    known = slice(1 if cut == 0 else 0, None)  # a start state of zeros scores the first token too
    assert np.array_equal(after.logprobs[known], uncut.logprobs[cut:][known])
    assert after.top[known] == uncut.top[cut:][known]
    assert np.array_equal(after.state, uncut.state)  # type: ignore[arg-type]
    assert after.next_token is not None
    assert uncut.next_token is not None
    assert after.next_token.top == uncut.next_token.top
    assert np.array_equal(after.next_token.full, uncut.next_token.full)  # type: ignore[arg-type]


def test_an_empty_prompt_after_a_state_is_that_state(runner: OnnxRunner) -> None:
    start, wanted = some_start(runner), NextToken(full=True)
    result = run_one(
        make_engine(runner), prompts=((), (4,)), start=start, state_at=(0, 0), next_token=wanted
    )
    before = run_one(make_engine(runner), prompts=((7, 7, 3),), next_token=wanted)
    empty, known = result.prompts[0], before.prompts[0]
    assert np.array_equal(empty.state, start)  # type: ignore[arg-type]
    assert np.array_equal(result.prompts[1].state, start)  # type: ignore[arg-type]
    assert empty.next_token is not None
    assert known.next_token is not None
    assert np.array_equal(empty.next_token.full, known.next_token.full)  # type: ignore[arg-type]


def test_an_empty_prompt_has_no_scores_to_report(runner: OnnxRunner) -> None:
    result = run_one(
        make_engine(runner), prompts=((),), start=some_start(runner), prompt_logprobs=2
    )
    (output,) = result.prompts.values()
    assert output.logprobs is not None
    assert output.logprobs.shape == (0,)
    assert output.top == ()


@pytest.mark.parametrize("max_tokens", [1, 6])
def test_a_continuation_goes_on_from_a_state(runner: OnnxRunner, max_tokens: int) -> None:
    sampling = SamplingParams(max_tokens=max_tokens, seed=5)
    whole = run_one(make_engine(runner), prompts=((7, 7, 3),), sampling=sampling)
    start = some_start(runner)
    resumed = run_one(make_engine(runner), prompts=((),), start=start, sampling=sampling)
    assert whole.bits() == resumed.bits()


# Continuations


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


# Beams


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


# Errors


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(allowed_token_ids=()),
        SamplingParams(allowed_token_ids=(3,), bad_words=((3, 3),), n=2),
        SamplingParams(allowed_token_ids=(3, 4), stop_token_ids=(3, 4), min_tokens=1, top_p=0.5),
        SamplingParams(allowed_token_ids=(), beam_width=2),
        SamplingParams(allowed_token_ids=(3,), bad_words=((3, 3),), beam_width=2),
    ],
    ids=["nothing", "a dead end", "stops too early", "beams", "a dead end for beams"],
)
def test_settings_that_exclude_every_token_fail_alone(
    runner: OnnxRunner, params: SamplingParams
) -> None:
    other = Request(
        request_id="other", prompts=((1, 2),), prompt_logprobs=1, sampling=SamplingParams(n=2)
    )
    (expected,) = run(make_engine(runner), other)
    for start in (None, some_start(runner)):
        prompts = ((5, 6),) if start is None else ((),)
        failing = Request(request_id="failing", prompts=prompts, start=start, sampling=params)
        failed, unharmed = run(make_engine(runner, 3), failing, other)
        assert failed.error == "the sampling settings exclude every token"
        assert unharmed.bits() == expected.bits()


def test_what_cannot_be_computed_is_refused_and_leaves_nothing(runner: OnnxRunner) -> None:
    engine = make_engine(runner)
    with pytest.raises(ValueError, match="token id 9999"):
        engine.add_request(Request(request_id="r", prompts=((9999,),)))
    assert not engine.has_work
    assert engine.step() == []


def test_a_request_that_asks_nothing_is_finished_all_the_same(runner: OnnxRunner) -> None:
    result = run_one(make_engine(runner), prompts=((1, 2), (1, 3)))
    assert result.bits() == {"end": (True, None)}


# Leaving early


def stream(request_id: str, max_tokens: int = 1000, n: int = 1, **fields: Any) -> Request:
    sampling = SamplingParams(max_tokens=max_tokens, n=n, seed=3)
    return Request(request_id=request_id, prompts=((1, 2),), sampling=sampling, **fields)


def test_an_aborted_requests_rows_are_free_in_the_next_step(runner: OnnxRunner) -> None:
    engine = make_engine(runner, 2)
    engine.add_request(stream("gone", n=2))
    for _ in range(5):
        engine.step()
    engine.add_request(stream("next", n=2))
    assert [u.request_id for u in engine.scheduler.running] == ["gone", "gone"]
    engine.abort("gone")
    assert engine.scheduler.running == []
    outputs = [output for _ in range(3) for output in engine.step()]
    assert {output.request_id for output in outputs} == {"next"}
    assert {t.sample for output in outputs for t in output.tokens} == {0, 1}


def test_aborting_what_is_unknown_or_over_does_nothing(runner: OnnxRunner) -> None:
    engine = make_engine(runner)
    engine.abort("unknown")
    run(engine, stream("over", max_tokens=2))
    engine.abort("over")
    assert not engine.has_work


def test_an_aborted_request_says_nothing_more(runner: OnnxRunner) -> None:
    engine = make_engine(runner)
    engine.add_request(stream("gone", start=some_start(runner)))  # may have news before any step
    engine.abort("gone")
    assert engine.step() == []
    assert not engine.has_work


def test_a_stopped_sample_leaves_the_others_going(runner: OnnxRunner) -> None:
    (expected,) = run(make_engine(runner), stream("r", max_tokens=9, n=3))
    for max_num_seqs in (1, 6):  # waiting or running when it is stopped
        engine, result = make_engine(runner, max_num_seqs), Result()
        engine.add_request(stream("r", max_tokens=9, n=3))
        stopped = False
        while engine.has_work:
            for output in engine.step():
                result.add(output)
            if not stopped and len(result.tokens) == 3:
                engine.stop_sample("r", 0, 1)
                stopped = True
        assert result.finished
        assert result.error is None
        assert len(result.tokens[0, 1]) < 9
        assert result.tokens[0, 1][-1].finish_reason is None
        assert result.tokens[0, 1] == expected.tokens[0, 1][: len(result.tokens[0, 1])]
        assert all(result.tokens[0, k] == expected.tokens[0, k] for k in (0, 2))


def test_a_request_whose_last_sample_is_stopped_is_finished(runner: OnnxRunner) -> None:
    engine, result = make_engine(runner), Result()
    engine.add_request(stream("r"))
    while not result.tokens:
        for output in engine.step():
            result.add(output)
    engine.stop_sample("r", 0, 0)
    assert engine.has_work
    for output in engine.step():
        result.add(output)
    assert result.finished
    assert not engine.has_work
    engine.stop_sample("r", 0, 0)
    engine.stop_sample("unknown", 0, 0)
    assert not engine.has_work


def test_stopping_a_sample_of_a_request_that_has_failed_does_nothing(runner: OnnxRunner) -> None:
    engine, sampling = make_engine(runner), SamplingParams(allowed_token_ids=())
    start = some_start(runner)
    engine.add_request(Request(request_id="r", prompts=((),), start=start, sampling=sampling))
    engine.stop_sample("r", 0, 0)
    (output,) = engine.step()
    assert output.error is not None
    assert not engine.has_work


# The cache


def test_a_repeated_prompt_is_not_computed_again(runner: OnnxRunner) -> None:
    engine, prompt = make_engine(runner), tuple(range(20))
    wanted: dict[str, Any] = {"prompt_logprobs": 0, "next_token": NextToken(full=True)}
    cold = run_one(engine, prompts=(prompt,), **wanted)
    steps = engine.counters.step_rows
    warm = run_one(engine, prompts=((*prompt, 20),), **wanted)
    assert (cold.cached_tokens, warm.cached_tokens) == (0, 20)
    assert engine.counters.step_rows == steps + 1
    fresh = run_one(make_engine(runner), prompts=((*prompt, 20),), **wanted)
    assert warm.bits() == fresh.bits()


def test_a_scored_and_then_continued_prompt_can_be_scored_again(runner: OnnxRunner) -> None:
    engine, prompt = make_engine(runner), tuple(range(20))
    longer = (*prompt, 20, 21)
    run_one(engine, prompts=(prompt,), prompt_logprobs=0)
    run_one(engine, prompts=(prompt,), sampling=SamplingParams(max_tokens=2))
    scored = run_one(engine, prompts=(longer,), prompt_logprobs=0)
    assert scored.cached_tokens == 20
    assert (
        scored.bits() == run_one(make_engine(runner), prompts=(longer,), prompt_logprobs=0).bits()
    )


@pytest.mark.parametrize("keep", [False, True])
def test_a_continuation_is_kept_for_the_next_turn(runner: OnnxRunner, keep: bool) -> None:
    """At its end always; with keep_states after every one of its tokens."""
    engine, prompt = make_engine(runner), (5, 6, 7)
    sampling = SamplingParams(max_tokens=10)
    result = run_one(engine, prompts=(prompt,), sampling=sampling, keep_states=keep)
    whole = (*prompt, *result.ids(), 9)
    assert run_one(engine, prompts=(whole,), next_token=NextToken()).cached_tokens == 12
    engine = make_engine(runner)
    run_one(engine, prompts=(prompt,), sampling=sampling, keep_states=keep)
    part = (*whole[:8], 60)
    again = run_one(engine, prompts=(part,), next_token=NextToken(full=True))
    assert again.cached_tokens == (8 if keep else 3)
    fresh = run_one(make_engine(runner), prompts=(part,), next_token=NextToken(full=True))
    assert again.bits() == fresh.bits()


def test_a_stopped_sample_is_kept_for_the_next_turn(runner: OnnxRunner) -> None:
    engine, result = make_engine(runner), Result()
    engine.add_request(stream("r"))
    while len(result.tokens.get((0, 0), ())) < 5:
        for output in engine.step():
            result.add(output)
    engine.stop_sample("r", 0, 0)
    engine.step()
    longer = (1, 2, *result.ids(), 9)
    again = run_one(engine, prompts=(longer,), next_token=NextToken(full=True))
    assert again.cached_tokens == 6  # all but the last token, which was drawn but not fed
    fresh = run_one(make_engine(runner), prompts=(longer,), next_token=NextToken(full=True))
    assert again.bits() == fresh.bits()


def test_states_after_different_starts_are_told_apart(runner: OnnxRunner) -> None:
    engine, prompt = make_engine(runner), tuple(range(10))
    wanted = NextToken(full=True)
    for ids in ((7,), (8,)):
        start = some_start(runner, ids)
        result = run_one(engine, prompts=(prompt,), start=start, next_token=wanted)
        assert result.cached_tokens == 0
        fresh = run_one(make_engine(runner), prompts=(prompt,), start=start, next_token=wanted)
        assert result.bits() == fresh.bits()
    longer = (*prompt, 3)
    again = run_one(engine, prompts=(longer,), start=some_start(runner, (7,)), next_token=wanted)
    assert again.cached_tokens == 10


def test_without_cache_nothing_is_kept(runner: OnnxRunner) -> None:
    engine = make_engine(runner, cache_bytes=0)
    for _ in range(2):
        assert run_one(engine, prompts=((1, 2, 3, 4),), prompt_logprobs=0).cached_tokens == 0
    assert len(engine.cache) == 0


# Together


def test_bulk_scoring_does_not_stall_a_stream(runner: OnnxRunner) -> None:
    """A token a step for the stream, however much there is to score."""
    engine = make_engine(runner, 4)
    texts = tuple((k, *range(30)) for k in range(20))
    engine.add_request(
        Request(request_id="bulk", prompts=texts, prompt_logprobs=0, priority=Priority.BULK)
    )
    for _ in range(3):
        engine.step()
    engine.add_request(stream("stream", max_tokens=12))
    steps = [engine.step() for _ in range(14)]
    tokens = [sum(len(o.tokens) for o in step if o.request_id == "stream") for step in steps]
    assert tokens == [0, *[1] * 12, 0]


def test_long_texts_take_many_tokens_a_step(runner: OnnxRunner) -> None:
    """While nothing else waits for a step; `sequence_length` tokens and the step's own."""
    engine, size = make_engine(runner), runner.sequence_length
    prompt = tuple(k % 50 for k in range(40 * (size + 1)))
    run_one(engine, prompts=(prompt,), prompt_logprobs=0)
    assert engine.counters.steps < 50
    assert engine.counters.step_rows == len(prompt)


def test_outputs_say_when_they_are_the_last(runner: OnnxRunner) -> None:
    engine = make_engine(runner)
    engine.add_request(stream("r", max_tokens=5))
    outputs = []
    while engine.has_work:
        outputs += engine.step()
    assert [output.finished for output in outputs] == [False] * 4 + [True]
    assert [len(output.tokens) for output in outputs] == [1] * 5
    assert all(not a.finished for a, _ in pairwise(outputs))


def test_every_shape_is_served(config: ModelConfig) -> None:
    """A kernel of a single row is enough for everything."""
    runner = OnnxRunner(config, random_weights(config), arithmetic="fp32", max_rows=1)
    params = SamplingParams(beam_width=2, n=2, max_tokens=2)
    result = run_one(
        make_engine(runner), prompts=((1, 2), (3,)), prompt_logprobs=1, sampling=params
    )
    assert len(result.prompts) == 2
    assert len(result.tokens) == 4
