"""From an engine's outputs to continuations, whatever the engine does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from models.tokenizer import Tokenizer
from service.api.openai.generation import Generation
from service.engine.request import (
    EngineRequest,
    FinishReason,
    PromptOutput,
    RequestOutput,
    SamplingParams,
    TokenOutput,
)
from service.http.errors import ApiError
from service.text.generated_text import TextRules
from service.text.history import Prompt, begin, build_prompt
from service.text.stop_strings import StopStrings
from tests.service.api.clients import make_client
from tests.service.plain_engine import PlainEngine, PlainLSTM


@dataclass
class ScriptedEngine(PlainEngine):
    """Says what it is told to, and remembers which samples it was asked to stop."""

    script: Sequence[RequestOutput] = ()
    stopped: list[tuple[int, int]] = field(default_factory=list)
    is_closed: bool = False

    def stop_sample(self, request_id: str, prompt: int, sample: int) -> None:
        assert request_id == "r"
        self.stopped.append((prompt, sample))

    async def submit(self, request: EngineRequest) -> AsyncIterator[RequestOutput]:
        assert request.request_id == "r"
        try:
            for output in self.script:
                yield output
        finally:
            self.is_closed = True


def token(
    token_id: int, prompt: int = 0, sample: int = 0, end: FinishReason | None = None
) -> TokenOutput:
    return TokenOutput(
        prompt=prompt, sample=sample, token_id=token_id, logprob=-1.0, finish_reason=end
    )


def output(*tokens: TokenOutput, finished: bool = False, cached: int = 0) -> RequestOutput:
    return RequestOutput(request_id="r", tokens=tokens, finished=finished, cached_tokens=cached)


@pytest.fixture
def prompts(tokenizer: Tokenizer) -> list[Prompt]:
    history = begin(tokenizer, bos=True)
    return [build_prompt(history, text, eos=False) for text in ("the cat", "sat on\n")]


@pytest.fixture
def scripted(lstm: PlainLSTM) -> ScriptedEngine:
    return ScriptedEngine(lstm)


def generation(
    engine: ScriptedEngine,
    prompts: list[Prompt],
    *,
    stops: Sequence[str] = (),
    beam_width: int | None = None,
) -> Generation:
    tokenizer = prompts[0].before.tokenizer
    request = EngineRequest(
        request_id="r",
        prompts=tuple(prompt.ids for prompt in prompts),
        sampling=SamplingParams(n=2, beam_width=beam_width),
        prompt_logprobs=0,
    )
    rules = TextRules(
        tokenizer=tokenizer,
        stops=StopStrings(stops) if stops else None,
        min_tokens=0,
        list_tokens=False,
    )
    return Generation(make_client(engine, tokenizer), request, prompts, rules)


async def test_outputs_find_their_continuations(
    scripted: ScriptedEngine, prompts: list[Prompt], tokenizer: Tokenizer
) -> None:
    the = tokenizer.piece_to_id("▁the")
    assert the is not None
    places = [(prompt, sample) for prompt in (0, 1) for sample in (0, 1)]
    scripted.script = [
        RequestOutput(request_id="r", prompts=(PromptOutput(index=1),), cached_tokens=2),
        output(token(the, 1, 0), token(the, 1, 0), token(the, 0, 1)),
        output(*(token(the, *place, end="length") for place in places), cached=3),
        output(finished=True),
    ]
    running = generation(scripted, prompts)
    news = [item async for item in running.run()]
    assert [item.continuations for item in news] == [(), (2, 1), (0, 1, 2, 3), (0, 1, 2, 3)]
    assert news[0].prompts == (1,)
    assert list(running.indices(1)) == [2, 3]
    # The second prompt ends with a newline: its continuations start a line.
    assert [running.continuations[k].take()[0] for k in range(4)] == [
        " the",
        " the the",
        "the the the",
        "the",
    ]
    assert (running.num_tokens, running.cached_tokens) == (7, 3)
    assert scripted.is_closed


async def test_a_stop_string_ends_its_sample_at_the_engine(
    scripted: ScriptedEngine, prompts: list[Prompt], tokenizer: Tokenizer
) -> None:
    the = tokenizer.piece_to_id("▁the")
    assert the is not None
    ends = [token(the, 0, 0, end="length"), token(the, 1, 1, end="length")]
    scripted.script = [
        output(token(the, 0, 1), token(the, 1, 0), token(the, 0, 1), *ends),
        output(finished=True),
    ]
    running = generation(scripted, prompts, stops=["th"])
    await running.run_to_end()
    assert scripted.stopped == [(0, 1), (1, 0)]
    assert {c.finish_reason for c in running.continuations} == {"stop"}
    assert running.num_tokens == 4


async def test_what_the_engine_cannot_compute_is_the_requests_fault(
    scripted: ScriptedEngine, prompts: list[Prompt]
) -> None:
    fault = "no token is left by allowed_token_ids and bad_words"
    scripted.script = [RequestOutput(request_id="r", finished=True, error=fault)]
    with pytest.raises(ApiError, match=fault) as refusal:
        await generation(scripted, prompts).run_to_end()
    assert refusal.value.status_code == 400
    assert scripted.is_closed


async def test_an_end_without_the_ends_of_all_is_an_error(
    scripted: ScriptedEngine, prompts: list[Prompt]
) -> None:
    scripted.script = [output(token(9)), output(finished=True)]
    with pytest.raises(RuntimeError, match="before all"):
        await generation(scripted, prompts).run_to_end()


async def test_a_search_may_find_less_than_was_asked_for(
    scripted: ScriptedEngine, prompts: list[Prompt]
) -> None:
    scripted.script = [output(token(9, end="length")), output(finished=True)]
    with pytest.raises(ApiError, match="n: 2 is more than") as refusal:
        await generation(scripted, prompts[:1], beam_width=4).run_to_end()
    assert (refusal.value.status_code, refusal.value.param) == (400, "n")


async def test_leaving_early_closes_the_request(
    scripted: ScriptedEngine, prompts: list[Prompt]
) -> None:
    scripted.script = [output(token(9)), output(token(9))]
    news = generation(scripted, prompts).run()
    await anext(news)
    assert not scripted.is_closed
    await news.aclose()
    assert scripted.is_closed
