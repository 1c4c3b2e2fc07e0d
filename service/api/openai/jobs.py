"""A checked generating request of any OpenAI endpoint, and its answer as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from service.api.client import ModelClient, new_request_id, off_loop
from service.api.openai.answer_forms import AnswerForm, Choice
from service.api.openai.generation import Generation
from service.api.openai.guided import Wanted, choice_probabilities, guides_of
from service.api.openai.logprobs import LogprobsForm
from service.api.openai.requests import GenerationRequest
from service.api.openai.sampling_params import num_alternatives
from service.engine.request import EngineRequest, Priority, SamplingParams
from service.http.errors import check_count, invalid
from service.http.json_body import JSONBody
from service.text.generated_text import Continuation, TextRules
from service.text.history import History, Prompt
from service.text.stop_strings import StopStrings

Json = dict[str, Any]
# A listed token, or an alternative to one, costs about as much time as this many characters of a
# text that is segmented.
_CHARACTERS_PER_LISTED_TOKEN = 20


@dataclass(frozen=True, kw_only=True)
class Job:
    """A checked request, ready to run.

    sampling: None where nothing is to be generated.
    wanted: what the texts must be, None where they may be anything.
    prompt_top: alternatives to report with each prompt token, None for no scores of prompts.
    after: from the history after a prompt and the text of its continuation to the one that
        `return_state` is about.
    num_bos: how many of the prompts begin with a begin-of-sequence that the request did not send.
    """

    client: ModelClient
    body: GenerationRequest
    form: AnswerForm
    prompts: Sequence[Prompt]
    num_bos: int
    sampling: SamplingParams | None
    prompt_top: int | None
    wanted: Wanted | None
    after: Callable[[History, str], History]

    @property
    def ends_late(self) -> bool:
        """Whether a stream tells of a choice's end only when all of them have ended."""
        has_choices = self.wanted is not None and self.wanted.choices is not None
        return self.body.return_state or has_choices

    @property
    def num_prompt_tokens(self) -> int:
        return sum(len(prompt.ids) for prompt in self.prompts) - self.num_bos

    @property
    def num_alternatives(self) -> int:
        """Alternatives to tokens that the answer may list."""
        count = 0
        if self.prompt_top is not None:
            count += self.num_prompt_tokens * self.prompt_top
        if self.sampling is not None:
            new = len(self.prompts) * self.sampling.n * self.sampling.max_tokens
            count += new * (self.sampling.logprobs or 0)
        return count

    def usage(self, generation: Generation) -> Json:
        """Counts this request's tokens, and tells them in OpenAI's form."""
        prompt, completion = self.num_prompt_tokens, generation.num_tokens
        counted = self.client.usage(prompt, completion, cached=generation.cached_tokens)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": counted["cached_tokens"]},
        }


def check_fields(body: GenerationRequest) -> None:
    """Refuse fields of `body` that contradict each other."""
    if body.best_of is not None:
        if body.best_of < body.n:
            raise invalid("best_of", f"{body.best_of} is below n, {body.n}")
        if body.stream and body.best_of > body.n and not body.use_beam_search:
            raise invalid("best_of", "cannot be above n in a stream: the best are known at its end")
    if body.stream_options is not None and not body.stream:
        raise invalid("stream_options", "is allowed only with stream")
    if body.stream and body.prompt_logprobs is not None:
        raise invalid("prompt_logprobs", "is not available in a stream")


def check_work(
    client: ModelClient,
    body: GenerationRequest,
    prompts: Sequence[Prompt],
    *,
    max_tokens: int,
    params: tuple[str, str],
) -> None:
    """Refuse more tokens than one request may read or generate.

    params: the request's names for what is read, and for how much is generated.
    """
    settings = client.settings
    num_read = sum(len(prompt.ids) for prompt in prompts)
    check_count(params[0], num_read, settings.max_prompt_tokens, "tokens in all")
    num_new = len(prompts) * body.num_candidates * max(1, max_tokens)
    things = "tokens in all (tokens of each choice x choices x prompts)"
    check_count(params[1], num_new, settings.max_new_tokens, things)


def form_options(
    client: ModelClient, body: GenerationRequest, *, num_top: int | None
) -> dict[str, Any]:
    """What every `AnswerForm` is told of a request; num_top: alternatives to each token, or None
    for no log-probabilities."""
    tokenizer = client.tokenizer
    logprobs = None
    if num_top is not None:
        as_ids = body.return_tokens_as_token_ids
        logprobs = LogprobsForm(tokenizer=tokenizer, num_top=num_top, as_ids=as_ids)
    return {
        "logprobs": logprobs,
        "num_prompt_top": num_alternatives(body.prompt_logprobs, tokenizer),
        "include_usage": body.include_usage,
        "with_ids": body.return_token_ids,
    }


