import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models import tokenizer as tokenizer_module
from models.pretokenize import MAX_WORD, SPACE_SIGN
from models.sentencepiece_model import (
    ASSISTANT,
    BOS,
    END,
    EOS,
    SYSTEM,
    UNKNOWN,
    USER,
    Normalizer,
)
from models.tokenizer import IncrementalDecoder, Tokenizer
from tests.models.small_corpus import CORPUS, VOCAB_SIZE


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return Tokenizer.train(CORPUS, vocab_size=VOCAB_SIZE, model_type=request.param)


@pytest.fixture(scope="module")
def nfkc() -> Tokenizer:
    return Tokenizer.train(CORPUS, vocab_size=VOCAB_SIZE, normalizer="nfkc")


CONTROL_SPELLINGS = [BOS, EOS, SYSTEM, USER, ASSISTANT, END, UNKNOWN]
FRAGMENTS = [
    *(" ", "  ", "\n", "\n\n", "\r\n", "\t", "\0", "\x1b", "\x85", "\u2028", "\u00a0", "\u200b"),
    *(SPACE_SIGN, "\u2047", "\u2585", "\ufeff", "\ufffd", "\U0010ffff", "é", "e\u0301", "日本語"),
    *("😀", "👩‍👩‍👧", "🇫🇷", "the", " cat", "The", "1887", "x" * 31, "y" * 32, "é" * 33),
    *("<unk>", "<0x0A>", "<0xE2>", "<pad>", *CONTROL_SPELLINGS),
]
TEXTS = st.one_of(
    st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join),
    st.text(max_size=50),
    st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=4)), max_size=8).map("".join),
)


# --- text is text ------------------------------------------------------------------------------


@given(text=TEXTS, continuation=st.booleans())
@example(text=SPACE_SIGN, continuation=False)
@example(text=f" {SPACE_SIGN} \n {SPACE_SIGN}", continuation=True)
@example(text="\n \n", continuation=False)
def test_decode_inverts_encode(tokenizer: Tokenizer, text: str, continuation: bool) -> None:
    ids = tokenizer.encode(text, continuation=continuation)
    assert tokenizer.decode(ids, continuation=continuation) == text


def test_every_character_of_every_plane_survives(tokenizer: Tokenizer) -> None:
    for start in range(0, 0x110000, 0x400):
        if not 0xD800 <= start < 0xE000:
            text = "".join(map(chr, range(start, start + 0x400)))
            assert tokenizer.decode(tokenizer.encode(text)) == text


@given(text=TEXTS)
def test_no_text_encodes_to_a_control_token(tokenizer: Tokenizer, text: str) -> None:
    for spelled in (text, *CONTROL_SPELLINGS, text + USER, f"{END}{text}"):
        for continuation in (False, True):
            ids = tokenizer.encode(spelled, continuation=continuation)
            assert not any(tokenizer.is_control(token_id) for token_id in ids)


def test_text_that_spells_a_byte_piece_is_not_that_byte(tokenizer: Tokenizer) -> None:
    assert tokenizer.newline_id not in tokenizer.encode("<0x0A>")
    assert tokenizer.encode("\n") == [tokenizer.newline_id]
    assert tokenizer.token_bytes(tokenizer.newline_id) == b"\n"


def test_the_space_sign_is_told_from_a_space(tokenizer: Tokenizer) -> None:
    sign = [tokenizer.piece_to_id(piece) for piece in ("<0xE2>", "<0x96>", "<0x81>")]
    assert tokenizer.encode(SPACE_SIGN, continuation=True) == sign
    assert tokenizer.encode(" ", continuation=True) == [tokenizer.piece_to_id(SPACE_SIGN)]


def test_the_first_word_of_a_line_is_the_word_inside_one(tokenizer: Tokenizer) -> None:
    cat = tokenizer.piece_to_id("▁cat")
    assert cat is not None
    assert tokenizer.encode("cat\ncat cat") == [cat, tokenizer.newline_id, cat, cat]
    assert tokenizer.encode("\n\n") == [tokenizer.newline_id] * 2
    assert tokenizer.encode("") == []
    assert tokenizer.encode("cat", continuation=True)[0] != cat


def test_lone_surrogates_are_refused(tokenizer: Tokenizer) -> None:
    for encode in (tokenizer.encode, tokenizer.encode_with_offsets):
        with pytest.raises(ValueError, match=r"text: lone surrogate U\+DC80 at character 4"):
            encode("the \udc80")


def test_the_cache_is_bounded_and_changes_nothing(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer_module, "_CACHED_CHUNKS", 4)
    fresh = Tokenizer.from_bytes(tokenizer.model_bytes)
    text = "\n".join([*CORPUS, "😀" * MAX_WORD])
    assert fresh.encode(text) == tokenizer.encode(text)
    assert len(fresh._cache) <= 4
    assert all(len(ids) <= 16 for ids in fresh._cache.values())


# --- offsets -----------------------------------------------------------------------------------


