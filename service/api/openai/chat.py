"""`POST /v1/chat/completions`: a conversation in the checkpoint's template, and its next turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.chat_template import ChatTemplate
from service.api.client import ModelClient, off_loop
from service.api.openai.jobs import Job, check_fields, check_work
from service.api.openai.logprobs import LogprobsForm
from service.api.openai.requests import (
    UNSUPPORTED_CHAT,
    UNSUPPORTED_MESSAGE,
    ChatCompletionRequest,
    ChatMessage,
    refuse_unsupported,
)
from service.api.openai.responses import ChatForm, answer_head
from service.api.openai.sampling_params import resolve, resolve_seed, sampling_params
from service.http.errors import invalid
from service.served_model import ServedModel
from service.text.history import History, Prompt

_DEFAULT_MAX_TOKENS = 1024


def template_of(model: ServedModel) -> ChatTemplate:
    """The template that the checkpoint declares; a 400 where it declares none."""
    if model.chat_template is None:
        raise invalid(
            "model",
            f"{model.name!r} was not trained for chat; use /v1/completions",
            code="chat_not_supported",
        )
    return ChatTemplate.of(model.tokenizer, model.chat_template)


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages of a request in the template of the model."""

    template: ChatTemplate

    def check(self, messages: Sequence[ChatMessage]) -> None:
        """Refuse what the template, or this server, cannot say."""
        role_ids = self.template.role_ids
        for index, message in enumerate(messages):
            refuse_unsupported(message.model_extra, UNSUPPORTED_MESSAGE, place=f"messages.{index}.")
            if message.role not in role_ids:
                known = ", ".join(sorted(role_ids))
                raise invalid(
                    f"messages.{index}.role", f"this model knows {known}, not {message.role!r}"
                )

    def prompt(self, before: History, messages: Sequence[ChatMessage]) -> Prompt:
        """`messages` behind `before`, and the opening of the assistant's turn."""
        ids = list(before.tokens())
        first = len(ids)
        for message in messages:
            ids += self.template.turn(message.role, message.text)
        ids.append(self.template.opening)
        after = History(tokenizer=before.tokenizer, start=before.start, ids=tuple(ids))
        return Prompt(before=before, ids=after.ids, first=first, source=ids[first:], after=after)

    def close(self, before: History, text: str) -> History:
        """After the assistant said `text`."""
        return before.with_text(text).with_control(self.template.end_id)


async def chat_job(client: ModelClient, body: ChatCompletionRequest) -> Job:
    """The job that `body` asks for; an ApiError says what it must not ask for."""
    refuse_unsupported(body.model_extra, UNSUPPORTED_CHAT)
    check_fields(body)
    model = client.model
    conversation = Conversation(template_of(model))
    conversation.check(body.messages)
    max_tokens, num_top = _max_tokens(body, model), _num_top(body)
    seed = resolve_seed(body)
    sampling = sampling_params(
        body,
        model,
        max_tokens=max_tokens,
        logprobs=num_top,
        end_ids=conversation.template.stop_ids,
        seed=seed,
    )
    num_bos = int(body.state is None)
    before = await client.history(state=body.state, bos=bool(num_bos))
    num_characters = sum(len(message.text) for message in body.messages)
    prompt = await off_loop(num_characters, conversation.prompt, before, body.messages)
    params = ("messages", "max_completion_tokens")
    check_work(client, body, [prompt], max_tokens=max_tokens, params=params)
    logprobs = None
    if num_top is not None:
        logprobs = LogprobsForm(
            tokenizer=model.tokenizer, num_top=num_top, as_ids=body.return_tokens_as_token_ids
        )
    form = ChatForm(
        answer_head(model, body, ChatForm.id_prefix, seed=seed, bos=bool(num_bos)),
        logprobs=logprobs,
        num_prompt_top=body.prompt_logprobs,
        include_usage=body.include_usage,
    )
    return Job(
        client=client,
        body=body,
        form=form,
        prompts=[prompt],
        num_bos=num_bos,
        sampling=sampling if max_tokens else None,
        prompt_top=body.prompt_logprobs,
        after=conversation.close,
    )


def _max_tokens(body: ChatCompletionRequest, model: ServedModel) -> int:
    given = body.max_completion_tokens
    if given is None:
        limit: int = resolve(body, model, "max_tokens", _DEFAULT_MAX_TOKENS)
        return limit
    if body.max_tokens not in (None, given):
        raise invalid("max_tokens", f"{body.max_tokens} contradicts max_completion_tokens, {given}")
    return given


def _num_top(body: ChatCompletionRequest) -> int | None:
    """Alternatives to list with each token; None for no log-probabilities at all."""
    if body.logprobs:
        return body.top_logprobs or 0
    if body.top_logprobs:
        raise invalid("top_logprobs", "is allowed only with logprobs")
    return None
