"""A checked request before and after it runs: what is refused, counted, sent and handed out."""

from __future__ import annotations

from typing import Any

import pytest

from models.tokenizer import Tokenizer
from service.api.client import ModelClient
from service.api.openai.chat import chat_job
from service.api.openai.completions import completion_job
from service.api.openai.jobs import (
    Job,
    answer_whole,
    check_fields,
    check_listed,
    check_work,
    finished_choices,
    guided_choices,
    start,
    states_after,
)
from service.api.openai.requests import ChatCompletionRequest, CompletionRequest
from service.engine.request import Priority
from service.http.errors import ApiError
from service.text.history import begin, build_prompt
from tests.service.api.clients import make_client
from tests.service.plain_engine import PlainEngine

BASE: dict[str, Any] = {"prompt": "the cat", "max_tokens": 6, "seed": 3}


@pytest.fixture
async def model_client(engine: PlainEngine, tokenizer: Tokenizer) -> ModelClient:
    await engine.start()
    return make_client(engine, tokenizer, max_logprobs=40)


async def job_of(client: ModelClient, **fields: Any) -> Job:
    return await completion_job(client, CompletionRequest.model_validate({**BASE, **fields}))


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"n": 3, "best_of": 2}, "best_of: 2 is below n, 3"),
        ({"best_of": 2, "stream": True}, "best_of: cannot be above n in a stream"),
        ({"stream_options": {}}, "stream_options: is allowed only with stream"),
        ({"prompt_logprobs": 0, "stream": True}, "prompt_logprobs: is not available in a stream"),
    ],
)
def test_contradictions(fields: dict[str, Any], fault: str) -> None:
    with pytest.raises(ApiError, match=fault) as refusal:
        check_fields(CompletionRequest.model_validate({**BASE, **fields}))
    assert refusal.value.status_code == 400


def test_beams_may_be_more_than_a_stream_shows() -> None:
    fields = {**BASE, "n": 2, "best_of": 4, "stream": True, "use_beam_search": True}
    check_fields(CompletionRequest.model_validate(fields))


def test_work_is_counted_over_prompts_and_choices(model_client: ModelClient) -> None:
    prompts = [build_prompt(begin(model_client.tokenizer, bos=True), "a", eos=False)] * 3
    body = CompletionRequest.model_validate({**BASE, "best_of": 5})
    limit = model_client.settings.max_new_tokens // 15
    names = ("prompt", "max_tokens")
    check_work(model_client, body, prompts, max_tokens=limit, params=names)
    with pytest.raises(ApiError, match=r"max_tokens: .* x prompts") as refusal:
        check_work(model_client, body, prompts, max_tokens=limit + 1, params=names)
    assert refusal.value.code == "limit_exceeded"


async def test_alternatives_are_counted_before_any_work(model_client: ModelClient) -> None:
    check_listed(await job_of(model_client, logprobs=3, n=2))  # 36
    for fields in ({"logprobs": 4, "n": 2}, {"prompt_logprobs": -1}, {"logprobs": -1}):
        with pytest.raises(ApiError, match="alternatives in all, the limit is 40"):
            check_listed(await job_of(model_client, **fields))


async def test_begin_of_sequence_is_no_token_of_the_request(
    model_client: ModelClient, tokenizer: Tokenizer
) -> None:
    count = len(tokenizer.encode("the cat"))
    assert (await job_of(model_client, prompt=["the cat"] * 3)).num_prompt_tokens == 3 * count
    own = [tokenizer.bos_id, *tokenizer.encode("the cat")]
    assert (await job_of(model_client, prompt=own)).num_prompt_tokens == count + 1


async def test_what_is_sent_to_the_engine(model_client: ModelClient, engine: PlainEngine) -> None:
    for fields, priority, first in (
        ({}, Priority.INTERACTIVE, ()),
        ({"echo": True, "logprobs": 0}, Priority.BULK, (1, 1)),
        ({"prompt_logprobs": 1}, Priority.BULK, (1, 1)),
    ):
        job = await job_of(model_client, prompt=["the cat", "a"], **fields)
        await start(job).run_to_end()
        work = engine.requests[-1]
        assert [len(ids) for ids in work.prompts] == [len(p.ids) for p in job.prompts]
        assert (work.priority, work.score_from) == (priority, first)
        assert work.sampling == job.sampling


async def test_what_waits_for_the_end_of_all(model_client: ModelClient) -> None:
    assert not (await job_of(model_client)).ends_late
    assert not (await job_of(model_client, logprobs=1)).ends_late
    assert (await job_of(model_client, return_state=True)).ends_late
    assert (await job_of(model_client, guided_choice=["a"])).ends_late


async def test_the_best_of_each_prompt_in_the_order_of_prompts(model_client: ModelClient) -> None:
    job = await job_of(model_client, prompt=["the cat", "a dog"], n=2, best_of=4, logprobs=0)
    generation = start(job)
    await generation.run_to_end()
    choices = await finished_choices(job, generation)
    assert [(one.index, one.prompt_index) for one in choices] == [(0, 0), (1, 0), (2, 1), (3, 1)]
    for number in (0, 1):
        means = sorted(
            (generation.continuations[i].mean_logprob for i in generation.indices(number)),
            reverse=True,
        )
        told = [one for one in choices if one.prompt_index == number]
        for choice, mean in zip(told, means, strict=False):
            logprobs = [token.logprob or 0.0 for token in choice.tokens]
            assert sum(logprobs) / len(logprobs) == pytest.approx(mean)
    assert job.usage(generation)["completion_tokens"] == generation.num_tokens
    assert generation.num_tokens > sum(len(choice.tokens) for choice in choices)


async def test_states_go_on_as_the_whole_text_does(model_client: ModelClient) -> None:
    job = await job_of(model_client, return_state=True)
    (state,) = await states_after(job, [(0, " sat on")])
    resumed = await job_of(model_client, state=state, prompt=" the mat", echo=True, logprobs=0)
    whole = await job_of(model_client, prompt="the cat sat on the mat", echo=True, logprobs=0)
    texts = []
    for each in (resumed, whole):
        generation = start(each)
        await generation.run_to_end()
        texts.append((await finished_choices(each, generation))[0].text)
    assert texts[0] == texts[1]


async def test_the_turn_that_a_chats_state_is_after(model_client: ModelClient) -> None:
    messages = [{"role": "user", "content": "How are you?"}]
    body = ChatCompletionRequest.model_validate({"messages": messages, "return_state": True})
    job = await chat_job(model_client, body)
    end = model_client.tokenizer.control_ids["<|end|>"]
    after = job.after(job.prompts[0].after, "I am well")
    assert after.tokens()[-1] == end
    said = model_client.tokenizer.encode("I am well")
    assert after.tokens()[-1 - len(said) : -1] == tuple(said)


async def test_choices_are_weighed_by_prompt(model_client: ModelClient) -> None:
    prompts = ["the cat", "a dog", "the cat"]
    job = await job_of(model_client, prompt=prompts, guided_choice=["yes", "no"])
    first, second, third = await guided_choices(job)
    assert first == third
    assert first != second
    assert await guided_choices(await job_of(model_client, prompt=prompts)) == [None] * 3
    nothing = await job_of(model_client, guided_choice=["yes"], max_tokens=0)
    assert await guided_choices(nothing) == [None]


async def test_nothing_to_generate_is_nothing_to_compute(
    model_client: ModelClient, engine: PlainEngine
) -> None:
    answer = await answer_whole(await job_of(model_client, max_tokens=0))
    assert answer.status_code == 200
    assert engine.requests == []
