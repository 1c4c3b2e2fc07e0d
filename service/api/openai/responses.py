"""What the OpenAI endpoints answer with, for readers of the API's document."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from service.engine.request import FinishReason


class PromptTokensDetails(BaseModel):
    """What of the prompts had not to be computed."""

    cached_tokens: int = Field(description="tokens that the state cache already held")


class OpenAIUsage(BaseModel):
    """What a request took, all choices together."""

    prompt_tokens: int = Field(description="begin-of-sequence not counted")
    completion_tokens: int = Field(
        description="all that were generated: end-of-sequence, what a stop string cut off, and "
        "what `best_of` did not choose included"
    )
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class PromptLogprob(BaseModel):
    """One token at a place of the prompt."""

    logprob: float | None
    rank: int | None = Field(description="null beyond the alternatives asked for")
    decoded_token: str


PromptLogprobs = list[dict[str, PromptLogprob] | None]


class _Answer(BaseModel):
    id: str = Field(description="the same in every chunk of a stream")
    created: int = Field(description="unix time")
    model: str
    system_fingerprint: str = Field(description="changes when answers to one seed may change")
    seed: int = Field(description="the one that was used")
    bos: bool = Field(
        description="whether begin-of-sequence stands before each prompt, put there or sent with it"
    )
    ignored_fields: list[str] | None = Field(
        None, description="fields of the request that nobody knows; only if there are any"
    )


class CompletionLogprobs(BaseModel):
    """Parallel arrays, an entry for each token."""

    tokens: list[str]
    token_logprobs: list[float | None] = Field(
        description="natural logarithms; null for a prompt's first token if nothing precedes it"
    )
    top_logprobs: list[dict[str, float | None] | None] = Field(
        description="the most probable tokens, and always the token itself"
    )
    text_offset: list[int] = Field(description="where the token starts in the text, in characters")


class GuidedChoice(BaseModel):
    """One of the texts of `guided_choice`. Logarithms are natural."""

    choice: str
    logprob: float = Field(description="ln P of its tokens after the prompt")
    end_logprob: float = Field(description="ln P that the text then ends")
    share: float = Field(description="its probability, end included, among all choices'")


_STOP_REASON: Any = Field(
    None,
    description="the stop string, or the id from `stop_token_ids`, that ended the text; null where "
    "it ended in another way",
)


class CompletionChoice(BaseModel):
    """One continuation of one prompt."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason | None = Field(description="null only in a chunk")
    stop_reason: str | int | None = _STOP_REASON
    prompt_logprobs: PromptLogprobs | None = Field(None, description="null unless asked for")
    prompt_token_ids: list[int] | None = Field(
        None, description="with `return_token_ids`; in a stream, at the beginning"
    )
    token_ids: list[int] | None = Field(None, description="with `return_token_ids`")
    guided_choice: list[GuidedChoice] | None = Field(
        None, description="how probable each was; with `guided_choice`; in a stream, at the end"
    )
    state: str | None = Field(None, description="with `return_state`; in a stream, at the end")


class CompletionResponse(_Answer):
    """The whole answer, or a chunk of it."""

    object: Literal["text_completion"]
    choices: list[CompletionChoice] = Field(description="`n` for each prompt, in their order")
    usage: OpenAIUsage | None = Field(description="null only in a chunk")


class ChatTopLogprob(BaseModel):
    """One token that might stand at a place of the answer."""

    token: str
    logprob: float | None
    bytes: list[int] | None = Field(description="UTF-8; null for a control token")


class ChatTokenLogprob(ChatTopLogprob):
    """The token that does, and the most probable ones."""

    top_logprobs: list[ChatTopLogprob]


class ChatLogprobs(BaseModel):
    """A token after the other."""

    content: list[ChatTokenLogprob]
    refusal: None


class AssistantMessage(BaseModel):
    """The turn that was generated."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(BaseModel):
    """One answer to the conversation."""

    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason
    stop_reason: str | int | None = _STOP_REASON
    token_ids: list[int] | None = Field(None, description="with `return_token_ids`")
    guided_choice: list[GuidedChoice] | None = Field(
        None, description="how probable each was; with `guided_choice`; in a stream, at the end"
    )
    state: str | None = Field(
        None, description="with `return_state`: after this turn; send it with the next message"
    )


class ChatCompletionResponse(_Answer):
    """The whole answer."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    usage: OpenAIUsage
    prompt_logprobs: PromptLogprobs | None = Field(None, description="null unless asked for")
    prompt_token_ids: list[int] | None = Field(None, description="with `return_token_ids`")


def answers(
    model: type[BaseModel], event: str, *, has_names: bool = False
) -> dict[int | str, dict[str, Any]]:
    """The 200 of a route that answers whole or, with `stream`, by events such as `event`.

    has_names: an event has a name beside its data, and so is an object to those who read it.
    """
    return {
        200: {
            "model": model,
            "description": "The text; with `stream` its parts, as server-sent events that end with "
            "`data: [DONE]`.",
            "content": {
                "text/event-stream": {
                    "schema": {"type": ["string", "object"] if has_names else "string"},
                    "example": f"data: {event}\n\ndata: [DONE]\n\n",
                }
            },
        }
    }