def check_listed(job: Job) -> None:
    """Refuse an answer that would list more alternatives than one may."""
    limit = job.client.settings.max_logprobs
    check_count("logprobs", job.num_alternatives, limit, "alternatives in all")


async def answer_whole(job: Job) -> JSONBody:
    """The answer, once all of it is generated."""
    generation = start(job)
    await generation.run_to_end()
    choices = await finished_choices(job, generation)
    guided = await guided_choices(job)
    num_listed = generation.num_tokens * (job.form.logprobs is not None)
    num_listed += job.num_prompt_tokens * (job.prompt_top is not None)
    answer = await off_loop(
        (num_listed + job.num_alternatives) * _CHARACTERS_PER_LISTED_TOKEN,
        job.form.answer,
        [replace(choice, guided=guided[choice.prompt_index]) for choice in choices],
        job.usage(generation),
    )
    return JSONBody(answer)


def start(job: Job) -> Generation:
    """The generation that a job asks for, not yet running."""
    body, has_scores = job.body, job.prompt_top is not None
    rules = TextRules(
        tokenizer=job.client.tokenizer,
        stops=StopStrings(body.stops) if body.stops else None,
        min_tokens=job.sampling.min_tokens if job.sampling is not None else 0,
        list_tokens=job.form.lists_tokens,
        shows_stop=body.include_stop_str_in_output,
        stop_token_ids=frozenset(body.stop_token_ids),
    )
    work = EngineRequest(
        request_id=new_request_id(),
        prompts=tuple(prompt.ids for prompt in job.prompts),
        start=job.prompts[0].before.start,
        prompt_logprobs=job.prompt_top,
        score_from=tuple(prompt.first for prompt in job.prompts) if has_scores else (),
        sampling=job.sampling,
        keep_states=body.return_state,
        priority=Priority.BULK if has_scores else Priority.INTERACTIVE,
    )
    return Generation(job.client, work, job.prompts, rules)


async def finished_choices(job: Job, generation: Generation) -> list[Choice]:
    """What is returned of what was generated, in the order of prompts and then of samples."""
    chosen: list[tuple[int, Continuation]] = []
    for number in range(len(job.prompts)):
        candidates = [generation.continuations[index] for index in generation.indices(number)]
        if len(candidates) > job.body.n:
            # Sorting keeps equals in the order of their samples.
            candidates = sorted(candidates, key=lambda candidate: -candidate.mean_logprob)
        chosen += [(number, candidate) for candidate in candidates[: job.body.n]]
    taken = [continuation.take() for _, continuation in chosen]
    states: Sequence[str | None] = [None] * len(chosen)
    if job.body.return_state:
        ends = [(number, text) for (number, _), (text, _) in zip(chosen, taken, strict=True)]
        states = await states_after(job, ends)
    choices = []
    for index, (number, continuation) in enumerate(chosen):
        assert continuation.finish_reason is not None
        choices.append(
            Choice(
                index=index,
                prompt_index=number,
                prompt=job.prompts[number],
                output=generation.prompt_outputs.get(number),
                text=taken[index][0],
                tokens=taken[index][1],
                finish_reason=continuation.finish_reason,
                stop_reason=continuation.stop_reason,
                state=states[index],
            )
        )
    return choices


async def guided_choices(job: Job) -> Sequence[list[Json] | None]:
    """By prompt, how probable each of the choices was that the text had; None without choices."""
    found = None
    if job.wanted is not None and job.sampling is not None:
        guides, stops = job.sampling.guides, job.sampling.stop_token_ids
        found = await choice_probabilities(job.client, job.wanted, job.prompts, guides, stops)
    return [None] * len(job.prompts) if found is None else found


async def guided_sampling(
    client: ModelClient,
    sampling: SamplingParams,
    wanted: Wanted | None,
    prompts: Sequence[Prompt],
) -> SamplingParams:
    """`sampling`, held to what the texts must be."""
    if wanted is None:
        return sampling
    return replace(sampling, guides=tuple(await guides_of(wanted, client, prompts, sampling)))


async def states_after(job: Job, ends: Sequence[tuple[int, str]]) -> list[str]:
    """The sealed state after each (number of a prompt, text of a continuation)."""
    histories = [job.after(job.prompts[number].after, text) for number, text in ends]
    return await job.client.seal_states(histories)
