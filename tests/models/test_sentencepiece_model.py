"""Learning a SentencePiece model, and taking one in from a file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sentencepiece as spm

from models.pretokenize import SPACE_SIGN
from models.tokenizer import Tokenizer
from tests.models.small_corpus import CORPUS, VOCAB_SIZE


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return Tokenizer.train(CORPUS, vocab_size=VOCAB_SIZE, model_type=request.param)


@pytest.mark.parametrize("options", [{}, {"max_sentences": 101}, {"model_type": "bpe"}])
def test_training_is_reproducible_and_quiet(
    options: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    lines = [f"{line} {number}" for number in range(20) for line in CORPUS]
    first, second = (Tokenizer.train(lines, vocab_size=330, **options) for _ in range(2))
    assert first.model_bytes == second.model_bytes
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_a_vocabulary_too_large_for_the_corpus_is_refused_with_its_limit(model_type: Any) -> None:
    with pytest.raises(ValueError, match=r"vocab_size: 50000 is too large .* at most \d+") as error:
        Tokenizer.train(CORPUS, vocab_size=50_000, model_type=model_type)
    limit = int(str(error.value).rsplit(" ", 1)[1])
    assert Tokenizer.train(CORPUS, vocab_size=limit, model_type=model_type).vocab_size == limit


def test_a_vocabulary_too_small_is_refused_with_what_it_needs() -> None:
    with pytest.raises(ValueError, match=r"vocab_size: 270 is too small; .* at least \d+"):
        Tokenizer.train(CORPUS, vocab_size=270)


@pytest.mark.parametrize("lines", [[], [""], ["\n", ""]])
def test_an_empty_corpus_is_refused(lines: list[str]) -> None:
    with pytest.raises(ValueError, match="the corpus is empty"):
        Tokenizer.train(lines, vocab_size=300)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab_size": 0}, "vocab_size: 0 is not positive"),
        ({"max_sentences": 100}, r"max_sentences: 100 is neither 0 \(all\) nor more than 100"),
        ({"character_coverage": 0.0}, r"character_coverage: 0.0 is not in \(0, 1\]"),
        ({"model_type": "word"}, "model_type: 'word' is none of unigram, bpe"),
        ({"normalizer": "NFC"}, "normalizer: 'NFC' is none of identity, "),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tokenizer.train(CORPUS, **{"vocab_size": 300, **options})


def test_a_surrogate_in_the_corpus_is_located() -> None:
    with pytest.raises(ValueError, match=r"line 3: lone surrogate U\+D800 at character 1"):
        Tokenizer.train([*CORPUS[:2], "a\ud800"], vocab_size=300)


@pytest.mark.parametrize("error", [OSError("the disk is gone"), KeyboardInterrupt()])
def test_what_reading_the_corpus_raises_passes_through(error: BaseException) -> None:
    def lines() -> Iterator[str]:
        yield from CORPUS
        raise error

    with pytest.raises(type(error)) as raised:
        Tokenizer.train(lines(), vocab_size=300)
    assert raised.value is error


@pytest.mark.parametrize(
    "line", ["the \u2585 cat", "the \0 cat", "the\tcat", f"the{SPACE_SIGN}cat"]
)
def test_no_line_is_lost_from_training(line: str) -> None:
    learned = Tokenizer.train([line + "\n"] * 20, vocab_size=270, character_coverage=1.0)
    assert learned.piece_to_id("a") is not None


def test_one_long_line_with_hardly_a_space_is_enough() -> None:
    learned = Tokenizer.train(["日本語漢字試験" * 1000], vocab_size=271)
    assert learned.decode(learned.encode(" 日 本")) == " 日 本"
    assert learned.piece_to_id("漢") is not None


def test_split_digits_gives_each_digit_a_token() -> None:
    learned = Tokenizer.train(CORPUS, vocab_size=330, split_digits=True)
    digits = learned.encode("18871902")
    assert [learned.token_bytes(token_id) for token_id in digits[-8:]] == [
        *(b"1", b"8", b"8", b"7", b"1", b"9", b"0", b"2"),
    ]


def foreign_model(**options: Any) -> bytes:
    """A model as SentencePiece makes it by default, except for `options`."""
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=model,
        minloglevel=2,
        **{"vocab_size": 330, "byte_fallback": True, "hard_vocab_limit": False, **options},
    )
    return model.getvalue()


def test_a_saved_model_is_the_same_tokenizer(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    tokenizer.save(path)
    loaded = Tokenizer.from_file(path)
    assert loaded.model_bytes == tokenizer.model_bytes == path.read_bytes()
    assert loaded.encode("\n".join(CORPUS)) == tokenizer.encode("\n".join(CORPUS))


def test_a_foreign_model_loses_its_space_switches() -> None:
    foreign = Tokenizer.from_bytes(foreign_model(normalization_rule_name="identity"))
    text = "  the  cat \n <unk> the"  # the model's own <unk> is a control, not this text
    assert foreign.decode(foreign.encode(text)) == text
    assert [foreign.token_bytes(token_id) for token_id in foreign.encode("cat")] == [b" cat"]
    again = Tokenizer.from_bytes(foreign.model_bytes)
    assert again.model_bytes == foreign.model_bytes
    assert again.encode(text) == foreign.encode(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"byte_fallback": False}, "byte_fallback is off"),
        ({"bos_id": -1}, "no bos control piece"),
        ({"eos_id": -1}, "no eos control piece"),
        ({"model_type": "char"}, "model_type must be unigram or bpe"),
        ({"treat_whitespace_as_suffix": True}, "treat_whitespace_as_suffix must be off"),
    ],
)
def test_unfit_models_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_bytes(foreign_model(**options))


def test_damaged_files_are_refused_by_name(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    for content in (b"", b"no model", tokenizer.model_bytes[:-9], tokenizer.model_bytes[:4000]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"tokenizer\.model: tokenizer model: "):
            Tokenizer.from_file(path)
    with pytest.raises(FileNotFoundError):
        Tokenizer.from_file(tmp_path / "absent.model")
