"""What becomes of the fields of OpenAI's, vLLM's and llama.cpp's requests, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from service.api.openai.known_fields import (
    LLAMA_CPP,
    OPENAI,
    REFUSED_CHAT,
    REFUSED_COMPLETION,
    VLLM,
    WITHOUT_EFFECT,
    Refused,
)
from service.api.openai.requests import (
    ChatCompletionRequest,
    CompletionRequest,
    GenerationRequest,
)

_OWN = "this service"
# Whose the served fields are; the others are vLLM's.
_OF_OPENAI = frozenset(
    (
        *(
            "best_of",
            "echo",
            "frequency_penalty",
            "logit_bias",
            "logprobs",
            "max_completion_tokens",
        ),
        *("max_tokens", "messages", "model", "n", "presence_penalty", "prompt", "response_format"),
        *(
            "seed",
            "stop",
            "stream",
            "stream_options",
            "temperature",
            "top_logprobs",
            "top_p",
            "user",
        ),
    )
)
_OF_LLAMA_CPP = frozenset({"typical_p"})
_OF_US = frozenset({"state", "return_state"})


def field_table() -> str:
    """Rows by whose the fields are, then by name."""
    served = {*CompletionRequest.model_fields, *ChatCompletionRequest.model_fields}
    names = served | set(REFUSED_COMPLETION) | set(REFUSED_CHAT) | set(WITHOUT_EFFECT)
    rows = sorted((_owner(name), name) for name in names)
    head = ("| field | of | completions | chat |", "|---|---|---|---|")
    return "\n".join([*head, *map(_row, rows)]) + "\n"


def _row(row: tuple[str, str]) -> str:
    owner, name = row
    completion = _fate(name, CompletionRequest, REFUSED_COMPLETION)
    chat = _fate(name, ChatCompletionRequest, REFUSED_CHAT)
    return f"| `{name}` | {owner} | {completion} | {chat} |"


def _fate(name: str, form: type[GenerationRequest], refused: Mapping[str, Refused]) -> str:
    if name in form.model_fields:
        return "served"
    if name not in refused:
        return "no effect" if name in WITHOUT_EFFECT else "unknown: ignored, and told"
    return "refused" + "".join(_notes(refused[name]))


def _notes(refused: Refused) -> Iterator[str]:
    if refused.instead:
        yield f"; use {refused.instead}"


def _owner(name: str) -> str:
    if name in WITHOUT_EFFECT:
        return WITHOUT_EFFECT[name]
    for refused in (REFUSED_COMPLETION, REFUSED_CHAT):
        if name in refused and name not in GenerationRequest.model_fields:
            return OPENAI if name in _OF_OPENAI else refused[name].api
    if name in _OF_US:
        return _OWN
    if name in _OF_LLAMA_CPP:
        return LLAMA_CPP
    return OPENAI if name in _OF_OPENAI else VLLM
