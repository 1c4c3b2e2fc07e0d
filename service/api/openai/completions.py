"""`POST /v1/completions`: prompts, and what each of them becomes."""

from __future__ import annotations

from collections.abc import Sequence

from models.tokenizer import Tokenizer
from service.api.client import ModelClient, off_loop
from service.api.openai.answer_forms import CompletionForm, answer_head
from service.api.openai.guided import unknown_of_format, wanted_of
from service.api.openai.jobs import Job, check_fields, check_work, form_options, guided_sampling
from service.api.openai.known_fields import (
    REFUSED_COMPLETION,
    refuse_unserved,
    unknown_stream_options,
)
from service.api.openai.requests import CompletionRequest, Source, split_prompt
from service.api.openai.sampling_params import num_alternatives, resolve, sampling_params
from service.http.errors import check_count, check_token_ids, invalid
from service.sampling_fields import drawn_seed
from service.text.history import History, Prompt, begin


async def completion_job(client: ModelClient, body: CompletionRequest) -> Job:
    """The job that `body` asks for; an ApiError says what it must not ask for."""
    unknown = refuse_unserved(body.model_extra, REFUSED_COMPLETION)
    unknown += unknown_stream_options(body.stream_options)
    unknown += unknown_of_format(body.response_format)
    client.call.num_ignored = len(unknown)
    check_fields(body)
    model = client.model
    wanted = wanted_of(body)
    max_tokens = resolve(body, model, "max_tokens", 16)
    num_top = num_alternatives(body.logprobs, model.tokenizer)
    seed = drawn_seed(body.seed)
    sampling = sampling_params(
        body,
        model,
        max_tokens=max_tokens,
        logprobs=num_top,
        end_ids=(model.tokenizer.eos_id,),
        seed=seed,
    )
    prompts, num_bos = await _prompts(client, body)
    check_work(client, body, prompts, max_tokens=max_tokens, params=("prompt", "max_tokens"))
    bos = all(prompt.ids[:1] == (model.tokenizer.bos_id,) for prompt in prompts)
    head = answer_head(
        model,
        body,
        CompletionForm.id_prefix,
        seed=seed,
        bos=bos and body.state is None,
        unknown=unknown,
    )
    form = CompletionForm(head, echo=body.echo, **form_options(client, body, num_top=num_top))
    wanted_tops = (num_top if body.echo else None, form.num_prompt_top)
    return Job(
        client=client,
        body=body,
        form=form,
        prompts=prompts,
        num_bos=num_bos,
        sampling=await guided_sampling(client, sampling, wanted, prompts) if max_tokens else None,
        wanted=wanted,
        prompt_top=max((top for top in wanted_tops if top is not None), default=None),
        after=History.with_text,
    )


async def _prompts(client: ModelClient, body: CompletionRequest) -> tuple[list[Prompt], int]:
    """The prompts, and how many begin-of-sequence tokens were put before them, in all."""
    sources = split_prompt(body.prompt)
    tokenizer = client.tokenizer
    check_count("prompt", len(sources), client.settings.max_texts, "prompts")
    for index, source in enumerate(sources):
        if not isinstance(source, str):
            is_only = source is body.prompt
            check_token_ids("prompt" if is_only else f"prompt.{index}", source, tokenizer)
    if body.truncate_prompt_tokens not in (None, -1):
        size = sum(map(len, sources))
        sources = await off_loop(size, _truncated, sources, body, tokenizer)
    if body.state is not None:
        befores, num_bos = [await client.history(state=body.state, bos=False)] * len(sources), 0
    else:
        puts_bos = [_puts_bos(source, body, tokenizer) for source in sources]
        befores, num_bos = [begin(tokenizer, bos=puts) for puts in puts_bos], sum(puts_bos)
    prompts = await client.prompts(befores, sources, eos=False, param="prompt")
    for prompt in prompts:
        if not prompt.ids and prompt.before.start is None:
            raise invalid("prompt", "is empty, and without begin-of-sequence nothing precedes it")
    return prompts, num_bos


def _puts_bos(source: Source, body: CompletionRequest, tokenizer: Tokenizer) -> bool:
    """Whether begin-of-sequence goes before a prompt: not where it is there, or not wanted."""
    has_own = not isinstance(source, str) and source[:1] == [tokenizer.bos_id]
    return body.add_special_tokens is not False and not has_own


def _truncated(
    sources: Sequence[Source], body: CompletionRequest, tokenizer: Tokenizer
) -> list[Source]:
    """The ends of the prompts, of so many tokens as the request says."""
    count = body.truncate_prompt_tokens
    if not count or body.state is not None:
        fault = "must be -1 or at least 1" if not count else "is not available with a state"
        raise invalid("truncate_prompt_tokens", fault)
    kept: list[Source] = []
    for source in sources:
        ids = tokenizer.encode(source) if isinstance(source, str) else source
        kept.append(ids[-count:] if len(ids) > count else source)
    return kept
