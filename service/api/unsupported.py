"""Fields of other servers' APIs that would change the meaning of a request and are not offered.

They are refused by name; the schemas ignore and log any other field they do not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from service.api.errors import invalid

_Values = tuple[Any, ...]

# Field to the values, besides null, that ask for nothing.
_GENERATION: Mapping[str, _Values] = {
    "tools": ([],),
    "tool_choice": ("none",),
    "parallel_tool_calls": (),
    "functions": ([],),
    "function_call": ("none",),
    "response_format": ({"type": "text"},),
    "structured_outputs": (),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "grammar": ("",),
    "audio": (),
    "modalities": (["text"],),
    "prediction": (),
    "web_search_options": (),
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "suffix": ("",),
    "include_stop_str_in_output": (False,),
    "skip_special_tokens": (True,),
    "truncate_prompt_tokens": (),
    "logits_processors": ([],),
    "return_token_ids": (False,),
    "priority": (0,),
}
UNSUPPORTED_COMPLETION: Mapping[str, _Values] = MappingProxyType(
    {
        **_GENERATION,
        "messages": (),
        "max_completion_tokens": (),
        "top_logprobs": (),
        "prompt_embeds": (),
    }
)
UNSUPPORTED_CHAT: Mapping[str, _Values] = MappingProxyType(
    {
        **_GENERATION,
        "prompt": (),
        "echo": (False,),
        "add_special_tokens": (False,),
        "add_generation_prompt": (True,),
        "continue_final_message": (False,),
        "chat_template": (),
        "chat_template_kwargs": ({},),
        "documents": ([],),
    }
)
UNSUPPORTED_MESSAGE: Mapping[str, _Values] = MappingProxyType(
    {"name": (), "tool_calls": ([],), "function_call": (), "tool_call_id": (), "audio": ()}
)


def refuse_unsupported(
    fields: Mapping[str, Any] | None, unsupported: Mapping[str, _Values], *, place: str = ""
) -> None:
    """Refuse what of `unsupported` is among the `fields` that a schema does not know.

    `place`: where the fields stand in the body, as a prefix ("messages.0.").
    """
    for name, value in (fields or {}).items():
        if not any(_same(value, neutral) for neutral in unsupported.get(name, (value,))):
            raise invalid(place + name, "is not supported", code="unsupported_field")


def _same(value: Any, neutral: Any) -> bool:
    """Equal in JSON, where true is not 1."""
    return type(value) is type(neutral) and bool(value == neutral)
