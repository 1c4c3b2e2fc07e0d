"""What generated text is answered with: completions and chat, whole and in chunks.

Chunks are put together from bytes that are encoded once a stream; only a chunk's own text, and its
log-probabilities if asked for, are encoded for it.
"""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field
from pydantic_core import to_json

from service.api.openai.logprobs import LogprobsForm, listed_prompt, prompt_logprobs
from service.api.openai.requests import GenerationRequest
from service.engine.request import FinishReason, PromptOutput
from service.http.sse import event
from service.served_model import ServedModel
from service.text.generated_text import ListedToken
from service.text.history import Prompt


class PromptTokensDetails(BaseModel):
    cached_tokens: int = Field(description="tokens that the state cache already held")


class OpenAIUsage(BaseModel):
    prompt_tokens: int = Field(description="begin-of-sequence not counted")
    completion_tokens: int = Field(
        description="all that were generated: end-of-sequence, what a stop string cut off, and "
        "what `best_of` did not choose included"
    )
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class PromptLogprob(BaseModel):
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
    bos: bool = Field(description="whether begin-of-sequence was put before the prompt")


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


class CompletionChoice(BaseModel):
    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason | None = Field(description="null only in a chunk")
    prompt_logprobs: PromptLogprobs | None = None
    state: str | None = Field(None, description="with `return_state`; in a stream, at the end")


class CompletionResponse(_Answer):
    object: Literal["text_completion"]
    choices: list[CompletionChoice] = Field(description="`n` for each prompt, in their order")
    usage: OpenAIUsage | None = Field(description="null only in a chunk")


class ChatTopLogprob(BaseModel):
    token: str
    logprob: float | None
    bytes: list[int] | None = Field(description="UTF-8; null for a control token")


class ChatTokenLogprob(ChatTopLogprob):
    top_logprobs: list[ChatTopLogprob]


class ChatLogprobs(BaseModel):
    content: list[ChatTokenLogprob]
    refusal: None


class AssistantMessage(BaseModel):
    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(BaseModel):
    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason
    state: str | None = Field(
        None, description="with `return_state`: after this turn; send it with the next message"
    )


class ChatCompletionResponse(_Answer):
    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    usage: OpenAIUsage
    prompt_logprobs: PromptLogprobs | None = None


def answers(model: type[BaseModel], event: str) -> dict[int | str, dict[str, Any]]:
    """The 200 of a route that answers whole or, with `stream`, by events such as `event`."""
    return {
        200: {
            "model": model,
            "description": "The text; with `stream` its parts, as server-sent events that end with "
            "`data: [DONE]`.",
            "content": {
                "text/event-stream": {
                    "schema": {"type": "string"},
                    "example": f"data: {event}\n\ndata: [DONE]\n\n",
                }
            },
        }
    }


def answer_head(
    model: ServedModel, body: GenerationRequest, id_prefix: str, *, seed: int, bos: bool
) -> dict[str, Any]:
    """`seed` and `system_fingerprint`, sent again to a server that answers with the same
    fingerprint, give the same text. `bos`: whether the server began the prompts with
    begin-of-sequence."""
    info = model.engine.info
    digest = model.digest.rpartition(":")[2][:12]
    return {
        "id": id_prefix + secrets.token_hex(12),
        "created": int(time.time()),
        "model": body.model,
        "system_fingerprint": f"fp_{digest}_{info.device}_{info.precision}",
        "seed": seed,
        "bos": bos,
    }


Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A finished continuation. output: that of its prompt, where the engine was asked for one."""

    index: int
    prompt: Prompt
    output: PromptOutput | None
    text: str
    tokens: Sequence[ListedToken]
    finish_reason: FinishReason
    state: str | None


class AnswerForm(ABC):
    """What one request's answer, or its chunks, look like."""

    id_prefix: ClassVar[str]
    object: ClassVar[str]
    chunk_object: ClassVar[str]

    def __init__(
        self,
        head: Json,
        *,
        logprobs: LogprobsForm | None,
        num_prompt_top: int | None,
        include_usage: bool,
    ) -> None:
        """`head`: the keys that the answer and all chunks share.

        logprobs: how tokens are listed, None where they are not; num_prompt_top: alternatives in
        `prompt_logprobs`, None where those were not asked for.
        """
        self.head = head
        self.logprobs = logprobs
        self.num_prompt_top = num_prompt_top
        chunk_head = to_json({**head, "object": self.chunk_object})[:-1]
        self._before = b"data: " + chunk_head + b',"choices":[{"index":'
        self._after = b'}],"usage":null}\n\n' if include_usage else b"}]}\n\n"

    def answer(self, choices: Sequence[Choice], usage: Json) -> Json:
        return {
            **self.head,
            "object": self.object,
            "choices": [self.choice(choice) for choice in choices],
            "usage": usage,
        }

    def usage_chunk(self, usage: Json) -> bytes:
        return event({**self.head, "object": self.chunk_object, "choices": [], "usage": usage})

    @abstractmethod
    def choice(self, choice: Choice) -> Json:
        """A finished choice in a whole answer."""

    @abstractmethod
    def opening(self, index: int, prompt: Prompt, output: PromptOutput | None) -> bytes:
        """What a choice's stream begins with, perhaps nothing."""

    @abstractmethod
    def chunk(
        self,
        index: int,
        text: str,
        tokens: Sequence[ListedToken],
        finish_reason: FinishReason | None,
        state: str | None = None,
    ) -> bytes:
        """New text of a choice, and its end if `finish_reason` is given."""

    def _prompt_logprobs(self, choice: Choice) -> list[Json | None]:
        assert self.num_prompt_top is not None
        assert choice.output is not None
        return prompt_logprobs(choice.prompt, choice.output, num_top=self.num_prompt_top)


