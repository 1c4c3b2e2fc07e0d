"""What becomes of the fields of OpenAI's, vLLM's and llama.cpp's requests, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.api.openai.embeddings import EmbeddingRequest
from service.api.openai.known_fields import (
    LLAMA_CPP,
    OPENAI,
    REFUSED_CHAT,
    REFUSED_COMPLETION,
    REFUSED_DETOKENIZE,
    REFUSED_EMBEDDING,
    REFUSED_RESPONSES,
    REFUSED_TOKENIZE,
    US,
    VLLM,
    WITHOUT_EFFECT,
    Refused,
)
from service.api.openai.requests import ChatCompletionRequest, CompletionRequest
from service.api.openai.respond import ResponsesRequest
from service.api.schemas import RequestModel
from service.api.tokenize import DetokenizeRequest, TokenizeRequest


@dataclass(frozen=True, slots=True)
class Column:
    """A route, with the fields that it serves and those that it refuses."""

    url: str
    served: type[RequestModel]
    refused: Mapping[str, Refused]

    def fate(self, name: str) -> str:
        """What becomes of field `name`."""
        if name in self.served.model_fields:
            return "served"
        if name in WITHOUT_EFFECT:
            return "no effect"
        known = self.refused.get(name)
        if known is None:
            return "unknown: ignored, and told"
        return f"refused; use {known.instead}" if known.instead else "refused"


GENERATING = (
    Column("/v1/completions", CompletionRequest, REFUSED_COMPLETION),
    Column("/v1/chat/completions", ChatCompletionRequest, REFUSED_CHAT),
    Column("/v1/responses", ResponsesRequest, REFUSED_RESPONSES),
)
OTHERS = (
    Column("/v1/embeddings", EmbeddingRequest, REFUSED_EMBEDDING),
    Column("/tokenize", TokenizeRequest, REFUSED_TOKENIZE),
    Column("/detokenize", DetokenizeRequest, REFUSED_DETOKENIZE),
)

# Whose the served fields are; those of generating routes that are not named are vLLM's.
_OF_OPENAI = frozenset(
    (
        *("best_of", "dimensions", "echo", "encoding_format", "frequency_penalty", "input"),
        *("instructions", "logit_bias", "logprobs", "max_completion_tokens"),
        *("max_output_tokens", "max_tokens", "messages", "model", "n", "presence_penalty"),
        *("previous_response_id", "prompt", "response_format", "seed", "stop", "stream"),
        *("stream_options", "temperature", "text", "top_logprobs", "top_p", "user"),
    )
)
_OF_LLAMA_CPP = frozenset({"typical_p"})
_OF_US = frozenset({"state", "return_state"})


def field_tables() -> str:
    """That of the routes that generate text, and that of the others."""
    return _table(GENERATING, also=tuple(WITHOUT_EFFECT)) + "\n" + _table(OTHERS)


def _table(columns: Sequence[Column], also: Sequence[str] = ()) -> str:
    """Rows by whose the fields are, then by name."""
    names = {*also}
    for column in columns:
        names |= {*column.served.model_fields, *column.refused}
    rows = sorted((_owner(name, columns), name) for name in names)
    head = ["field", "of", *(f"`{column.url}`" for column in columns)]
    lines = [_line(head), "|---" * len(head) + "|"]
    for owner, name in rows:
        fates = [column.fate(name) for column in columns]
        lines.append(_line([f"`{name}`", owner, *fates]))
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _owner(name: str, columns: Sequence[Column]) -> str:
    if name in WITHOUT_EFFECT:
        return WITHOUT_EFFECT[name]
    if name in _OF_US:
        return US
    if name in _OF_LLAMA_CPP:
        return LLAMA_CPP
    if name in _OF_OPENAI:
        return OPENAI
    if any(name in column.served.model_fields for column in columns):
        return VLLM
    return next(column.refused[name].api for column in columns if name in column.refused)
