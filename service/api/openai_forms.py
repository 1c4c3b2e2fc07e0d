"""The two shapes in which generated text is answered: completions and chat, whole and in chunks.

Chunks are put together from bytes that are encoded once a stream; only a chunk's own text, and its
log-probabilities if asked for, are encoded for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic_core import to_json

from service.api.continuation import ListedToken
from service.api.openai_logprobs import LogprobsForm, listed_prompt, prompt_logprobs
from service.api.prompts import Prompt
from service.api.sse import event
from service.engine.request import FinishReason, PromptOutput

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
