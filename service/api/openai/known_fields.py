"""Fields of OpenAI's, vLLM's and llama.cpp's requests that this service knows and does not serve.

Those that would change the answer are refused by name; those that never could are let through. What
nobody knows is ignored, and the answer says so. `docs/api.md` has this as a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from service.http.errors import invalid

OPENAI, VLLM, LLAMA_CPP, SGLANG, TGI = "OpenAI", "vLLM", "llama.cpp", "SGLang", "TGI"
OLLAMA, US = "Ollama", "this service"


@dataclass(frozen=True, slots=True)
class Refused:
    """api: whose field it is; neutral: values, besides null, that ask for nothing; instead: what
    does the same here."""

    api: str
    neutral: tuple[Any, ...] = ()
    instead: str = ""


_GENERATION: Mapping[str, Refused] = {
    # Tools, modalities, reasoning: not of a model of text alone.
    "tools": Refused(OPENAI, ([],)),
    "tool_choice": Refused(OPENAI, ("none", "auto")),
    "parallel_tool_calls": Refused(OPENAI, (True, False)),
    "functions": Refused(OPENAI, ([],)),
    "function_call": Refused(OPENAI, ("none", "auto")),
    "audio": Refused(OPENAI),
    "modalities": Refused(OPENAI, (["text"],)),
    "prediction": Refused(OPENAI),
    "web_search_options": Refused(OPENAI),
    "reasoning_effort": Refused(OPENAI, ("none",)),
    "verbosity": Refused(OPENAI, ("medium",)),
    "mm_processor_kwargs": Refused(VLLM, ({},)),
    "image_data": Refused(LLAMA_CPP, ([],)),
    "multimodal_data": Refused(LLAMA_CPP, ([],)),
    "thinking_token_budget": Refused(VLLM),
    "reasoning_budget": Refused(LLAMA_CPP, (-1, 0)),
    "think": Refused(OLLAMA, (False,)),
    # Constraints.
    "json_schema": Refused(LLAMA_CPP, (), "guided_json"),
    "regex": Refused(SGLANG, (), "guided_regex"),
    "grammar": Refused(LLAMA_CPP, ("",), "guided_regex or guided_json"),
    "guided_grammar": Refused(VLLM, (), "guided_regex or guided_json"),
    "guided_decoding_backend": Refused(VLLM, ("auto", "llguidance", "guidance")),
    "guided_whitespace_pattern": Refused(VLLM),
    "ebnf": Refused(SGLANG, (), "guided_regex or guided_json"),
    "structural_tag": Refused(VLLM),
    "grammar_lazy": Refused(LLAMA_CPP, (False,)),
    "grammar_triggers": Refused(LLAMA_CPP, ([],)),
    "format": Refused(OLLAMA, ("",), "response_format"),
    "stop_regex": Refused(SGLANG, ("", [])),
    "no_stop_trim": Refused(SGLANG, (False,), "include_stop_str_in_output"),
    # Lengths and numbers of answers by other names.
    "n_predict": Refused(LLAMA_CPP, (-1,), "max_tokens"),
    "max_new_tokens": Refused(TGI, (), "max_tokens"),
    "num_predict": Refused(OLLAMA, (-1,), "max_tokens"),
    "extra_body": Refused(OPENAI, ({},), "its fields beside the others"),
    "options": Refused(OLLAMA, ({},), "its fields beside the others"),
    "top_n_tokens": Refused(TGI, (0,), "logprobs"),
    "decoder_input_details": Refused(TGI, (False,), "prompt_logprobs"),
    "return_full_text": Refused(TGI, (False,), "echo of /v1/completions"),
    "n_probs": Refused(LLAMA_CPP, (0,), "logprobs"),
    "n_cmpl": Refused(LLAMA_CPP, (1,), "n"),
    "n_indent": Refused(LLAMA_CPP, (0,)),
    "t_max_predict_ms": Refused(LLAMA_CPP, (0, -1)),
    "post_sampling_probs": Refused(LLAMA_CPP, (False,)),
    "return_tokens": Refused(LLAMA_CPP, (False,), "return_token_ids"),
    "logprob_token_ids": Refused(VLLM, (), "/v1/next-token with tokens"),
    # Sampling.
    "repeat_penalty": Refused(LLAMA_CPP, (1, 1.0), "repetition_penalty"),
    "repeat_last_n": Refused(LLAMA_CPP, (0,)),
    "penalty_prompt": Refused(LLAMA_CPP),
    "penalize_nl": Refused(LLAMA_CPP, (False,)),
    "typ_p": Refused(LLAMA_CPP, (1, 1.0), "typical_p"),
    "tfs_z": Refused(LLAMA_CPP, (1, 1.0)),
    "top_n_sigma": Refused(LLAMA_CPP, (-1, -1.0)),
    "top_a": Refused(TGI, (0, 0.0)),
    "epsilon_cutoff": Refused(TGI, (0, 0.0)),
    "eta_cutoff": Refused(TGI, (0, 0.0)),
    "dynatemp_range": Refused(LLAMA_CPP, (0, 0.0)),
    "dynatemp_exponent": Refused(LLAMA_CPP, (1, 1.0)),
    "mirostat": Refused(LLAMA_CPP, (0,)),
    "mirostat_tau": Refused(LLAMA_CPP),
    "mirostat_eta": Refused(LLAMA_CPP),
    "dry_multiplier": Refused(LLAMA_CPP, (0, 0.0)),
    "dry_base": Refused(LLAMA_CPP),
    "dry_allowed_length": Refused(LLAMA_CPP),
    "dry_penalty_last_n": Refused(LLAMA_CPP),
    "dry_sequence_breakers": Refused(LLAMA_CPP),
    "xtc_probability": Refused(LLAMA_CPP, (0, 0.0)),
    "xtc_threshold": Refused(LLAMA_CPP),
    "adaptive_target": Refused(LLAMA_CPP, (-1, -1.0)),
    "adaptive_decay": Refused(LLAMA_CPP),
    "samplers": Refused(LLAMA_CPP),
    "custom_logit_processor": Refused(SGLANG),
    "return_hidden_states": Refused(SGLANG, (False,)),
    "min_keep": Refused(LLAMA_CPP, (0, 1)),
    "do_sample": Refused(TGI, (True,), "temperature 0 for greedy"),
    "watermark": Refused(TGI, (False,)),
    "logits_processors": Refused(VLLM, ([],)),
    "vllm_xargs": Refused(VLLM, ({},)),
    "lora": Refused(LLAMA_CPP, ([],)),
    # Prompts and answers.
    "suffix": Refused(OPENAI, ("",)),
    "skip_special_tokens": Refused(VLLM, (True,)),
    "detokenize": Refused(VLLM, (True,)),
    "n_keep": Refused(LLAMA_CPP, (0, -1)),
    "n_discard": Refused(LLAMA_CPP, (0,)),
    "template": Refused(OLLAMA, ("",)),
    "raw": Refused(OLLAMA, (False,)),
    "lora_path": Refused(SGLANG),
    "adapter_id": Refused(TGI),
    "response_fields": Refused(LLAMA_CPP, ([],)),
    "kv_transfer_params": Refused(VLLM),
    "priority": Refused(VLLM, (0,)),
    "flat_logprobs": Refused(VLLM, (False,)),
    "repetition_detection": Refused(VLLM),
}
REFUSED_COMPLETION: Mapping[str, Refused] = MappingProxyType(
    {
        **_GENERATION,
        "messages": Refused(OPENAI, (), "/v1/chat/completions"),
        "input": Refused(OPENAI, (), "prompt"),
        "inputs": Refused(TGI, (), "prompt"),
        "text": Refused(SGLANG, (), "prompt"),
        "max_completion_tokens": Refused(OPENAI, (), "max_tokens"),
        "top_logprobs": Refused(OPENAI, (), "logprobs"),
        "prompt_embeds": Refused(VLLM),
        "truncation_side": Refused(VLLM, ("left",)),
        "truncate": Refused(TGI, (), "truncate_prompt_tokens"),
    }
)
REFUSED_CHAT: Mapping[str, Refused] = MappingProxyType(
    {
        **_GENERATION,
        "prompt": Refused(OPENAI, (), "messages"),
        "echo": Refused(VLLM, (False,)),
        "add_special_tokens": Refused(VLLM, (False,)),
        "truncate_prompt_tokens": Refused(VLLM, (-1,)),
        "truncation_side": Refused(VLLM, ("left", "right")),
        "chat_template": Refused(VLLM),
        "chat_template_kwargs": Refused(VLLM, ({},)),
        "documents": Refused(VLLM, ([],)),
        "media_io_kwargs": Refused(VLLM, ({},)),
    }
)
_IN_CHAT = "/v1/chat/completions"
REFUSED_RESPONSES: Mapping[str, Refused] = MappingProxyType(
    {
        **_GENERATION,
        "messages": Refused(OPENAI, (), "input"),
        "prompt": Refused(OPENAI, (), "input"),
        "max_tokens": Refused(OPENAI, (), "max_output_tokens"),
        "max_completion_tokens": Refused(OPENAI, (), "max_output_tokens"),
        "n": Refused(OPENAI, (1,), _IN_CHAT),
        "best_of": Refused(OPENAI, (1,), _IN_CHAT),
        "include": Refused(OPENAI, ([],)),
        "logprobs": Refused(OPENAI, (False,), _IN_CHAT),
        "top_logprobs": Refused(OPENAI, (0,), _IN_CHAT),
        "prompt_logprobs": Refused(VLLM, (), _IN_CHAT),
        "return_token_ids": Refused(VLLM, (False,), _IN_CHAT),
        "return_tokens_as_token_ids": Refused(VLLM, (False,), _IN_CHAT),
        "use_beam_search": Refused(VLLM, (False,), _IN_CHAT),
        "length_penalty": Refused(VLLM, (1, 1.0), _IN_CHAT),
        "add_generation_prompt": Refused(VLLM, (True,), _IN_CHAT),
        "continue_final_message": Refused(VLLM, (False,), _IN_CHAT),
        "add_special_tokens": Refused(VLLM, (False,)),
        "truncate_prompt_tokens": Refused(VLLM, (-1,)),
        "chat_template": Refused(VLLM),
        "chat_template_kwargs": Refused(VLLM, ({},)),
        "state": Refused(US, (), "previous_response_id"),
        "return_state": Refused(US, (True,), "the answer's id"),
        "response_format": Refused(OPENAI, ({"type": "text"},), "text.format"),
        "background": Refused(OPENAI, (False,)),
        "stream_options": Refused(
            OPENAI, ({}, {"include_obfuscation": True}, {"include_obfuscation": False})
        ),
        "conversation": Refused(OPENAI, (), "previous_response_id"),
        "max_tool_calls": Refused(OPENAI),
        "reasoning": Refused(OPENAI, ({}, {"effort": "none"})),
        "truncation": Refused(OPENAI, ("disabled", "auto")),
        "context_management": Refused(OPENAI),
    }
)
# Of the object `text` of /v1/responses, and of `structured_outputs`.
REFUSED_TEXT: Mapping[str, Refused] = MappingProxyType({"verbosity": Refused(OPENAI, ("medium",))})
REFUSED_STRUCTURED: Mapping[str, Refused] = MappingProxyType(
    {
        "grammar": Refused(VLLM, (), "regex or json"),
        "structural_tag": Refused(VLLM),
        "whitespace_pattern": Refused(VLLM),
        "disable_fallback": Refused(VLLM, (True, False)),
        "disable_any_whitespace": Refused(VLLM, (False,)),
        "disable_additional_properties": Refused(VLLM, (False,)),
    }
)
REFUSED_EMBEDDING: Mapping[str, Refused] = MappingProxyType(
    {
        "messages": Refused(VLLM, (), "input"),
        "content": Refused(LLAMA_CPP, (), "input"),
        "prompt": Refused(OLLAMA, (), "input"),
        "add_special_tokens": Refused(VLLM, (True,)),
        "add_generation_prompt": Refused(VLLM, (False,)),
        "continue_final_message": Refused(VLLM, (False,)),
        "chat_template": Refused(VLLM),
        "chat_template_kwargs": Refused(VLLM, ({},)),
        "mm_processor_kwargs": Refused(VLLM, ({},)),
        "truncate_prompt_tokens": Refused(VLLM, (-1,)),
        "truncation_side": Refused(VLLM, ("left", "right")),
        "truncate": Refused(OLLAMA, (True, False)),
        "normalize": Refused(VLLM, (True,)),
        "use_activation": Refused(VLLM, (True,)),
        "embd_normalize": Refused(LLAMA_CPP, (2,)),
        "pooling": Refused(LLAMA_CPP, ("last",)),
        "embed_dtype": Refused(VLLM, ("float32",)),
        "endianness": Refused(VLLM, ("native", "little")),
        "task": Refused(VLLM, ("embed",)),
        "priority": Refused(VLLM, (0,)),
        "input_type": Refused(VLLM),
        "instructions": Refused(VLLM),
    }
)
REFUSED_TOKENIZE: Mapping[str, Refused] = MappingProxyType(
    {
        "content": Refused(LLAMA_CPP, (), "prompt"),
        "text": Refused(SGLANG, (), "prompt"),
        "add_special": Refused(LLAMA_CPP, (), "add_special_tokens"),
        "with_pieces": Refused(LLAMA_CPP, (False,), "return_token_strs"),
        "parse_special": Refused(LLAMA_CPP, (False,)),
        "tools": Refused(VLLM, ([],)),
        "chat_template": Refused(VLLM),
        "chat_template_kwargs": Refused(VLLM, ({},)),
        "mm_processor_kwargs": Refused(VLLM, ({},)),
        "media_io_kwargs": Refused(VLLM, ({},)),
        "truncate_prompt_tokens": Refused(VLLM, (-1,)),
    }
)
REFUSED_DETOKENIZE: Mapping[str, Refused] = MappingProxyType(
    {
        "prompt": Refused(VLLM, (), "tokens"),
        "ids": Refused(TGI, (), "tokens"),
        "skip_special_tokens": Refused(VLLM, (True,)),
    }
)
REFUSED_MESSAGE: Mapping[str, Refused] = MappingProxyType(
    {
        "tool_calls": Refused(OPENAI, ([],)),
        "function_call": Refused(OPENAI),
        "tool_call_id": Refused(OPENAI),
        "audio": Refused(OPENAI),
        "refusal": Refused(OPENAI, ("",)),
    }
)
REFUSED_STREAM_OPTIONS: Mapping[str, Refused] = MappingProxyType(
    {"continuous_usage_stats": Refused(VLLM, (False,))}
)

# Fields that cannot change an answer, by whose they are.
WITHOUT_EFFECT: Mapping[str, str] = MappingProxyType(
    {
        "metadata": OPENAI,
        "store": OPENAI,
        "service_tier": OPENAI,
        "safety_identifier": OPENAI,
        "prompt_cache_key": OPENAI,
        "prompt_cache_retention": OPENAI,
        "include_obfuscation": OPENAI,
        "annotations": OPENAI,
        "cache_salt": VLLM,
        "request_id": VLLM,
        "spaces_between_special_tokens": VLLM,
        "include_reasoning": VLLM,
        "cache_prompt": LLAMA_CPP,
        "id_slot": LLAMA_CPP,
        "slot_id": LLAMA_CPP,
        "timings_per_token": LLAMA_CPP,
        "return_progress": LLAMA_CPP,
        "reasoning_format": LLAMA_CPP,
        "sse_ping_interval": LLAMA_CPP,
        "separate_reasoning": SGLANG,
        "stream_reasoning": SGLANG,
        "keep_alive": OLLAMA,
    }
)


def refuse_unserved(
    fields: Mapping[str, Any] | None, refused: Mapping[str, Refused], *, place: str = ""
) -> list[str]:
    """Refuse the first of `fields`, which a schema does not know, that would change the answer.

    Returns the names that nobody knows, to be reported. place: where the fields stand in the body,
    as a prefix ("messages.0.").
    """
    unknown = []
    for name, value in (fields or {}).items():
        known = refused.get(name)
        if known is None:
            if name not in WITHOUT_EFFECT:
                unknown.append(place + name)
        elif not any(_same(value, neutral) for neutral in known.neutral):
            hint = f"; use {known.instead}" if known.instead else ""
            raise invalid(place + name, f"is not supported{hint}", code="unsupported_field")
    return unknown


def unknown_stream_options(options: BaseModel | None) -> list[str]:
    """As `refuse_unserved`, for the object `stream_options`."""
    extra = options.model_extra if options is not None else None
    return refuse_unserved(extra, REFUSED_STREAM_OPTIONS, place="stream_options.")


_MAX_REPORTED, _MAX_NAME = 20, 80


def reported(unknown: Sequence[str]) -> dict[str, list[str]]:
    """What an answer says of fields that were ignored: nothing where there were none."""
    names = [name[:_MAX_NAME] for name in unknown[:_MAX_REPORTED]]
    return {"ignored_fields": names} if names else {}


def _same(value: Any, neutral: Any) -> bool:
    """Equal in JSON, where true is not 1."""
    return type(value) is type(neutral) and bool(value == neutral)
