"""Scores, distributions and states of prompts, against the oracle and against themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.prefix_tree import PrefixTree
from service.engine.request import NextToken, SamplingParams
from service.engine.runners.onnx_runner import OnnxRunner
from service.engine_state import EngineState
from tests.service.engine.driving import Result, make_engine, run_one, some_start
from tests.service.engine.examples import CLOSE, prompt_lists, token_ids, unhurried
from tests.service.engine.small_models import Oracle


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
    start: EngineState | None,
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
        assert output.state.vector == pytest.approx(history.states[state_at], abs=CLOSE)


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
    assert after.state == uncut.state
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
    assert empty.state == start
    assert result.prompts[1].state == start
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
