"""What a checkpoint may declare, and what is said about what it must not."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from models.declarations import SamplingDefaults, read_declarations
from models.tokenizer import Tokenizer
from service.api.openai.requests import ChatCompletionRequest, CompletionRequest


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    lines = [f"the words {n} and other words" for n in range(20)]
    return Tokenizer.train(lines, vocab_size=290, model_type="bpe")


TEMPLATE: dict[str, Any] = {
    "roles": {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"},
    "end_of_turn": "<|end|>",
}


def test_what_is_declared_comes_back(tokenizer: Tokenizer) -> None:
    config = {"chat_template": TEMPLATE, "sampling_defaults": {"temperature": 1, "top_k": None}}
    declared = read_declarations(config, tokenizer)
    assert declared.chat_template is not None
    assert declared.chat_template.model_dump(exclude_none=True) == TEMPLATE
    assert declared.sampling_defaults.model_dump(exclude_none=True) == {"temperature": 1}


@pytest.mark.parametrize("config", [{}, {"chat_template": None, "sampling_defaults": None}])
def test_nothing_need_be_declared(tokenizer: Tokenizer, config: dict[str, Any]) -> None:
    declared = read_declarations(config, tokenizer)
    assert declared.chat_template is None
    assert declared.sampling_defaults.model_dump(exclude_none=True) == {}


def test_a_default_is_a_field_that_a_request_may_set_to_the_same_values() -> None:
    for name, field in SamplingDefaults.model_fields.items():
        for request in (CompletionRequest, ChatCompletionRequest):
            assert get_args(request.model_fields[name].annotation) == get_args(field.annotation)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"sampling_defaults": {"temperature": "hot"}}, "sampling_defaults.temperature: .*number"),
        ({"sampling_defaults": {"temperature": 2.1}}, "sampling_defaults.temperature: .*2"),
        ({"sampling_defaults": {"top_k": True}}, "sampling_defaults.top_k: .*integer"),
        ({"sampling_defaults": {"top_p": float("nan")}}, "sampling_defaults.top_p: .*finite"),
        ({"sampling_defaults": {"seed": 1}}, "sampling_defaults.seed: .*not permitted"),
        ({"sampling_defaults": []}, "sampling_defaults: "),
        ({"chat_template": "{{ messages }}"}, "chat_template: "),
        ({"chat_template": {"end_of_turn": "<|end|>"}}, "chat_template.roles: .*required"),
        ({"chat_template": {**TEMPLATE, "roles": {}}}, "chat_template.roles: 'user' is missing"),
        (
            {"chat_template": {**TEMPLATE, "roles": {"user": "<|user|>"}}},
            "chat_template.roles: 'assistant' is missing",
        ),
        (
            {"chat_template": {**TEMPLATE, "roles": {**TEMPLATE["roles"], "tool": "<|user|>"}}},
            "chat_template.roles.tool",
        ),
        (
            {"chat_template": {**TEMPLATE, "roles": {**TEMPLATE["roles"], "user": "the"}}},
            "chat_template.roles.user: 'the' is no control token",
        ),
        (
            {"chat_template": {**TEMPLATE, "end_of_turn": "<|nothing|>"}},
            "chat_template.end_of_turn: '<|nothing|>' is no control token",
        ),
    ],
)
def test_a_fault_is_named(tokenizer: Tokenizer, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_declarations(config, tokenizer)
