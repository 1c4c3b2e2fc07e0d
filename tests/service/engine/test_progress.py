"""What is known of a request: kept by node, told by prompt, told once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.engine.prefix_tree import Node
from service.engine.progress import NOT_FINITE, RequestProgress, Scores
from service.engine.request import (
    EngineRequest,
    NextToken,
    PromptOutput,
    SamplingParams,
    TokenChoices,
    TokenOutput,
)
from service.engine.sampling.guides import Guides
from service.engine_state import EngineState

# The run 1 2, then 3 4 or 5; the third prompt ends where the others part.
PROMPTS = ((1, 2, 3, 4), (1, 2, 5), (1, 2))
HEAD = np.log(np.array([0.1, 0.2, 0.3, 0.4], np.float32))


def progress_of(**fields: Any) -> RequestProgress:
    request = EngineRequest(request_id="r", **{"prompts": PROMPTS, **fields})
    return RequestProgress.of(request, Guides([b"a", b"b"]))


def know(progress: RequestProgress) -> None:
    """Every token's ln P is minus the token, its one alternative the token itself."""
    for node in progress.tree:
        progress.scores[node] = Scores(
            [-float(token) for token in node.tokens], [((token, -1.0),) for token in node.tokens]
        )


def told(progress: RequestProgress, index: int) -> PromptOutput:
    know(progress)
    progress.report_prompt(index, HEAD)
    (output,) = progress.take_output().prompts
    return output


def test_paths_run_from_the_start_to_the_end_of_a_node() -> None:
    progress = progress_of(prompt_logprobs=0)
    know(progress)
    for prompt, leaf in zip(PROMPTS, progress.tree.leaves, strict=True):
        assert progress.path_tokens(leaf) == list(prompt)
        assert progress.path_logprobs(leaf) == [-float(token) for token in prompt]
    assert progress.path_tokens(progress.tree.root) == []


def test_scores_are_told_from_where_they_were_asked_for() -> None:
    progress = progress_of(prompt_logprobs=1, score_from=(0, 2, 1), start=None)
    assert told(progress, 0).logprobs is not None
    second = told(progress, 1)
    assert second.logprobs is not None
    assert second.logprobs.tolist()[2:] == [-5.0]
    assert np.isnan(second.logprobs[:2]).all()  # shared with a prompt that scores them
    assert second.top == ((), (), ((5, -1.0),))
    # Without a state before it a first token has no probability.
    assert [node.score_from for node in progress.tree if node.depth == 0] == [1]


def test_with_a_start_the_first_token_is_scored_too() -> None:
    progress = progress_of(prompt_logprobs=0, start=EngineState(np.zeros(3, np.float32)))
    assert [node.score_from for node in progress.tree if node.depth == 0] == [0]
    assert told(progress, 2).logprobs is not None


def test_the_distribution_after_a_prompt_as_it_was_asked_for() -> None:
    output = told(progress_of(next_token=NextToken(top_k=2, token_ids=(0, 1), full=True)), 0)
    assert output.next_token is not None
    assert [token for token, _ in output.next_token.top] == [3, 2]
    assert output.next_token.chosen == ((0, float(HEAD[0])), (1, float(HEAD[1])))
    assert output.next_token.full is not None
    assert output.next_token.full is not HEAD  # the runner's own memory
    assert np.array_equal(output.next_token.full, HEAD)
    few = told(progress_of(next_token=NextToken(top_k=1)), 0)
    assert few.next_token is not None
    assert (few.next_token.chosen, few.next_token.full, few.logprobs) == ((), None, None)


def test_a_state_is_told_with_its_prompt() -> None:
    progress = progress_of(state_at=(4, None, None))
    progress.states[0] = np.arange(3, dtype=np.float32)
    output = told(progress, 0)
    assert output.state == EngineState(np.arange(3, dtype=np.float32))
    progress.report_prompt(1, HEAD)  # nothing was asked of it
    assert not progress.has_news


