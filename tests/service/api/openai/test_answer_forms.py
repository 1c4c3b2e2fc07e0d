"""What choices and their pieces look like, whole and in chunks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from models.tokenizer import Tokenizer
from service.api.openai.answer_forms import AnswerForm, ChatForm, Choice, CompletionForm, Piece
from service.api.openai.logprobs import LogprobsForm
from service.text.generated_text import ListedToken
from service.text.history import Prompt, begin, build_prompt

HEAD = {"id": "x-1", "model": "tiny", "seed": 7}
USAGE = {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}
FORMS: list[type[AnswerForm]] = [CompletionForm, ChatForm]


@pytest.fixture
def prompt(tokenizer: Tokenizer) -> Prompt:
    return build_prompt(begin(tokenizer, bos=True), "the cat", eos=False)


@pytest.fixture
def tokens(tokenizer: Tokenizer) -> list[ListedToken]:
    """Of " the the"."""
    token_id = tokenizer.piece_to_id("▁the")
    assert token_id is not None
    return [
        ListedToken(id=token_id, logprob=-1.5, top=(), offset=offset, text=" the", line_start=False)
        for offset in (0, 4)
    ]


def make(kind: type[AnswerForm], tokenizer: Tokenizer, **fields: Any) -> AnswerForm:
    logprobs = LogprobsForm(tokenizer=tokenizer, num_top=0, as_ids=False)
    options: dict[str, Any] = {
        "logprobs": logprobs if fields.pop("lists", False) else None,
        "num_prompt_top": None,
        "include_usage": False,
        "with_ids": False,
        **fields,
    }
    if kind is CompletionForm:
        options.setdefault("echo", False)
    return kind(HEAD, **options)


def finished(prompt: Prompt, tokens: Sequence[ListedToken] = (), **fields: Any) -> Choice:
    told: dict[str, Any] = {
        "index": 0,
        "prompt_index": 0,
        "prompt": prompt,
        "output": None,
        "text": " the the",
        "tokens": tokens,
        "finish_reason": "stop",
        "stop_reason": None,
        "state": None,
        **fields,
    }
    return Choice(**told)


def read(chunks: bytes) -> list[dict[str, Any]]:
    return [json.loads(one.removeprefix("data: ")) for one in chunks.decode().split("\n\n") if one]


@pytest.mark.parametrize("kind", FORMS)
def test_an_answer_and_its_chunks_share_their_head(
    tokenizer: Tokenizer, prompt: Prompt, kind: type[AnswerForm]
) -> None:
    form = make(kind, tokenizer)
    whole = form.answer([finished(prompt)], USAGE)
    assert HEAD.items() <= whole.items()
    assert (whole["object"], whole["usage"]) == (kind.object, USAGE)
    chunks = read(form.chunk(Piece(3, " the")) + form.chunk(Piece(3, "", (), "length")))
    for chunk in chunks:
        assert HEAD.items() <= chunk.items()
        assert chunk["object"] == kind.chunk_object
        assert "usage" not in chunk
        assert chunk["choices"][0]["index"] == 3
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, "length"]


@pytest.mark.parametrize("kind", FORMS)
def test_where_usage_is_wanted_only_its_own_chunk_has_it(
    tokenizer: Tokenizer, kind: type[AnswerForm]
) -> None:
    form = make(kind, tokenizer, include_usage=True)
    (chunk,) = read(form.chunk(Piece(0, " the")))
    assert chunk["usage"] is None
    (last,) = read(form.usage_chunk(USAGE))
    assert (last["choices"], last["usage"]) == ([], USAGE)


@pytest.mark.parametrize("kind", FORMS)
def test_what_was_not_asked_for_is_not_told(
    tokenizer: Tokenizer, prompt: Prompt, tokens: list[ListedToken], kind: type[AnswerForm]
) -> None:
    asked = {"token_ids", "prompt_token_ids", "guided_choice", "state"}
    form = make(kind, tokenizer)
    assert not form.lists_tokens
    choice = form.answer([finished(prompt, tokens)], USAGE)["choices"][0]
    assert choice["logprobs"] is None
    assert not asked & choice.keys()
    for chunk in read(form.chunk(Piece(0, " the", tokens, "stop"))):
        assert chunk["choices"][0]["logprobs"] is None
        assert not asked & chunk["choices"][0].keys()


@pytest.mark.parametrize("kind", FORMS)
def test_an_end_tells_what_belongs_to_it(
    tokenizer: Tokenizer, prompt: Prompt, kind: type[AnswerForm]
) -> None:
    form = make(kind, tokenizer)
    end: dict[str, Any] = {
        "stop_reason": "é\n",
        "state": "sealed",
        "guided": [{"choice": "a", "share": 1.0}],
    }
    told = {"stop_reason": "é\n", "state": "sealed", "guided_choice": end["guided"]}
    choice = form.answer([finished(prompt, **end)], USAGE)["choices"][0]
    assert told.items() <= choice.items()
    *before, last = read(form.chunk(Piece(0, " the", (), "stop", **end)))
    assert told.items() <= last["choices"][0].items()
    assert all(not told.keys() & chunk["choices"][0].keys() for chunk in before)
    (open_one,) = read(form.chunk(Piece(0, " the", **end)))
    assert not told.keys() & open_one["choices"][0].keys()


@pytest.mark.parametrize("kind", FORMS)
def test_ids_stand_beside_the_text(
    tokenizer: Tokenizer, prompt: Prompt, tokens: list[ListedToken], kind: type[AnswerForm]
) -> None:
    form = make(kind, tokenizer, with_ids=True)
    assert form.lists_tokens
    ids = [token.id for token in tokens]
    whole = form.answer([finished(prompt, tokens)], USAGE)
    assert whole["choices"][0]["token_ids"] == ids
    place = whole["choices"][0] if kind is CompletionForm else whole
    assert place["prompt_token_ids"] == list(prompt.ids)
    assert read(form.chunk(Piece(0, " the the", tokens)))[0]["choices"][0]["token_ids"] == ids
    firsts = [read(form.opening(index, prompt, None))[0] for index in (0, 1)]
    if kind is CompletionForm:
        told = [first["choices"][0].get("prompt_token_ids") for first in firsts]
        assert told == [list(prompt.ids)] * 2
    else:  # once an answer
        assert [first.get("prompt_token_ids") for first in firsts] == [list(prompt.ids), None]


def test_an_echoed_prompt_moves_the_offsets(
    tokenizer: Tokenizer, prompt: Prompt, tokens: list[ListedToken]
) -> None:
    form = make(CompletionForm, tokenizer, echo=True, lists=True)
    (first,) = read(form.opening(0, prompt, None))
    assert first["choices"][0]["text"] == "the cat"
    (chunk,) = read(form.chunk(Piece(0, " the the", tokens)))
    assert chunk["choices"][0]["logprobs"]["text_offset"] == [7, 11]
    choice = form.choice(finished(prompt, tokens))
    assert choice["text"] == "the cat the the"
    assert choice["logprobs"]["text_offset"] == [7, 11]
    plain = make(CompletionForm, tokenizer, lists=True)
    assert plain.opening(0, prompt, None) == b""
    assert plain.choice(finished(prompt, tokens))["logprobs"]["text_offset"] == [0, 4]


def test_the_deltas_of_a_chat(
    tokenizer: Tokenizer, prompt: Prompt, tokens: list[ListedToken]
) -> None:
    form = make(ChatForm, tokenizer, lists=True)
    stream = form.opening(0, prompt, None) + form.chunk(Piece(0, " the the", tokens, "stop"))
    choices = [chunk["choices"][0] for chunk in read(stream)]
    assert [choice["delta"] for choice in choices] == [
        {"role": "assistant", "content": ""},
        {"content": " the the"},
        {},
    ]
    assert [entry["logprob"] for entry in choices[1]["logprobs"]["content"]] == [-1.5, -1.5]
    assert form.chunk(Piece(0)) == b""


def test_a_probability_of_nothing_is_null_in_a_chunk(
    tokenizer: Tokenizer, tokens: list[ListedToken]
) -> None:
    tokens[0].logprob = float("-inf")
    for kind in FORMS:
        form = make(kind, tokenizer, lists=True)
        assert b"Infinity" not in form.chunk(Piece(0, " the the", tokens))
        assert read(form.chunk(Piece(0, " the the", tokens)))
