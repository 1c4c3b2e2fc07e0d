"""Tokens and their log-probabilities in the OpenAI forms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from models.tokenizer import Tokenizer
from service.api.openai.logprobs import LogprobsForm, listed_prompt, prompt_logprobs
from service.engine.request import PromptOutput
from service.text.generated_text import ListedToken, token_bytes_in_place, token_name
from service.text.history import begin, build_prompt

Ids = Callable[[str], int]


@pytest.fixture
def form(tokenizer: Tokenizer) -> LogprobsForm:
    return LogprobsForm(tokenizer=tokenizer, num_top=2, as_ids=False)


@pytest.fixture
def ids(tokenizer: Tokenizer) -> Ids:
    def find(piece: str) -> int:
        token_id = tokenizer.piece_to_id(piece)
        assert token_id is not None
        return token_id

    return find


def test_names_are_the_text_in_its_place(tokenizer: Tokenizer, ids: Ids) -> None:
    assert token_name(tokenizer, ids("▁the"), line_start=False) == " the"
    assert token_name(tokenizer, ids("▁the"), line_start=True) == "the"
    assert token_name(tokenizer, ids("<0x0A>"), line_start=False) == "\n"
    assert token_name(tokenizer, ids("<0xE2>"), line_start=False) == "bytes:\\xe2"
    assert token_name(tokenizer, ids("<|user|>"), line_start=True) == "<|user|>"


def test_names_tell_tokens_apart(tokenizer: Tokenizer) -> None:
    names = {token_name(tokenizer, i, line_start=False) for i in range(tokenizer.vocab_size)}
    assert len(names) == tokenizer.vocab_size


def test_bytes_in_place(tokenizer: Tokenizer, ids: Ids) -> None:
    assert token_bytes_in_place(tokenizer, ids("▁the"), line_start=False) == list(b" the")
    assert token_bytes_in_place(tokenizer, ids("▁the"), line_start=True) == list(b"the")
    assert token_bytes_in_place(tokenizer, ids("</s>"), line_start=True) is None


def listed(
    token_id: int, top: tuple[tuple[int, float], ...], *, line_start: bool = False
) -> ListedToken:
    return ListedToken(
        id=token_id, logprob=-2.0, top=top, offset=3, text=" the", line_start=line_start
    )


def test_the_token_is_always_among_the_alternatives(form: LogprobsForm, ids: Ids) -> None:
    top = ((ids("▁w"), -0.5), (ids("w"), -1.0))
    answer = form.completion([listed(ids("▁the"), top)], shift=4)
    assert answer["tokens"] == [" the"]
    assert answer["token_logprobs"] == [-2.0]
    assert answer["text_offset"] == [7]
    (named,) = answer["top_logprobs"]
    assert len(named) == 3
    assert named[" the"] == -2.0


def test_alternatives_that_are_spelled_alike_are_all_there(form: LogprobsForm, ids: Ids) -> None:
    spaced, bare = ids("▁w"), ids("w")
    answer = form.completion([listed(bare, ((spaced, -1.0), (bare, -2.0)), line_start=True)])
    (named,) = answer["top_logprobs"]
    assert named == {"w": -2.0, f"token_id:{spaced}": -1.0}


def test_tokens_as_ids(tokenizer: Tokenizer) -> None:
    form = LogprobsForm(tokenizer=tokenizer, num_top=1, as_ids=True)
    answer = form.completion([listed(20, ((21, -1.0),))])
    assert answer["tokens"] == ["token_id:20"]
    assert answer["top_logprobs"] == [{"token_id:21": -1.0, "token_id:20": -2.0}]
    assert form.chat([listed(20, ())])["content"][0]["token"] == "token_id:20"


def test_chat_form(form: LogprobsForm, ids: Ids) -> None:
    answer = form.chat([listed(ids("▁the"), ((ids("</s>"), -0.5), (20, -1.0), (21, -3.0)))])
    assert answer["refusal"] is None
    (entry,) = answer["content"]
    assert (entry["token"], entry["logprob"], entry["bytes"]) == (" the", -2.0, list(b" the"))
    assert [top["logprob"] for top in entry["top_logprobs"]] == [-0.5, -1.0]
    assert entry["top_logprobs"][0]["bytes"] is None


def test_what_a_stop_string_cuts_off_is_in_no_name(form: LogprobsForm, ids: Ids) -> None:
    token = listed(ids("▁the"), ())
    token.text, token.is_cut = " t", True
    assert form.completion([token])["tokens"] == [" t"]
    assert form.completion([token])["top_logprobs"] == [{" t": -2.0}]
    assert form.chat([token])["content"][0]["bytes"] == list(b" t")


def test_prompt_tokens(tokenizer: Tokenizer) -> None:
    prompt = build_prompt(begin(tokenizer, bos=True), "the cat\nте", eos=False)
    count = len(prompt.ids)
    top = tuple(((30, -0.25), (31, -0.5)) if k else () for k in range(count))
    scores = np.array([np.nan, *(-1.0 - k for k in range(count - 1))], np.float32)
    output = PromptOutput(index=0, logprobs=scores, top=top)
    tokens = listed_prompt(prompt, output)
    assert [token.id for token in tokens] == list(prompt.ids[1:])
    assert "".join(token.text for token in tokens) == "the cat\nте"
    assert tokens[0].line_start
    assert tokens[0].logprob == -1.0

    entries = prompt_logprobs(prompt, output, num_top=1)
    assert len(entries) == count - 1
    first = entries[0]
    assert first is not None
    assert first["30"] == {
        "logprob": -0.25,
        "rank": 1,
        "decoded_token": token_name(tokenizer, 30, line_start=True),
    }
    own = first[str(prompt.ids[1])]
    assert (own["logprob"], own["rank"]) == (-1.0, None)


def test_without_bos_the_first_token_has_no_score(tokenizer: Tokenizer) -> None:
    prompt = build_prompt(begin(tokenizer, bos=False), "the cat", eos=False)
    scores = np.array([np.nan, *[-1.0] * (len(prompt.ids) - 1)], np.float32)
    output = PromptOutput(index=0, logprobs=scores)
    assert listed_prompt(prompt, output)[0].logprob is None
    assert prompt_logprobs(prompt, output, num_top=0)[0] is None
