"""Forms that a request may have: faults name the field and what it should be."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from service.api.openai.requests import (
    ChatCompletionRequest,
    ChatMessage,
    CompletionRequest,
    split_prompt,
)


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("", [""]),
        ("the cat", ["the cat"]),
        (["a", "b"], ["a", "b"]),
        ([5, 6], [[5, 6]]),
        ([[5, 6], [7]], [[5, 6], [7]]),
    ],
)
def test_prompts_of_every_form_are_taken_one_by_one(prompt: Any, parts: list[Any]) -> None:
    assert split_prompt(CompletionRequest(prompt=prompt).prompt) == parts


def faults(kind: type[CompletionRequest] | type[ChatCompletionRequest], **body: Any) -> str:
    with pytest.raises(ValidationError) as refused:
        kind.model_validate(body)
    return str(refused.value)


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        (5, "must be a string, a list of strings, a list of token ids or a list of those"),
        ([], "at least 1 item"),
        ([1.5], "must be a string, a list of strings"),
        ([[]], "must be a string, a list of strings"),
        (["a", 5], "valid string"),
        ([5, "a"], "valid integer"),
        ([-1], "greater than or equal to 0"),
    ],
)
def test_a_prompt_of_no_form_is_told_which_there_are(prompt: Any, told: str) -> None:
    assert told in faults(CompletionRequest, prompt=prompt)


def test_a_list_of_faults_is_refused_at_its_first() -> None:
    assert "1 validation error" in faults(CompletionRequest, prompt=["a", *[5] * 1000])


@pytest.mark.parametrize(
    ("stop", "told"),
    [("", "at least 1 character"), (["a"] * 17, "at most 16 items"), (5, "at most 16 strings")],
)
def test_stop_strings_have_their_bounds(stop: Any, told: str) -> None:
    assert told in faults(CompletionRequest, stop=stop)


def test_stops_and_candidates_whatever_their_form() -> None:
    assert CompletionRequest(stop="a").stops == ["a"]
    assert CompletionRequest(stop=["a", "b"]).stops == ["a", "b"]
    assert CompletionRequest(n=2).num_candidates == 2
    assert CompletionRequest(n=2, best_of=5).num_candidates == 5
    assert not CompletionRequest().include_usage
    streaming = CompletionRequest.model_validate({"stream_options": {"include_usage": True}})
    assert streaming.include_usage


def test_null_is_the_default_of_every_field() -> None:
    for kind, needed in (
        (CompletionRequest, {}),
        (ChatCompletionRequest, {"messages": [{"role": "user", "content": "a"}]}),
    ):
        plain = kind.model_validate(needed)
        nulls = dict.fromkeys(set(kind.model_fields) - set(needed))
        assert kind.model_validate({**nulls, **needed}) == plain


def test_a_messages_parts_are_its_text() -> None:
    parts = [{"type": "text", "text": "the "}, {"type": "text", "text": "cat"}]
    message = ChatMessage.model_validate({"role": "user", "content": parts})
    assert message.text == "the cat"
    assert ChatMessage(role="user", content="").text == ""


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ({"role": "tool", "content": "a"}, "'system', 'developer', 'user' or 'assistant'"),
        ({"role": "user", "content": 5}, 'a list of {"type": "text"'),
        ({"role": "user", "content": []}, 'a list of {"type": "text"'),
        ({"role": "user", "content": [{"type": "image_url"}]}, "'text'"),
        ({"role": "user"}, "Field required"),
    ],
)
def test_messages_of_no_form_are_told(message: dict[str, Any], told: str) -> None:
    assert told in faults(ChatCompletionRequest, messages=[message])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"n": 129}, "n"),
        ({"temperature": 2.5}, "temperature"),
        ({"seed": 2**63}, "seed"),
        ({"logprobs": 21}, "logprobs"),
        ({"logit_bias": {"5": 101}}, "logit_bias"),
        ({"logit_bias": {"5": True}}, "logit_bias"),
        ({"echo": 1}, "echo"),
        ({"truncate_prompt_tokens": -2}, "truncate_prompt_tokens"),
    ],
)
def test_values_beyond_their_range_name_the_field(body: dict[str, Any], field: str) -> None:
    assert f"\n{field}" in faults(CompletionRequest, **body)
