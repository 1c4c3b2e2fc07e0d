"""Fields that are refused, let through or reported: by value, as JSON has it."""

from __future__ import annotations

from typing import Any

import pytest

from service.api.openai.known_fields import (
    REFUSED_CHAT,
    REFUSED_COMPLETION,
    WITHOUT_EFFECT,
    Refused,
    refuse_unserved,
    reported,
    unknown_stream_options,
)
from service.api.openai.requests import StreamOptions
from service.http.errors import ApiError

KNOWN = {
    "mirostat": Refused("llama.cpp", (0,)),
    "typ_p": Refused("llama.cpp", (1, 1.0), "typical_p"),
    "flag": Refused("vLLM", (True,)),
    "tools": Refused("OpenAI", ([],)),
}


@pytest.mark.parametrize(
    ("name", "value"),
    [("mirostat", 0), ("typ_p", 1), ("typ_p", 1.0), ("flag", True), ("tools", [])],
)
def test_values_that_ask_for_nothing_are_let_through(name: str, value: Any) -> None:
    assert refuse_unserved({name: value}, KNOWN) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("mirostat", 2), ("mirostat", False), ("flag", 1), ("flag", False), ("tools", [1])],
)
def test_others_are_refused_by_name_and_true_is_not_one(name: str, value: Any) -> None:
    with pytest.raises(ApiError) as refusal:
        refuse_unserved({name: value}, KNOWN)
    error = refusal.value
    assert (error.status_code, error.param, error.code) == (400, name, "unsupported_field")


def test_what_does_the_same_here_is_named_and_the_place() -> None:
    with pytest.raises(ApiError, match=r"messages\.0\.typ_p: is not supported; use typical_p"):
        refuse_unserved({"typ_p": 0.5}, KNOWN, place="messages.0.")


@pytest.mark.parametrize("name", ["input", "inputs", "text"])
def test_a_prompt_by_another_name_is_not_a_text_after_nothing(name: str) -> None:
    with pytest.raises(ApiError, match=f"{name}: is not supported; use prompt"):
        refuse_unserved({name: "the cat"}, REFUSED_COMPLETION)


def test_what_nobody_knows_is_reported_and_what_has_no_effect_is_not() -> None:
    quiet = dict.fromkeys(WITHOUT_EFFECT, 1)
    assert refuse_unserved({"a": 1, **quiet, "b": None}, KNOWN, place="x.") == ["x.a", "x.b"]
    assert refuse_unserved(None, KNOWN) == []


def test_a_report_is_bounded_and_absent_where_there_is_nothing() -> None:
    assert reported([]) == {}
    told = reported([f"{n}" + "x" * 200 for n in range(50)])["ignored_fields"]
    assert len(told) == 20
    assert all(len(name) == 80 for name in told)


def test_options_of_streams() -> None:
    assert unknown_stream_options(None) == []
    options = StreamOptions.model_validate({"include_usage": True, "odd": 1})
    assert unknown_stream_options(options) == ["stream_options.odd"]
    asking = StreamOptions.model_validate({"continuous_usage_stats": True})
    with pytest.raises(ApiError, match=r"stream_options\.continuous_usage_stats"):
        unknown_stream_options(asking)


def test_fields_of_the_other_route_are_refused_with_the_way_there() -> None:
    for fields, table, way in (
        ({"messages": []}, REFUSED_COMPLETION, "/v1/chat/completions"),
        ({"prompt": "x"}, REFUSED_CHAT, "messages"),
    ):
        with pytest.raises(ApiError, match=f"use {way}"):
            refuse_unserved(fields, table)
