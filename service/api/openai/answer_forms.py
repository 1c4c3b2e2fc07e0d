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
from typing import Any, ClassVar

from pydantic_core import to_json

from service.api.openai.known_fields import reported
from service.api.openai.logprobs import LogprobsForm, listed_prompt, prompt_logprobs
from service.api.openai.requests import GenerationRequest
from service.engine.request import FinishReason, PromptOutput
from service.http.sse import event
from service.served_model import ServedModel
from service.text.generated_text import ListedToken
from service.text.history import Prompt


def answer_head(
    model: ServedModel,
    body: GenerationRequest,
    id_prefix: str,
    *,
    seed: int,
    bos: bool,
    unknown: Sequence[str],
) -> dict[str, Any]:
    """`seed` and `system_fingerprint`, sent again to a server that answers with the same
    fingerprint, give the same text. `bos`: whether begin-of-sequence stands before the prompts.
    `unknown`: fields of the request that nobody knows."""
    info = model.engine.info
    digest = model.digest.rpartition(":")[2][:12]
    return {
        "id": id_prefix + secrets.token_hex(12),
        "created": int(time.time()),
        "model": body.model,
        "system_fingerprint": f"fp_{digest}_{info.device}_{info.precision}",
        "seed": seed,
        "bos": bos,
        **reported(unknown),
    }


Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A finished continuation of the prompt number `prompt_index`.

    output: that of its prompt, where the engine was asked for one. stop_reason: which of the
    request's stop strings or stop tokens ended it. guided: the choices that it had.
    """

    index: int
    prompt_index: int
    prompt: Prompt
    output: PromptOutput | None
    text: str
    tokens: Sequence[ListedToken]
    finish_reason: FinishReason
    stop_reason: str | int | None
    state: str | None
    guided: Sequence[Json] | None = None


@dataclass(slots=True)
class Piece:
    """New text of the choice number `index` of a stream, and its end if `finish_reason` is given.

    stop_reason, state, guided: as of a `Choice`, with its end.
    """

    index: int
    text: str = ""
    tokens: Sequence[ListedToken] = ()
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    state: str | None = None
    guided: Sequence[Json] | None = None


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
        with_ids: bool,
    ) -> None:
        """`head`: the keys that the answer and all chunks share.

        logprobs: how tokens are listed, None where they are not; num_prompt_top: alternatives in
        `prompt_logprobs`, None where those were not asked for; with_ids: list the ids of tokens.
        """
        self.head = head
        self.logprobs = logprobs
        self.num_prompt_top = num_prompt_top
        self.with_ids = with_ids
        chunk_head = to_json({**head, "object": self.chunk_object})[:-1]
        self._before = b"data: " + chunk_head + b',"choices":[{"index":'
        self._after = b'}],"usage":null}\n\n' if include_usage else b"}]}\n\n"

    @property
    def lists_tokens(self) -> bool:
        """Whether tokens stand beside the text."""
        return self.logprobs is not None or self.with_ids

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
    def chunk(self, piece: Piece) -> bytes:
        """What a stream says of `piece`."""

    def _token_ids(self, tokens: Sequence[ListedToken]) -> bytes:
        if not self.with_ids:
            return b""
        return b',"token_ids":' + to_json([token.id for token in tokens])

    def _further(self, choice: Choice) -> Json:
        """What only some requests ask a choice to tell."""
        further: Json = {}
        if self.with_ids:
            further["token_ids"] = [token.id for token in choice.tokens]
        if choice.guided is not None:
            further["guided_choice"] = list(choice.guided)
        if choice.state is not None:
            further["state"] = choice.state
        return further

    def _prompt_logprobs(self, choice: Choice) -> list[Json | None] | None:
        if self.num_prompt_top is None:
            return None
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
            "stop_reason": choice.stop_reason,
            "prompt_logprobs": self._prompt_logprobs(choice),
        }
        if self.with_ids:
            answer["prompt_token_ids"] = list(choice.prompt.ids)
        return {**answer, **self._further(choice)}

    def opening(self, index: int, prompt: Prompt, output: PromptOutput | None) -> bytes:
        if not self._echo and not self.with_ids:
            return b""
        text = prompt.text if self._echo else ""
        self._shift[index] = len(text)
        logprobs = None
        if self.logprobs is not None:
            listed = listed_prompt(prompt, output) if self._echo and output is not None else ()
            logprobs = self.logprobs.completion(listed)
        ids = self._token_ids(())
        if self.with_ids:
            ids += b',"prompt_token_ids":' + to_json(prompt.ids)
        return self._chunk(Piece(index, text), logprobs, ids)

    def chunk(self, piece: Piece) -> bytes:
        logprobs = None
        if self.logprobs is not None and piece.tokens:
            shift = self._shift.get(piece.index, 0)
            logprobs = self.logprobs.completion(piece.tokens, shift=shift)
        return self._chunk(piece, logprobs, self._token_ids(piece.tokens))

    def _chunk(self, piece: Piece, logprobs: Json | None, ids: bytes) -> bytes:
        return b"".join(
            (
                self._before,
                b'%d,"text":' % piece.index,
                to_json(piece.text),
                b',"logprobs":',
                b"null" if logprobs is None else to_json(logprobs, inf_nan_mode="null"),
                ids,
                _end(piece),
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
        answer["prompt_logprobs"] = self._prompt_logprobs(choices[0])
        if self.with_ids:
            answer["prompt_token_ids"] = list(choices[0].prompt.ids)
        return answer

    def choice(self, choice: Choice) -> Json:
        answer: Json = {
            "index": choice.index,
            "message": {"role": "assistant", "content": choice.text, "refusal": None},
            "logprobs": self.logprobs.chat(choice.tokens) if self.logprobs is not None else None,
            "finish_reason": choice.finish_reason,
            "stop_reason": choice.stop_reason,
        }
        return {**answer, **self._further(choice)}

    def opening(self, index: int, prompt: Prompt, output: PromptOutput | None) -> bytes:  # noqa: ARG002
        delta = b'%d,"delta":{"role":"assistant","content":""},"logprobs":null' % index
        after = self._after
        if self.with_ids and index == 0:  # of the whole answer, so beside its choices
            told = b'}],"prompt_token_ids":' + to_json(prompt.ids)
            after = told + after.removeprefix(b"}]")
        return b"".join((self._before, delta, _OPEN, after))

    def chunk(self, piece: Piece) -> bytes:
        parts: list[bytes] = []
        if piece.text or piece.tokens:
            logprobs = b"null"
            if self.logprobs is not None and piece.tokens:
                logprobs = to_json(self.logprobs.chat(piece.tokens), inf_nan_mode="null")
            parts += (self._before, b'%d,"delta":{"content":' % piece.index, to_json(piece.text))
            parts += (b'},"logprobs":', logprobs, self._token_ids(piece.tokens))
            parts += (_OPEN, self._after)
        if piece.finish_reason is not None:
            parts += (self._before, b'%d,"delta":{},"logprobs":null' % piece.index)
            parts += (_end(piece), self._after)
        return b"".join(parts)


_OPEN = b',"finish_reason":null'


def _end(piece: Piece) -> bytes:
    """Whether and how a choice ends, and what is told with its end."""
    if piece.finish_reason is None:
        return _OPEN
    end = b',"finish_reason":"%b"' % piece.finish_reason.encode()
    end += b',"stop_reason":' + to_json(piece.stop_reason)
    if piece.guided is not None:
        end += b',"guided_choice":' + to_json(piece.guided, inf_nan_mode="null")
    return end if piece.state is None else end + b',"state":' + to_json(piece.state)
