"""The SentencePiece model under a `Tokenizer`: learning one, and refusing unsuitable ones.

A model is its serialized ModelProto, the content of a ``.model`` file.
"""

import io
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Literal, get_args

import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2

from models.pretokenize import SPACE_SIGN

BOS, EOS = "<s>", "</s>"
SYSTEM, USER, ASSISTANT, END = "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"
# SentencePiece calls it "<unk>" by default, which corpora such as WikiText contain as a word.
UNKNOWN = "<|unknown|>"

ModelType = Literal["unigram", "bpe"]
Normalizer = Literal["identity", "nfkc", "nmt_nfkc", "nfkc_cf"]

_SURROGATE = re.compile("[\ud800-\udfff]")
# SentencePiece's trainer keeps this character for itself and drops every sentence that holds it.
_RESERVED_IN_TRAINING = "\u2585"


def train_model(
    lines: Iterable[str],
    *,
    vocab_size: int,
    model_type: ModelType,
    character_coverage: float,
    normalizer: Normalizer,
    split_digits: bool,
    seed_sentencepiece_size: int,
    max_sentences: int,
    num_threads: int,
) -> bytes:
    """A model learnt from `lines`; parameters and errors as in `Tokenizer.train`.

    What `lines` raises while it is read passes through unchanged.
    """
    _check_options(
        vocab_size=vocab_size,
        model_type=model_type,
        character_coverage=character_coverage,
        normalizer=normalizer,
        max_sentences=max_sentences,
    )
    failures: list[BaseException] = []
    sentences = _remember_failure(_sentences(lines), failures)
    first = next(sentences, None)
    if first is None:
        raise ValueError("lines: the corpus is empty: no line holds a character")
    model = io.BytesIO()
    try:
        spm.SentencePieceTrainer.train(
            sentence_iterator=chain((first,), sentences),
            model_writer=model,
            model_type=model_type,
            vocab_size=vocab_size,
            character_coverage=character_coverage,
            required_chars=SPACE_SIGN,
            byte_fallback=True,
            split_digits=split_digits,
            split_by_whitespace=True,
            seed_sentencepiece_size=seed_sentencepiece_size,
            input_sentence_size=max_sentences,
            max_sentence_length=1 << 30,  # longer sentences would be left out
            num_threads=num_threads,
            normalization_rule_name=normalizer,
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            unk_piece=UNKNOWN,
            bos_piece=BOS,
            eos_piece=EOS,
            control_symbols=[SYSTEM, USER, ASSISTANT, END],
            minloglevel=2,
        )
    except RuntimeError as error:
        if failures:
            raise failures[0] from None
        raise _training_error(error, vocab_size) from error
    return model.getvalue()


def load_model(model_bytes: bytes) -> tuple[bytes, spm.SentencePieceProcessor, str]:
    """(model, its processor, the name of its normaliser) for a model fit for a `Tokenizer`.

    The switches that add or remove spaces are turned off in the model that is returned; the bytes
    of one that has them off already are returned as they are. Raises ValueError for bytes that
    are no model, and for a model that would lose text or let text spell a control token.
    """
    proto = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    try:
        proto.ParseFromString(model_bytes)
    except Exception as error:  # protobuf's DecodeError; protobuf has no type stubs here
        raise ValueError(f"tokenizer model: not a SentencePiece model ({error})") from error
    if not proto.pieces:
        raise ValueError("tokenizer model: not a SentencePiece model (it has no pieces)")
    _check_trainer_spec(proto.trainer_spec)
    spec = proto.normalizer_spec
    if spec.add_dummy_prefix or spec.remove_extra_whitespaces or not spec.escape_whitespaces:
        spec.add_dummy_prefix = spec.remove_extra_whitespaces = False
        spec.escape_whitespaces = True
        model_bytes = proto.SerializeToString(deterministic=True)
    try:
        processor = spm.SentencePieceProcessor(model_proto=model_bytes)
    except RuntimeError as error:
        raise ValueError(f"tokenizer model: SentencePiece refuses it ({error})") from error
    _check_pieces(processor)
    normalizer = (spec.name or "custom") if spec.precompiled_charsmap else "identity"
    return model_bytes, processor, normalizer


def surrogate_error(field: str, text: str) -> ValueError:
    """The error for a `text` that holds a lone surrogate, which no UTF-8 can spell."""
    found = _SURROGATE.search(text)
    assert found is not None, "the text has no lone surrogate"
    return ValueError(
        f"{field}: lone surrogate U+{ord(found[0]):04X} at character {found.start()}; "
        "a text must be valid Unicode"
    )


def _check_trainer_spec(spec: Any) -> None:
    if not spec.byte_fallback:
        raise ValueError("tokenizer model: byte_fallback is off, so it cannot spell every text")
    if spec.model_type not in (spec.UNIGRAM, spec.BPE):
        raise ValueError("tokenizer model: model_type must be unigram or bpe")
    if spec.treat_whitespace_as_suffix:
        raise ValueError("tokenizer model: treat_whitespace_as_suffix must be off")


def _check_pieces(processor: spm.SentencePieceProcessor) -> None:
    for name, token_id in (("bos", processor.bos_id()), ("eos", processor.eos_id())):
        if token_id < 0:
            raise ValueError(f"tokenizer model: it has no {name} control piece")
    if processor.is_unknown(processor.piece_to_id(SPACE_SIGN)):
        raise ValueError(f"tokenizer model: it has no piece for a single space ({SPACE_SIGN!r})")


def _check_options(
    *,
    vocab_size: int,
    model_type: str,
    character_coverage: float,
    normalizer: str,
    max_sentences: int,
) -> None:
    if vocab_size < 1:
        raise ValueError(f"vocab_size: {vocab_size} is not positive")
    if 0 != max_sentences <= 100:  # SentencePiece's own limit
        raise ValueError(f"max_sentences: {max_sentences} is neither 0 (all) nor more than 100")
    if not 0 < character_coverage <= 1:
        raise ValueError(f"character_coverage: {character_coverage} is not in (0, 1]")
    for field, value, allowed in (
        ("model_type", model_type, get_args(ModelType)),
        ("normalizer", normalizer, get_args(Normalizer)),
    ):
        if value not in allowed:
            raise ValueError(f"{field}: {value!r} is none of {', '.join(allowed)}")


def _sentences(lines: Iterable[str]) -> Iterator[str]:
    """The non-empty lines, each with the dummy space that it has when it is encoded."""
    for number, line in enumerate(lines, start=1):
        if _SURROGATE.search(line):
            raise surrogate_error(f"lines, line {number}", line)
        for part in line.replace(_RESERVED_IN_TRAINING, " ").split("\n"):
            if part:
                yield " " + part


def _remember_failure(sentences: Iterator[str], failures: list[BaseException]) -> Iterator[str]:
    """`sentences`; keeps the exception that SentencePiece would turn into a RuntimeError."""
    try:
        yield from sentences
    except BaseException as error:
        failures.append(error)
        raise


def _training_error(error: RuntimeError, vocab_size: int) -> ValueError:
    """SentencePiece's refusal in this package's words; it knows the limit of the corpus."""
    message = str(error)
    if limit := re.search(r"value <= (\d+)", message):
        return ValueError(
            f"vocab_size: {vocab_size} is too large for this corpus; at most {limit[1]}"
        )
    if needed := re.search(r"required_chars\. \d+ vs (\d+)", message):
        return ValueError(
            f"vocab_size: {vocab_size} is too small; the bytes, control tokens and characters of "
            f"this corpus need at least {needed[1]}, or lower character_coverage"
        )
    return ValueError(f"SentencePiece cannot train: {message}")
