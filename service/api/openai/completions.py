"""`POST /v1/completions`: prompts, and what each of them becomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from service.api.client import ModelClient
from service.api.openai.jobs import Job, check_fields, check_work
from service.api.openai.logprobs import LogprobsForm
from service.api.openai.requests import (
    UNSUPPORTED_COMPLETION,
    CompletionRequest,
    refuse_unsupported,
)
from service.api.openai.responses import CompletionForm, answer_head
from service.api.openai.sampling_params import resolve, resolve_seed, sampling_params
from service.http.errors import check_count, check_token_ids, invalid
from service.text.history import History, Prompt

Source = str | Sequence[int]


async def completion_job(client: ModelClient, body: CompletionRequest) -> Job:
    """The job that `body` asks for; an ApiError says what it must not ask for."""
    refuse_unsupported(body.model_extra, UNSUPPORTED_COMPLETION)
    check_fields(body)
    model = client.model
    max_tokens = resolve(body, model, "max_tokens", 16)
    seed = resolve_seed(body)
    sampling = sampling_params(
        body,
        model,
        max_tokens=max_tokens,
        logprobs=body.logprobs,
        end_ids=(model.tokenizer.eos_id,),
        seed=seed,
    )
    sources, num_bos = _sources(client, body)
    before = await client.history(state=body.state, bos=bool(num_bos))
    prompts = await client.prompts(before, sources, eos=False, param="prompt")
    _check_begun(prompts)
    params = ("prompt", "max_tokens")
    check_work(client, body, prompts, max_tokens=max_tokens, params=params)
    logprobs = None
    if body.logprobs is not None:
        logprobs = LogprobsForm(
            tokenizer=model.tokenizer,
            num_top=body.logprobs,
            as_ids=body.return_tokens_as_token_ids,
        )
    form = CompletionForm(
        answer_head(model, body, CompletionForm.id_prefix, seed=seed, bos=bool(num_bos)),
        echo=body.echo,
        logprobs=logprobs,
        num_prompt_top=body.prompt_logprobs,
        include_usage=body.include_usage,
    )
    wanted_tops = (body.logprobs if body.echo else None, body.prompt_logprobs)
    return Job(
        client=client,
        body=body,
        form=form,
        prompts=prompts,
        num_bos=num_bos,
        sampling=sampling if max_tokens else None,
        prompt_top=max((top for top in wanted_tops if top is not None), default=None),
        after=History.with_text,
    )


def _sources(client: ModelClient, body: CompletionRequest) -> tuple[list[Source], int]:
    """The prompts one by one, and how many begin-of-sequence tokens go before each."""
    sources = _split(body.prompt)
    check_count("prompt", len(sources), client.settings.max_texts, "prompts")
    for index, source in enumerate(sources):
        if not isinstance(source, str):
            is_only = source is body.prompt
            check_token_ids("prompt" if is_only else f"prompt.{index}", source, client.tokenizer)
    bos = body.add_special_tokens
    if bos is None:
        bos = isinstance(sources[0], str)
    return sources, int(bos and body.state is None)


def _split(prompt: str | list[str] | list[int] | list[list[int]]) -> list[Source]:
    if isinstance(prompt, str):
        return [prompt]
    many: list[Source] = []
    for part in prompt:
        if isinstance(part, int):
            return [cast(list[int], prompt)]
        many.append(part)
    return many


def _check_begun(prompts: Sequence[Prompt]) -> None:
    for prompt in prompts:
        if not prompt.ids and prompt.before.start is None:
            raise invalid("prompt", "is empty, and without begin-of-sequence nothing precedes it")