@pytest.mark.parametrize("damage", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", ["head", "state"])
def test_numbers_that_are_not_finite_fail_the_request(damage: float, place: str) -> None:
    progress = progress_of(next_token=NextToken(), state_at=(4, None, None))
    know(progress)
    head, state = HEAD.copy(), np.zeros(3, np.float32)
    (head if place == "head" else state)[1] = damage
    progress.states[0] = state
    progress.report_prompt(0, head)
    output = progress.take_output()
    assert (output.finished, output.error, output.prompts) == (True, NOT_FINITE, ())


def test_news_are_told_once_and_the_end_with_the_last() -> None:
    progress = progress_of(prompt_logprobs=0)
    know(progress)
    assert not progress.has_news
    finished: list[bool] = []
    for index in range(3):
        progress.report_prompt(index, None)
        assert progress.has_news
        output = progress.take_output()
        assert [prompt.index for prompt in output.prompts] == [index]
        finished.append(output.finished)
    assert finished == [False, False, True]
    assert progress.take_output().prompts == ()


def test_a_search_is_open_until_what_it_found_is_told() -> None:
    progress = progress_of(prompts=((1,),), sampling=SamplingParams(beam_width=2))
    progress.open_prompts, progress.open_searches = 0, 1
    assert not progress.is_finished
    beams = [[TokenOutput(0, 0, 7, -1.0)], [TokenOutput(0, 1, 8, -2.0)]]
    progress.report_search(beams)
    output = progress.take_output()
    assert output.finished
    assert output.tokens == (beams[0][0], beams[1][0])


def test_the_wait_is_told_once_with_the_first_news_after_it() -> None:
    progress = progress_of(arrived=10.0)
    assert progress.take_output().queued_s is None
    progress.end_wait(lambda: 12.5)
    progress.end_wait(lambda: 99.0)
    assert progress.take_output().queued_s == 2.5
    assert progress.take_output().queued_s is None
    backwards = progress_of(arrived=10.0)
    backwards.end_wait(lambda: 9.0)
    assert backwards.take_output().queued_s == 0
    nobody_asks = progress_of()
    nobody_asks.end_wait(lambda: 1.0)
    assert nobody_asks.take_output().queued_s is None


def needs(progress: RequestProgress) -> dict[tuple[int, ...], tuple[bool, bool, bool]]:
    """By tokens from the start: whether a node's end has a head, is fed, is continued often."""

    def of(node: Node) -> tuple[bool, bool, bool]:
        return (
            progress.ends_with_head(node),
            progress.needs_end(node),
            progress.is_continued_often(node),
        )

    return {tuple(progress.path_tokens(node)): of(node) for node in progress.tree}


def test_what_each_end_is_needed_for() -> None:
    scored = needs(progress_of(prompts=((1, 2, 3), (1, 2, 4)), prompt_logprobs=0))
    assert scored == {(1, 2): (True, True, False), (1, 2, 3): (False, False, False),
                      (1, 2, 4): (False, False, False)}  # fmt: skip
    late = needs(progress_of(prompts=((1, 2, 3), (1, 2, 4)), prompt_logprobs=0, score_from=(3, 3)))
    assert late[1, 2] == (False, True, False)  # its children's first tokens are not scored
    asked = needs(progress_of(prompts=((1, 2),), next_token=NextToken()))
    assert asked == {(1, 2): (True, True, False)}
    for n, often in ((1, False), (2, True)):
        drawn = needs(progress_of(prompts=((1, 2),), sampling=SamplingParams(n=n)))
        assert drawn == {(1, 2): (True, True, often)}
    kept = progress_of(prompts=((1, 2),), sampling=SamplingParams(), keep_states=True)
    assert needs(kept) == {(1, 2): (True, True, True)}


def test_each_prompt_has_its_guide_and_what_is_shared_is_found_once() -> None:
    guides = (TokenChoices(((0,),)), TokenChoices(((1,),)), TokenChoices(((0,),)))
    progress = progress_of(sampling=SamplingParams(guides=guides))
    assert len(progress.guides) == 2
    for prompt, guide in enumerate(guides):
        tokens = progress.prompt_tokens(prompt)
        assert tokens is progress.prompt_tokens(prompt)
        assert tokens.guide is progress.guides[guide]
    plain = progress_of(sampling=SamplingParams())
    assert plain.prompt_tokens(0).guide is None


def test_a_failed_request_has_ended_whatever_was_open() -> None:
    progress = progress_of(sampling=SamplingParams())
    assert not progress.is_finished
    progress.fail("the reason")
    output = progress.take_output()
    assert (output.finished, output.error) == (True, "the reason")
