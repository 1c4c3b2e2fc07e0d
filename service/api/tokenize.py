"""`/tokenize`, `/detokenize`, `/tokenizer_info`, in vLLM's form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from models.tokenizer import Tokenizer
from service.api.client import off_loop
from service.api.openai.chat import (
    check_messages,
    check_opening,
    conversation_prompt,
    template_of,
)
from service.api.openai.known_fields import (
    REFUSED_DETOKENIZE,
    REFUSED_TOKENIZE,
    refuse_unserved,
    reported,
)
from service.api.openai.requests import ChatMessage, Messages
from service.api.schemas import ModelName, RequestModel, TokenIds, error_responses
from service.http.call import call_of
from service.http.dependencies import Context, resolve_model
from service.http.errors import check_token_ids, invalid
from service.http.json_body import JSONBody, StrictRoute
from service.served_model import ServedModel
from service.text.conversation import Conversation
from service.text.history import begin

router = APIRouter(route_class=StrictRoute, tags=["tokenizer"])


_IGNORED: Any = Field(
    None, description="fields of the request that nobody knows; only if there are any"
)


class TokenizeRequest(RequestModel):
    """A text or a conversation."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"prompt": "the cat sat"}]})

    model: ModelName = "default"
    prompt: str | None = Field(None, description="a text; or `messages`, in its place")
    messages: Messages | None = Field(None, description="a conversation, in the model's template")
    add_generation_prompt: bool = Field(
        True, description="open the assistant's turn after the messages"
    )
    continue_final_message: bool = Field(False, description="leave the last message open")
    add_special_tokens: bool | None = Field(None, description="put begin-of-sequence first (true)")
    return_token_strs: bool = Field(False, description="return SentencePiece's names, too")


class TokenizeResponse(BaseModel):
    """Its token ids, in order."""

    tokens: list[int]
    count: int
    max_model_len: int = Field(
        description="tokens one request may hold; the model itself has no limit"
    )
    token_strs: list[str] | None
    ignored_fields: list[str] | None = _IGNORED


class DetokenizeRequest(RequestModel):
    """Token ids."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"tokens": [1, 300, 301]}]})

    model: ModelName = "default"
    tokens: TokenIds


class DetokenizeResponse(BaseModel):
    """Their text."""

    prompt: str = Field(description="the text; control tokens stand for none")
    ignored_fields: list[str] | None = _IGNORED


class TokenizerInfo(BaseModel):
    """What a Hugging Face `tokenizer_config.json` would say, as far as it applies."""

    model_config = ConfigDict(extra="allow")

    tokenizer_class: str
    vocab_size: int
    bos_token: str
    bos_token_id: int
    eos_token: str
    eos_token_id: int
    control_tokens: dict[str, int] = Field(
        description="by name; user text never encodes to any of them"
    )
    normalizer: str
    chat_template: str | None = Field(
        description="in Jinja, as Hugging Face's tokenizers have it; null where chat was not "
        "trained. Texts that spell a control token are text here, and would be control tokens there"
    )
    chat_tokens: dict[str, Any] | None = Field(
        description="the control tokens that the template puts before and after messages"
    )


@router.post(
    "/tokenize",
    summary="Text to token ids",
    description="The canonical segmentation of a text. Text that spells a control token is text.",
    operation_id="tokenize",
    response_model=TokenizeResponse,
    responses=error_responses(),
)
async def tokenize(
    request: Request, context: Context, body: Annotated[TokenizeRequest, Body()]
) -> Response:
    unknown = refuse_unserved(body.model_extra, REFUSED_TOKENIZE)
    model = await resolve_model(request, body.model)
    tokenizer = model.tokenizer
    if (body.prompt is None) == (body.messages is None):
        raise invalid("prompt", "or messages is required: one of the two")
    if body.messages is not None:
        tokens = await _conversation(body, body.messages, model, unknown)
    else:
        text = body.prompt or ""
        tokens = await off_loop(len(text), tokenizer.encode, text)
    call_of(request.scope).num_ignored = len(unknown)
    if body.add_special_tokens is not False:
        tokens = [tokenizer.bos_id, *tokens]
    return JSONBody(
        {
            "tokens": tokens,
            "count": len(tokens),
            "max_model_len": context.settings.max_prompt_tokens,
            "token_strs": list(map(tokenizer.piece, tokens)) if body.return_token_strs else None,
            **reported(unknown),
        }
    )


async def _conversation(
    body: TokenizeRequest,
    messages: Sequence[ChatMessage],
    model: ServedModel,
    unknown: list[str],
) -> list[int]:
    """The tokens of messages as a chat request would send them, without begin-of-sequence.

    What is ignored of the messages is added to `unknown`.
    """
    check_opening(body)
    conversation = Conversation(template_of(model))
    unknown += check_messages(messages, conversation.template)
    prompt = await conversation_prompt(
        conversation,
        begin(model.tokenizer, bos=False),
        messages,
        opens=body.add_generation_prompt,
        continues=body.continue_final_message,
    )
    return list(prompt.ids)


@router.post(
    "/detokenize",
    summary="Token ids to text",
    description="The text that token ids stand for; the inverse of `/tokenize`.",
    operation_id="detokenize",
    response_model=DetokenizeResponse,
    responses=error_responses(),
)
async def detokenize(request: Request, body: Annotated[DetokenizeRequest, Body()]) -> Response:
    unknown = refuse_unserved(body.model_extra, REFUSED_DETOKENIZE)
    call_of(request.scope).num_ignored = len(unknown)
    tokenizer = (await resolve_model(request, body.model)).tokenizer
    check_token_ids("tokens", body.tokens, tokenizer)
    text = await off_loop(len(body.tokens), tokenizer.decode, body.tokens)
    return JSONBody({"prompt": text, **reported(unknown)})


@router.get(
    "/tokenizer_info",
    summary="The tokenizer",
    description="Special tokens and normaliser of the default model's tokenizer.",
    operation_id="tokenizer_info",
    response_model=TokenizerInfo,
    responses=error_responses(401, 503),
)
async def tokenizer_info(context: Context) -> Response:
    facts = await context.registry.facts(context.registry.default_name)
    tokenizer = facts.tokenizer
    return JSONBody(
        {
            "tokenizer_class": "SentencePiece",
            "vocab_size": tokenizer.vocab_size,
            "bos_token": tokenizer.piece(tokenizer.bos_id),
            "bos_token_id": tokenizer.bos_id,
            "eos_token": tokenizer.piece(tokenizer.eos_id),
            "eos_token_id": tokenizer.eos_id,
            "control_tokens": dict(tokenizer.control_ids),
            "normalizer": tokenizer.normalizer,
            "chat_template": _jinja(facts.chat_template, tokenizer),
            "chat_tokens": facts.chat_template,
        }
    )


def _jinja(template: Mapping[str, Any] | None, tokenizer: Tokenizer) -> str | None:
    if template is None:
        return None
    roles, end = template["roles"], template["end_of_turn"]
    openings = "".join(
        f"{{%- {'if' if place == 0 else 'elif'} message['role'] == '{role}' %}}{piece}"
        for place, (role, piece) in enumerate(roles.items())
    )
    return (
        f"{tokenizer.piece(tokenizer.bos_id)}{{%- for message in messages %}}"
        f"{openings}{{%- endif %}}{{{{ message['content'] }}}}{end}{{%- endfor %}}"
        f"{{%- if add_generation_prompt %}}{roles['assistant']}{{%- endif %}}"
    )
