"""`POST /v1/completions`: prompts, and what each of them becomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from service.api.client import off_loop, read_history
from service.api.openai.generation import Job, check_fields, check_work
from service.api.openai.logprobs import LogprobsForm
from service.api.openai.requests import (
    UNSUPPORTED_COMPLETION,
    CompletionRequest,
    refuse_unsupported,
)
from service.api.openai.responses import CompletionForm, answer_head
from service.api.openai.sampling_params import resolve, resolve_seed, sampling_params
from service.http.dependencies import AppContext
from service.http.errors import check_count, check_token_ids, invalid, too_many
from service.served_model import ServedModel
from service.text.history import History, Prompt, build_prompt

Source = str | Sequence[int]


async def completion_job(context: AppContext, model: ServedModel, body: CompletionRequest) -> Job:
    """The job that `body` asks for; an ApiError says what it must not ask for."""
    refuse_unsupported(body.model_extra, UNSUPPORTED_COMPLETION)
    check_fields(body)
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
    sources, num_bos = _sources(context, model, body)
    before = await read_history(context, model, state=body.state, bos=bool(num_bos))
    prompts = await off_loop(sum(map(len, sources)), _build, context, before, sources)
    params = ("prompt", "max_tokens")
    check_work(context, body, prompts, max_tokens=max_tokens, params=params)
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
        context=context,
        model=model,
        body=body,
        form=form,
        prompts=prompts,
        num_bos=num_bos,
        sampling=sampling if max_tokens else None,
        prompt_top=max((top for top in wanted_tops if top is not None), default=None),
        after=History.with_text,
    )


def _sources(
    context: AppContext, model: ServedModel, body: CompletionRequest
) -> tuple[list[Source], int]:
    """The prompts one by one, and how many begin-of-sequence tokens go before each."""
    sources = _split(body.prompt)
    check_count("prompt", len(sources), context.settings.max_texts, "prompts")
    for index, source in enumerate(sources):
        if not isinstance(source, str):
            is_only = source is body.prompt
            check_token_ids("prompt" if is_only else f"prompt.{index}", source, model.tokenizer)
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


def _build(context: AppContext, before: History, sources: Sequence[Source]) -> list[Prompt]:
    """The prompts; gives up as soon as they hold more tokens than a request may."""
    limit = context.settings.max_prompt_tokens
    prompts: list[Prompt] = []
    total = 0
    for source in sources:
        prompt = build_prompt(before, source, eos=False)
        total += len(prompt.ids)
        if total > limit:
            raise too_many("prompt", total, limit, "tokens or more")
        if not prompt.ids and before.start is None:
            raise invalid("prompt", "is empty, and without begin-of-sequence nothing precedes it")
        prompts.append(prompt)
    return prompts
