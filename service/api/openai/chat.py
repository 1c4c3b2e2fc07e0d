"""`POST /v1/chat/completions`: a conversation in the checkpoint's template, and its next turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from models.chat_template import ChatTemplate
from service.api.client import ModelClient, off_loop
from service.api.openai.answer_forms import ChatForm, answer_head
from service.api.openai.guided import unknown_of_format, wanted_of
from service.api.openai.jobs import Job, check_fields, check_work, form_options, guided_sampling
from service.api.openai.known_fields import (
    REFUSED_CHAT,
    REFUSED_MESSAGE,
    refuse_unserved,
    unknown_stream_options,
)
from service.api.openai.requests import ChatCompletionRequest, ChatMessage
from service.api.openai.sampling_params import num_alternatives, resolve, sampling_params
from service.http.errors import invalid
from service.sampling_fields import drawn_seed
from service.served_model import ServedModel
from service.text.conversation import Conversation
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


def check_messages(messages: Sequence[ChatMessage], template: ChatTemplate) -> list[str]:
    """Refuse what the template, or this server, cannot say.

    Returns what is ignored: fields that nobody knows, and system prompts the model cannot follow.
    """
    unknown = []
    for index, message in enumerate(messages):
        place = f"messages.{index}."
        unknown += refuse_unserved(message.model_extra, REFUSED_MESSAGE, place=place)
        if not isinstance(message.content, str):
            for number, part in enumerate(message.content):
                inner = f"{place}content.{number}."
                unknown += refuse_unserved(part.model_extra, {}, place=inner)
        if message.role not in template.role_ids:
            known = ", ".join(sorted(template.role_ids))
            raise invalid(place + "role", f"this model knows {known}, not {message.role!r}")
        if not template.follows(message.role, message.text):
            unknown.append(f"messages.{index} (a system prompt that the model was not taught)")
    return unknown


async def conversation_prompt(
    conversation: Conversation,
    before: History,
    messages: Sequence[ChatMessage],
    *,
    opens: bool,
    continues: bool,
) -> Prompt:
    """`messages` behind `before`; see `Conversation.prompt`."""
    turns = [(message.role, message.text) for message in messages]
    size = sum(len(text) for _, text in turns)
    return await off_loop(
        size, conversation.prompt, before, turns, opens=opens, continues=continues
    )


async def chat_job(client: ModelClient, body: ChatCompletionRequest) -> Job:
    """The job that `body` asks for; an ApiError says what it must not ask for."""
    unknown = refuse_unserved(body.model_extra, REFUSED_CHAT)
    unknown += unknown_stream_options(body.stream_options)
    unknown += unknown_of_format(body.response_format)
    check_fields(body)
    check_opening(body)
    wanted, model = wanted_of(body), client.model
    conversation = Conversation(template_of(model))
    unknown += check_messages(body.messages, conversation.template)
    client.call.num_ignored = len(unknown)
    max_tokens, num_top = _max_tokens(body, model), _num_top(body, model)
    seed = drawn_seed(body.seed)
    sampling = sampling_params(
        body,
        model,
        max_tokens=max_tokens,
        logprobs=num_top,
        end_ids=conversation.template.stop_ids,
        seed=seed,
    )
    num_bos = int(body.state is None)
    prompt = await conversation_prompt(
        conversation,
        await client.history(state=body.state, bos=bool(num_bos)),
        body.messages,
        opens=body.add_generation_prompt,
        continues=body.continue_final_message,
    )
    limited = "max_tokens" if body.max_completion_tokens is None else "max_completion_tokens"
    check_work(client, body, [prompt], max_tokens=max_tokens, params=("messages", limited))
    head = answer_head(
        model, body, ChatForm.id_prefix, seed=seed, bos=bool(num_bos), unknown=unknown
    )
    form = ChatForm(head, **form_options(client, body, num_top=num_top))
    return Job(
        client=client,
        body=body,
        form=form,
        prompts=[prompt],
        num_bos=num_bos,
        sampling=await guided_sampling(client, sampling, wanted, [prompt]) if max_tokens else None,
        wanted=wanted,
        prompt_top=form.num_prompt_top,
        after=conversation.close,
    )


class _Opening(Protocol):
    """What a request says of the turn after its messages."""

    add_generation_prompt: bool
    continue_final_message: bool

    @property
    def model_fields_set(self) -> set[str]: ...


def check_opening(body: _Opening) -> None:
    """Refuse to open a turn and to leave the last one open, where both are asked for."""
    is_asked = "add_generation_prompt" in body.model_fields_set and body.add_generation_prompt
    if body.continue_final_message and is_asked:
        raise invalid(
            "add_generation_prompt", "contradicts continue_final_message, which leaves a turn open"
        )


def _max_tokens(body: ChatCompletionRequest, model: ServedModel) -> int:
    given = body.max_completion_tokens
    if given is None:
        limit: int = resolve(body, model, "max_tokens", _DEFAULT_MAX_TOKENS)
        return limit
    if body.max_tokens not in (None, given):
        raise invalid("max_tokens", f"{body.max_tokens} contradicts max_completion_tokens, {given}")
    return given


def _num_top(body: ChatCompletionRequest, model: ServedModel) -> int | None:
    """Alternatives to list with each token; None for no log-probabilities at all."""
    if body.logprobs:
        return num_alternatives(body.top_logprobs or 0, model.tokenizer)
    if body.top_logprobs:
        raise invalid("top_logprobs", "is allowed only with logprobs")
    return None