def assert_tiles(spans: list[tuple[int, int]], length: int) -> None:
    assert [start for start, _ in spans] == [0, *(end for _, end in spans[:-1])]
    assert all(start <= end for start, end in spans)
    assert spans[-1][1] == length


@given(text=TEXTS, continuation=st.booleans())
def test_offsets_tile_the_text_and_cut_it_at_the_tokens(
    tokenizer: Tokenizer, text: str, continuation: bool
) -> None:
    encoding = tokenizer.encode_with_offsets(text, continuation=continuation)
    assert encoding.ids == tokenizer.encode(text, continuation=continuation)
    spans = list(zip(encoding.starts, encoding.ends, strict=True))
    if not text:
        assert spans == []
        return
    assert_tiles(spans, len(text))
    at_line_start = not continuation
    for token_id, (start, end) in zip(encoding.ids, spans, strict=True):
        covered = text[start:end].encode()
        if tokenizer.is_byte(token_id):
            assert covered.startswith(tokenizer.token_bytes(token_id)) or not covered
        else:
            assert b" " * at_line_start + covered == tokenizer.token_bytes(token_id)
        at_line_start = token_id == tokenizer.newline_id


def test_offsets_by_hand(tokenizer: Tokenizer) -> None:
    words = tokenizer.encode_with_offsets("cat dog")
    assert [tokenizer.piece(token_id) for token_id in words.ids] == ["▁cat", "▁dog"]
    assert (words.starts, words.ends) == ([0, 3], [3, 7])
    # The dummy space spans nothing, the emoji's four bytes span one character.
    emoji = tokenizer.encode_with_offsets("😀\ncat")
    assert (emoji.starts, emoji.ends) == ([0, 0, 1, 1, 1, 1, 2], [0, 1, 1, 1, 1, 2, 5])


# --- decoding ----------------------------------------------------------------------------------


@st.composite
def sampled_ids(draw: st.DrawFn) -> list[int]:
    """What a model may sample: bytes and controls often, anything else too."""
    low = st.integers(0, len(CONTROL_SPELLINGS) - 1)
    token_bytes = st.integers(len(CONTROL_SPELLINGS), len(CONTROL_SPELLINGS) + 255)
    return draw(st.lists(st.one_of(low, token_bytes, st.integers(0, VOCAB_SIZE - 1))))


@given(ids=sampled_ids(), continuation=st.booleans())
def test_incremental_decoding_concatenates_to_decode(
    tokenizer: Tokenizer, ids: list[int], continuation: bool
) -> None:
    decoder = IncrementalDecoder(tokenizer, continuation)
    pushed = [decoder.push(token_id) for token_id in ids]
    whole = "".join(pushed) + decoder.flush()
    assert whole == tokenizer.decode(ids, continuation=continuation)


@given(text=TEXTS)
def test_incremental_decoding_emits_whole_characters_as_soon_as_possible(
    tokenizer: Tokenizer, text: str
) -> None:
    decoder = IncrementalDecoder(tokenizer)
    ids = tokenizer.encode(text)
    emitted = ""
    for count, token_id in enumerate(ids, start=1):
        emitted += decoder.push(token_id)
        assert text.startswith(emitted)
        # Only a character of which some bytes are missing is held back.
        assert tokenizer.decode(ids[:count]).removeprefix(emitted) in ("", "\ufffd")
    assert decoder.flush() == ""
    assert emitted == text


def test_controls_stand_for_no_text_and_start_a_line(tokenizer: Tokenizer) -> None:
    user, end = tokenizer.control_ids[USER], tokenizer.control_ids[END]
    turn = [tokenizer.bos_id, user, *tokenizer.encode("the cat"), end, *tokenizer.encode("the dog")]
    assert tokenizer.decode(turn) == "the catthe dog"
    assert tokenizer.decode(turn, skip_control=False) == f"{BOS}{USER}the cat{END}the dog"


def test_unfinished_characters_become_replacement_characters(tokenizer: Tokenizer) -> None:
    half = tokenizer.encode("é😀", continuation=True)[:-1]
    assert tokenizer.decode(half, continuation=True) == "é\ufffd"