class CompletionForm(AnswerForm):
    """`text_completion`. echo: the text begins with the prompt."""

    id_prefix = "cmpl-"
    object = "text_completion"
    chunk_object = "text_completion"

    def __init__(self, head: Json, *, echo: bool, **options: Any) -> None:
        super().__init__(head, **options)
        self._echo = echo
        self._shift: dict[int, int] = {}  # per choice, characters of the prompt before its text

    def choice(self, choice: Choice) -> Json:
        text, logprobs = choice.text, None
        if self.logprobs is not None:
            tokens = list(choice.tokens)
            shift = len(choice.prompt.text) if self._echo else 0
            logprobs = self.logprobs.completion(tokens, shift=shift)
            if self._echo and choice.output is not None:
                of_prompt = self.logprobs.completion(listed_prompt(choice.prompt, choice.output))
                logprobs = {key: of_prompt[key] + logprobs[key] for key in logprobs}
        if self._echo:
            text = choice.prompt.text + text
        answer: Json = {
            "index": choice.index,
            "text": text,
            "logprobs": logprobs,
            "finish_reason": choice.finish_reason,
        }
        if self.num_prompt_top is not None:
            answer["prompt_logprobs"] = self._prompt_logprobs(choice)
        if choice.state is not None:
            answer["state"] = choice.state
        return answer

    def opening(self, index: int, prompt: Prompt, output: PromptOutput | None) -> bytes:
        if not self._echo:
            return b""
        text = prompt.text
        self._shift[index] = len(text)
        logprobs = None
        if self.logprobs is not None and output is not None:
            logprobs = self.logprobs.completion(listed_prompt(prompt, output))
        return self._chunk(index, text, logprobs, None, None)

    def chunk(
        self,
        index: int,
        text: str,
        tokens: Sequence[ListedToken],
        finish_reason: FinishReason | None,
        state: str | None = None,
    ) -> bytes:
        logprobs = None
        if self.logprobs is not None and tokens:
            logprobs = self.logprobs.completion(tokens, shift=self._shift.get(index, 0))
        return self._chunk(index, text, logprobs, finish_reason, state)

    def _chunk(
        self,
        index: int,
        text: str,
        logprobs: Json | None,
        finish_reason: FinishReason | None,
        state: str | None,
    ) -> bytes:
        return b"".join(
            (
                self._before,
                b'%d,"text":' % index,
                to_json(text),
                b',"logprobs":',
                b"null" if logprobs is None else to_json(logprobs, inf_nan_mode="null"),
                _end(finish_reason, state),
                self._after,
            )
        )


class ChatForm(AnswerForm):
    """`chat.completion` and `chat.completion.chunk`."""

    id_prefix = "chatcmpl-"
    object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def answer(self, choices: Sequence[Choice], usage: Json) -> Json:
        answer = super().answer(choices, usage)
        if self.num_prompt_top is not None:
            answer["prompt_logprobs"] = self._prompt_logprobs(choices[0])
        return answer

    def choice(self, choice: Choice) -> Json:
        answer: Json = {
            "index": choice.index,
            "message": {"role": "assistant", "content": choice.text, "refusal": None},
            "logprobs": self.logprobs.chat(choice.tokens) if self.logprobs is not None else None,
            "finish_reason": choice.finish_reason,
        }
        if choice.state is not None:
            answer["state"] = choice.state
        return answer

    def opening(self, index: int, prompt: Prompt, output: PromptOutput | None) -> bytes:  # noqa: ARG002
        delta = b'%d,"delta":{"role":"assistant","content":""},"logprobs":null' % index
        return b"".join((self._before, delta, _end(None, None), self._after))

    def chunk(
        self,
        index: int,
        text: str,
        tokens: Sequence[ListedToken],
        finish_reason: FinishReason | None,
        state: str | None = None,
    ) -> bytes:
        parts: list[bytes] = []
        if text or tokens:
            logprobs = b"null"
            if self.logprobs is not None and tokens:
                logprobs = to_json(self.logprobs.chat(tokens), inf_nan_mode="null")
            parts += (self._before, b'%d,"delta":{"content":' % index, to_json(text))
            parts += (b'},"logprobs":', logprobs)
            parts += (_end(None, None), self._after)
        if finish_reason is not None:
            parts += (self._before, b'%d,"delta":{},"logprobs":null' % index)
            parts += (_end(finish_reason, state), self._after)
        return b"".join(parts)


def _end(finish_reason: FinishReason | None, state: str | None) -> bytes:
    if finish_reason is None:
        return b',"finish_reason":null'
    end = b',"finish_reason":"%b"' % finish_reason.encode()
    return end if state is None else end + b',"state":' + to_json(state)
