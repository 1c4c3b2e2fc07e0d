"""A continuation's text and tokens do not depend on when they are taken."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from models.tokenizer import Tokenizer
from service.engine.request import TokenOutput
from service.text.generated_text import Continuation, ListedToken, TextRules, token_name
from service.text.stop_strings import StopStrings
from tests.service.conftest import CORPUS
from tests.service.text.test_stop_strings import naive

TOKENIZER = Tokenizer.train(CORPUS * 4, vocab_size=360, character_coverage=1.0)
# Ordinary pieces, bytes (mostly no UTF-8 together) and control tokens in any order.
IDS = st.lists(st.integers(0, TOKENIZER.vocab_size - 1), max_size=25)
STOPS = st.lists(st.sampled_from([" ", "\n", "e", "at", "th", "�", "он", " c", "o\n"]), max_size=4)


def outputs(ids: list[int], reason: str | None = "length") -> list[TokenOutput]:
    return [
        TokenOutput(
            prompt=0,
            sample=0,
            token_id=token_id,
            logprob=-1.0 - position,
            finish_reason=reason if position == len(ids) - 1 else None,  # type: ignore[arg-type]
        )
        for position, token_id in enumerate(ids)
    ]


def continuation(
    *, stops: list[str], min_tokens: int = 0, in_line: bool = True, list_tokens: bool = True
) -> Continuation:
    rules = TextRules(
        tokenizer=TOKENIZER,
        stops=StopStrings(stops) if stops else None,
        min_tokens=min_tokens,
        list_tokens=list_tokens,
    )
    return Continuation(rules, in_line=in_line)


def run(ids: list[int], *, at_end_only: bool, **rules: Any) -> tuple[str, list[ListedToken], int]:
    grown = continuation(**rules)
    texts, tokens = [], []
    for output in outputs(ids):
        grown.push(output)
        if not at_end_only:
            text, new = grown.take()
            texts.append(text)
            tokens += new
    text, new = grown.take()
    return "".join([*texts, text]), tokens + new, grown.num_tokens


@given(IDS, STOPS, st.integers(0, 5), st.booleans())
def test_taken_in_steps_or_at_once_is_the_same(
    ids: list[int], stops: list[str], min_tokens: int, in_line: bool
) -> None:
    rules = {"stops": stops, "min_tokens": min_tokens, "in_line": in_line}
    assert run(ids, at_end_only=False, **rules) == run(ids, at_end_only=True, **rules)


@given(IDS, STOPS, st.booleans())
def test_the_text_is_that_of_the_ids_up_to_the_first_stop_string(
    ids: list[int], stops: list[str], in_line: bool
) -> None:
    text, _, _ = run(ids, at_end_only=False, stops=stops, in_line=in_line)
    assert text == naive(TOKENIZER.decode(ids, continuation=in_line), stops)[0]


@given(IDS, STOPS)
def test_listed_tokens_tile_the_text(ids: list[int], stops: list[str]) -> None:
    text, tokens, _ = run(ids, at_end_only=False, stops=stops)
    end = 0
    for token in tokens:
        assert set(text[end : token.offset]) <= {"\ufffd"}
        end = token.offset + len(token.text)
        assert text[token.offset : end] == token.text
    assert set(text[end:]) <= {"\ufffd"}
    assert [token.id for token in tokens] == ids[: len(tokens)]


@given(IDS)
def test_a_token_is_where_it_is_spelled(ids: list[int]) -> None:
    text, tokens, _ = run(ids, at_end_only=True, stops=[])
    for token in tokens:
        name = token_name(TOKENIZER, token.id, line_start=token.line_start)
        if TOKENIZER.is_control(token.id):
            assert token.text == ""
        elif not name.startswith("bytes:"):
            assert text[token.offset :].startswith(name)
            assert token.text == name


@given(IDS)
def test_without_stop_strings_every_token_is_listed(ids: list[int]) -> None:
    _, tokens, count = run(ids, at_end_only=True, stops=[])
    assert [token.id for token in tokens] == ids
    assert count == len(ids)


def test_tokens_that_were_on_their_way_do_not_count() -> None:
    grown = continuation(stops=["cat"])
    ids = TOKENIZER.encode("the cat sat on the mat")
    asked = [grown.push(output) for output in outputs(ids)]
    assert asked.count(True) == 1
    assert grown.num_tokens == asked.index(True) + 1
    assert grown.finish_reason == "stop"
    assert grown.take()[0] == " the "


def test_the_engine_need_not_end_what_has_ended_by_itself() -> None:
    grown = continuation(stops=["cat"])
    assert not any(grown.push(output) for output in outputs(TOKENIZER.encode("cat")))
    assert grown.finish_reason == "stop"


def test_stop_strings_wait_for_min_tokens() -> None:
    ids = TOKENIZER.encode("the cat the cat the")
    min_tokens = len(TOKENIZER.encode("the cat the"))
    text, _, _ = run(ids, at_end_only=True, stops=["cat"], min_tokens=min_tokens, in_line=False)
    assert text == "the cat the "


def test_mean_logprob() -> None:
    grown = continuation(stops=[], list_tokens=False)
    assert grown.mean_logprob == 0
    for output in outputs([9, 10, 11]):
        grown.push(output)
    assert grown.mean_logprob == -2.0