@pytest.mark.parametrize("token_id", [-1, VOCAB_SIZE])
def test_ids_outside_the_vocabulary_are_refused(tokenizer: Tokenizer, token_id: int) -> None:
    message = rf"token id {token_id} is not in 0\.\.{VOCAB_SIZE - 1}"
    calls: list[Any] = [
        lambda: tokenizer.decode([token_id]),
        lambda: tokenizer.piece(token_id),
        lambda: tokenizer.token_bytes(token_id),
        lambda: tokenizer.is_control(token_id),
        lambda: tokenizer.is_byte(token_id),
        lambda: tokenizer.starts_line_after(token_id),
        lambda: IncrementalDecoder(tokenizer).push(token_id),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call()


# --- tables ------------------------------------------------------------------------------------


def test_tables_describe_the_vocabulary(tokenizer: Tokenizer) -> None:
    assert tokenizer.vocab_size == VOCAB_SIZE
    assert set(tokenizer.control_ids) == set(CONTROL_SPELLINGS)
    assert tokenizer.control_ids[BOS] == tokenizer.bos_id
    assert tokenizer.control_ids[EOS] == tokenizer.eos_id
    all_ids = range(tokenizer.vocab_size)
    bytes_spelled = [tokenizer.token_bytes(i) for i in all_ids if tokenizer.is_byte(i)]
    assert sorted(bytes_spelled) == [bytes([value]) for value in range(256)]
    for token_id in all_ids:
        piece = tokenizer.piece(token_id)
        assert tokenizer.piece_to_id(piece) == token_id
        if tokenizer.is_control(token_id):
            assert tokenizer.token_bytes(token_id) == b""
            assert tokenizer.control_ids[piece] == token_id
    assert tokenizer.piece_to_id("no such piece") is None


def test_begins_word_tells_where_a_word_has_ended(tokenizer: Tokenizer) -> None:
    assert tokenizer.begins_word.dtype == np.bool_
    assert tokenizer.begins_word.shape == (tokenizer.vocab_size,)
    for piece, begins in [("▁cat", True), ("<0x0A>", True), (END, True), ("<0x41>", False)]:
        assert tokenizer.begins_word[tokenizer.piece_to_id(piece)] == begins
    with pytest.raises(ValueError, match="read-only"):
        tokenizer.begins_word[0] = False


# --- seams ---------------------------------------------------------------------------------


@given(before=TEXTS, after=TEXTS, continuation=st.booleans())
@example(before="x" * 32, after="y", continuation=False)
@example(before="a ", after="\n", continuation=False)
@example(before="", after="the", continuation=True)
def test_a_cut_anywhere_changes_no_token(
    tokenizer: Tokenizer, before: str, after: str, continuation: bool
) -> None:
    final, pending = tokenizer.split_pending(before)
    assert final + pending == before
    line_start = tokenizer.line_start_after(final, continuation=continuation)
    assert tokenizer.encode(before + after, continuation=continuation) == (
        tokenizer.encode(final, continuation=continuation)
        + tokenizer.encode(pending + after, continuation=not line_start)
    )


@given(parts=st.lists(TEXTS, max_size=5))
def test_a_text_arriving_in_parts_is_the_text_sent_whole(
    tokenizer: Tokenizer, parts: list[str]
) -> None:
    ids: list[int] = []
    pending, line_start = "", True
    for part in parts:
        final, rest = tokenizer.split_pending(pending + part)
        ids += tokenizer.encode(final, continuation=not line_start)
        line_start = tokenizer.line_start_after(final, continuation=not line_start)
        pending = rest
    ids += tokenizer.encode(pending, continuation=not line_start)
    assert ids == tokenizer.encode("".join(parts))


# --- normalisers -------------------------------------------------------------------------------


@pytest.mark.parametrize("normalizer", get_args(Normalizer))
def test_the_declared_normalizer_is_kept_in_the_model(normalizer: Normalizer) -> None:
    learned = Tokenizer.train(CORPUS, vocab_size=330, normalizer=normalizer)
    assert Tokenizer.from_bytes(learned.model_bytes).normalizer == normalizer


def test_nfkc_normalises_and_keeps_offsets_of_the_original(nfkc: Tokenizer) -> None:
    assert nfkc.encode("the ﬁre") == nfkc.encode("the fire")
    assert nfkc.decode(nfkc.encode("the ﬁre")) == "the fire"
    encoding = nfkc.encode_with_offsets("ﬁre\ncat e\u0301")
    assert encoding.ids == nfkc.encode("fire\ncat é")
    assert_tiles(list(zip(encoding.starts, encoding.ends, strict=True)), 10)
    cat = [nfkc.piece(token_id) for token_id in encoding.ids].index("▁cat")
    assert (encoding.starts[cat], encoding.ends[cat]) == (4, 7)


@given(text=TEXTS, after=TEXTS, continuation=st.booleans())
def test_offsets_and_seams_hold_under_a_normaliser(
    nfkc: Tokenizer, text: str, after: str, continuation: bool
) -> None:
    encoding = nfkc.encode_with_offsets(text, continuation=continuation)
    assert encoding.ids == nfkc.encode(text, continuation=continuation)
    if encoding.ids:
        assert_tiles(list(zip(encoding.starts, encoding.ends, strict=True)), len(text))
    final, pending = nfkc.split_pending(text)
    line_start = nfkc.line_start_after(final, continuation=continuation)
    assert nfkc.encode(text + after, continuation=continuation) == (
        nfkc.encode(final, continuation=continuation)
        + nfkc.encode(pending + after, continuation=not line_start)
    )


def test_loading_a_tokenizer_does_not_import_torch() -> None:
    code = "import sys, models.tokenizer; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
