from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.tokenizer import Tokenizer
from service.text.history import History, begin, build_prompt

ALPHABET = "ab thecsot\n  ▁é🙂Кш\t\0-"
texts = st.text(ALPHABET, max_size=60) | st.text(st.characters(exclude_categories=["Cs"]))
cuts = st.lists(texts, min_size=1, max_size=4)


@pytest.fixture(scope="module")
def start(tokenizer: Tokenizer) -> History:
    return begin(tokenizer, bos=True)


def grown(start: History, parts: Sequence[str]) -> History:
    for part in parts:
        start = start.with_text(part)
    return start


@given(cuts)
@example(["the c", "at", " ", "sat\n", "x"])
@example(["a" * 31, "a" * 40, " b"])
def test_a_history_does_not_depend_on_where_it_was_cut(start: History, parts: list[str]) -> None:
    whole = start.with_text("".join(parts))
    assert grown(start, parts) == whole
    assert whole.tokens()[1:] == tuple(start.tokenizer.encode("".join(parts)))


@given(cuts)
def test_pending_text_is_bounded_and_the_rest_is_final(start: History, parts: list[str]) -> None:
    history = grown(start, parts)
    assert len(history.pending) <= 33
    later = history.with_text("ing\n🙂 word")
    assert later.ids[: len(history.ids)] == history.ids


@given(texts, texts)
def test_control_tokens_separate(start: History, before: str, after: str) -> None:
    tokenizer = start.tokenizer
    role = tokenizer.control_ids["<|user|>"]
    history = start.with_text(before).with_control(role).with_text(after)
    expected = (*tokenizer.encode(before), role, *tokenizer.encode(after))
    assert history.tokens()[1:] == expected


@given(cuts)
def test_ids_of_a_text_are_the_text(start: History, parts: list[str]) -> None:
    tokenizer = start.tokenizer
    text = "".join(parts)
    assert start.with_ids(tokenizer.encode(text)) == start.with_text(text)
    mixed = [*tokenizer.encode(parts[0]), tokenizer.control_ids["<|end|>"]]
    assert start.with_ids(mixed) == start.with_text(parts[0]).with_control(mixed[-1])


@given(cuts, st.sampled_from(["<s>", "<|user|>", "<|end|>"]), st.integers(1, 2))
def test_ids_with_control_tokens_among_them_grow_piece_by_piece(
    start: History, parts: list[str], piece: str, count: int
) -> None:
    tokenizer, control = start.tokenizer, start.tokenizer.control_ids[piece]
    history, ids = start.with_text("some wor"), list[int]()
    expected = history
    for part in parts:
        text = tokenizer.decode(tokenizer.encode(part), continuation=expected.in_line)
        expected = expected.with_text(text)
        ids += tokenizer.encode(part)
        for _ in range(count):
            expected = expected.with_control(control)
            ids.append(control)
    assert history.with_ids(ids) == expected


@given(texts, st.data())
def test_ids_are_brought_into_canonical_form(
    start: History, text: str, data: st.DataObject
) -> None:
    tokenizer = start.tokenizer
    some_ids = st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=8)
    ids = data.draw(some_ids)
    history = start.with_text(text).with_ids(ids)
    kept = [i for i in history.tokens()[1:] if tokenizer.is_control(i)]
    assert kept == [i for i in ids if tokenizer.is_control(i)]
    assert history == start.with_ids(history.tokens()[1:])


@given(texts, texts, st.booleans())
def test_a_prompt_is_the_whole_text(start: History, context: str, text: str, eos: bool) -> None:
    tokenizer = start.tokenizer
    prompt = build_prompt(start.with_text(context), text, eos=eos)
    whole = tokenizer.encode_with_offsets(context + text)
    assert prompt.ids == (tokenizer.bos_id, *whole.ids) + (tokenizer.eos_id,) * eos
    assert prompt.after == start.with_text(context + text)
    assert prompt.text == text
    # Tokens of the context end within it, those of the text after it. A dummy space before the
    # text's own line has no characters; it comes after the newline and so is the text's.
    ends = whole.ends[: prompt.first - 1]
    assert all(end <= len(context) for end in ends)
    later = zip(whole.ids[prompt.first - 1 :], whole.ends[prompt.first - 1 :], strict=True)
    for token_id, end in later:
        assert end > len(context) or tokenizer.token_bytes(token_id) == b" "


@given(texts, texts)
def test_chain_rule_of_tokens_at_line_borders(start: History, context: str, text: str) -> None:
    """After a line break nothing of the text can reach back: the context keeps all its tokens."""
    prompt = build_prompt(start.with_text(context + "\n"), text, eos=False)
    assert prompt.ids[: prompt.first] == start.with_text(context + "\n").tokens()


@given(texts, texts, st.booleans())
def test_offsets_tile_the_text(start: History, context: str, text: str, eos: bool) -> None:
    starts, ends = build_prompt(start.with_text(context), text, eos=eos).offsets()
    assert len(starts) == len(ends)
    if text:
        assert starts[0] == 0
        assert max(ends) == len(text)
        assert starts[1:] == ends[:-1]


@given(texts, texts, st.booleans())
def test_offsets_of_ids_are_those_of_their_text(
    start: History, context: str, text: str, eos: bool
) -> None:
    before = start.with_text(context + "\n")
    ids = start.tokenizer.encode(text)
    as_ids = build_prompt(before, ids, eos=eos)
    as_text = build_prompt(before, text, eos=eos)
    assert as_ids.ids == as_text.ids
    assert as_ids.offsets() == as_text.offsets()
    assert as_ids.text == text


@given(texts, texts)
def test_the_state_lies_on_the_way_of_a_text(start: History, context: str, text: str) -> None:
    prompt = build_prompt(start.with_text(context), text, eos=True)
    assert prompt.state_at == len(prompt.after.ids)
    assert prompt.ids[: prompt.state_at] == prompt.after.ids


def test_the_state_of_odd_ids_lies_elsewhere(start: History) -> None:
    tokenizer = start.tokenizer
    letters = [i for c in " the cat sat" for i in [tokenizer.piece_to_id(c.replace(" ", "▁"))] if i]
    prompt = build_prompt(start, letters, eos=False)
    assert prompt.text == "the cat sat"
    assert prompt.ids[1:] == tuple(letters) != tuple(tokenizer.encode("the cat sat"))
    assert prompt.state_at is None
    assert prompt.after == start.with_text("the cat sat")


def test_nothing_at_all_has_no_state_on_the_way(tokenizer: Tokenizer) -> None:
    prompt = build_prompt(begin(tokenizer, bos=False), "", eos=False)
    assert prompt.ids == ()
    assert prompt.state_at is None
