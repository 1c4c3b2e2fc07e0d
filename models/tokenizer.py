"""Tokenizer: text to token ids and back, without loss, over a SentencePiece model.

*Text is text.* Every string without lone surrogates survives encode and decode under the identity
normaliser, and no string encodes to a control token: text that spells ``<|user|>`` or ``<0x0A>``
is spelled out. Segmentation is final at the border of every chunk (see `models.pretokenize`).

SentencePiece (Kudo and Richardson, 2018, arXiv:1808.06226) sees one chunk at a time and only
segments it; spaces, newlines, dummy prefixes, offsets and decoding are handled here.
"""

import codecs
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2

from models import pretokenize
from models.pretokenize import SPACE_SIGN

BOS, EOS = "<s>", "</s>"
SYSTEM, USER, ASSISTANT, END = "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"
# SentencePiece calls it "<unk>" by default, which corpora such as WikiText contain as a word.
UNKNOWN = "<|unknown|>"

Normalizer = Literal["identity", "nfkc", "nmt_nfkc", "nfkc_cf"]
NORMALIZERS: tuple[Normalizer, ...] = ("identity", "nfkc", "nmt_nfkc", "nfkc_cf")

# About 15 MB of Python objects when full; English has fewer frequent words than this.
_CACHED_CHUNKS = 1 << 16

_SURROGATE = re.compile("[\ud800-\udfff]")
# SentencePiece drops a whole training sentence that contains one of these.
_UNTRAINABLE = re.compile("[\0\t\u2585]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """Token ids, each with the half-open range of characters of the input text it stands for.

    The spans tile the text: the first starts at 0, each starts where the one before it ends, the
    last ends at ``len(text)``. A span includes the space before its word. A dummy space at a
    line's start has no characters. Of a character spelled in bytes, the first byte's token spans
    the character and the others are empty spans at its end.
    """

    ids: list[int]
    starts: list[int]
    ends: list[int]


class _ChunkCache(dict[str, tuple[int, ...]]):
    """Chunk to token ids, filled on demand and emptied when full."""

    def __init__(
        self, processor: spm.SentencePieceProcessor, own: Mapping[str, tuple[int, ...]]
    ) -> None:
        super().__init__()
        self._processor = processor
        self._own = own

    def __missing__(self, chunk: str) -> tuple[int, ...]:
        ids = self._own.get(chunk)
        if ids is None:
            ids = tuple(self._processor.encode(chunk.encode("utf-8"), out_type=int))
        if len(self) >= _CACHED_CHUNKS:
            self.clear()
        self[chunk] = ids
        return ids


class Tokenizer:
    """Immutable and safe to share between threads. See `train`, `from_file` and `from_bytes`."""

    def __init__(self, model_bytes: bytes) -> None:
        """Load a serialized SentencePiece ModelProto.

        The switches that would add or remove spaces are turned off. Raises ValueError for bytes
        that are no such model and for a model that cannot keep the promises of this class.
        """
        proto = _parse(model_bytes)
        spec = proto.normalizer_spec
        if spec.add_dummy_prefix or spec.remove_extra_whitespaces or not spec.escape_whitespaces:
            spec.add_dummy_prefix = spec.remove_extra_whitespaces = False
            spec.escape_whitespaces = True
            model_bytes = proto.SerializeToString(deterministic=True)
        self.model_bytes = model_bytes
        self.normalizer: str = (spec.name or "custom") if spec.precompiled_charsmap else "identity"
        self._processor = _load(model_bytes)
        self.vocab_size: int = self._processor.vocab_size()
        self.bos_id: int = self._processor.bos_id()
        self.eos_id: int = self._processor.eos_id()
        all_ids = list(range(self.vocab_size))
        self._pieces = self._processor.id_to_piece(all_ids)
        self._ids = {piece: token_id for token_id, piece in enumerate(self._pieces)}
        self._is_byte = self._processor.is_byte(all_ids)
        controls = zip(
            self._processor.is_control(all_ids), self._processor.is_unknown(all_ids), strict=True
        )
        self._is_control = [control or unknown for control, unknown in controls]
        self.control_ids: Mapping[str, int] = MappingProxyType(
            {self._pieces[i]: i for i in all_ids if self._is_control[i]}
        )
        _check(proto, self._processor)
        self.newline_id: int = self._ids["<0x0A>"]
        self._bytes = [self._spell(token_id) for token_id in all_ids]
        self._widths = np.array([self._width(token_id) for token_id in all_ids], dtype=np.int64)
        self.begins_word: npt.NDArray[np.bool_] = np.array(
            [self._is_control[i] or self._bytes[i].startswith((b" ", b"\n")) for i in all_ids]
        )
        self.begins_word.flags.writeable = False
        self._own_chunks = {
            char: tuple(self._ids[f"<0x{byte:02X}>"] for byte in char.encode())
            for char in ("\n", SPACE_SIGN)
        }
        self._cache = _ChunkCache(self._processor, self._own_chunks)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Same as the constructor."""
        return cls(data)

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Load a ``.model`` file. Raises OSError, or ValueError that names the file."""
        try:
            return cls(Path(path).read_bytes())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write the ``.model`` file."""
        Path(path).write_bytes(self.model_bytes)

    @classmethod
    def train(
        cls,
        lines: Iterable[str],
        *,
        vocab_size: int,
        model_type: Literal["unigram", "bpe"] = "unigram",
        character_coverage: float = 0.9995,
        normalizer: Normalizer = "identity",
        split_digits: bool = False,
        seed_sentencepiece_size: int = 1_000_000,
        max_sentences: int = 0,
        num_threads: int = 1,
    ) -> Self:
        """Learn a vocabulary of exactly `vocab_size` tokens from `lines` of text.

        The 256 bytes and the control tokens are among them. `character_coverage` is the share of
        the text's characters that get a token of their own; the others are spelled in bytes.
        `max_sentences` bounds memory by sampling that many lines (0: all). One thread gives the
        same model every time. Raises ValueError for an empty corpus, for a vocabulary that is too
        large or too small for it, and for lone surrogates.
        """
        _check_training(vocab_size, model_type, character_coverage, normalizer)
        sentences = _sentences(lines)
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
                max_sentence_length=1 << 30,
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
            raise _training_error(error, vocab_size) from error
        return cls(model.getvalue())

    def encode(self, text: str, *, continuation: bool = False) -> list[int]:
        """The canonical token ids of `text`; none of them is a control token.

        `continuation`: the text goes on in the middle of a line, so no dummy space is put before
        it. Raises ValueError for lone surrogates.
        """
        chunks = pretokenize.chunks(text, continuation=continuation)
        try:
            return list(chain.from_iterable(map(self._cache.__getitem__, chunks)))
        except UnicodeEncodeError:
            raise _surrogate_error("text", text) from None

    def encode_with_offsets(self, text: str, *, continuation: bool = False) -> Encoding:
        """As `encode`, with each token's range of characters in `text`; see `Encoding`.

        Under a normaliser the ranges are those of the original text; characters that the
        normaliser removes belong to the token before them.
        """
        ids = self.encode(text, continuation=continuation)
        if self.normalizer == "identity":
            ends = self._widths_in_place(ids, continuation).cumsum().tolist()
        else:
            ends = self._normalized_ends(text, continuation)
        return Encoding(ids=ids, starts=[0, *ends[:-1]] if ids else [], ends=ends)

    def decode(
        self, ids: Iterable[int], *, continuation: bool = False, skip_control: bool = True
    ) -> str:
        """The text of `ids`: the inverse of `encode` with the same `continuation`.

        A control token stands for no text (`skip_control=False` shows its piece) and what follows
        it starts a line. Bytes that are not UTF-8 become U+FFFD. Raises ValueError for an id
        outside the vocabulary.
        """
        at_line_start = not continuation
        spelled = []
        for token_id in ids:
            data = self.token_bytes(token_id)
            spelled.append(data[1:] if at_line_start and data.startswith(b" ") else data)
            at_line_start = self.ends_line(token_id)
            if not skip_control and self._is_control[token_id]:
                spelled.append(self._pieces[token_id].encode())
        return b"".join(spelled).decode("utf-8", errors="replace")

    def split_pending(self, text: str) -> tuple[str, str]:
        """Cut `text` into (final, pending), pending being the shortest tail still to be decided.

        For every `later`, ``encode(text + later)`` is ``encode(final)`` followed by
        ``encode(pending + later, continuation=not line_start_after(final))``.
        """
        return pretokenize.split_pending(text)

    def line_start_after(self, text: str, *, continuation: bool = False) -> bool:
        """Whether what follows `text` starts a line and so gets a dummy space."""
        return pretokenize.line_start_after(text, continuation=continuation)

    def piece(self, token_id: int) -> str:
        """SentencePiece's name of a token: ``"▁the"``, ``"<0x0A>"``, ``"<s>"``."""
        return self._pieces[self._checked(token_id)]

    def piece_to_id(self, piece: str) -> int | None:
        """The id of a piece, or None if the vocabulary has no such piece."""
        return self._ids.get(piece)

    def token_bytes(self, token_id: int) -> bytes:
        """The UTF-8 bytes a token stands for: ``b" the"``, ``b"\\n"``, ``b""`` for a control."""
        return self._bytes[self._checked(token_id)]

    def is_control(self, token_id: int) -> bool:
        """Whether the token stands for no text and is never produced by `encode`."""
        return self._is_control[self._checked(token_id)]

    def is_byte(self, token_id: int) -> bool:
        """Whether the token is one of the 256 bytes that spell what has no piece."""
        return self._is_byte[self._checked(token_id)]

    def ends_line(self, token_id: int) -> bool:
        """Whether text after this token starts a line: after a newline and after a control."""
        return self.is_control(token_id) or self._bytes[token_id].endswith(b"\n")

    def _checked(self, token_id: int) -> int:
        if not 0 <= token_id < self.vocab_size:
            raise ValueError(f"token id {token_id} is not in 0..{self.vocab_size - 1}")
        return token_id

    def _spell(self, token_id: int) -> bytes:
        piece = self._pieces[token_id]
        if self._is_control[token_id]:
            return b""
        if self._is_byte[token_id]:
            return bytes.fromhex(piece[3:5])
        return piece.replace(SPACE_SIGN, " ").encode("utf-8")

    def _width(self, token_id: int) -> int:
        """Characters that start in this token: the UTF-8 bytes that do not continue one."""
        return sum(byte & 0xC0 != 0x80 for byte in self._bytes[token_id])

    def _widths_in_place(self, ids: Sequence[int], continuation: bool) -> npt.NDArray[np.int64]:
        """Characters of the input text per token: widths without the dummy spaces."""
        tokens = np.array(ids, dtype=np.int64)
        is_newline = tokens == self.newline_id
        at_line_start = np.empty_like(is_newline)
        at_line_start[1:] = is_newline[:-1]
        at_line_start[:1] = not continuation
        widths: npt.NDArray[np.int64] = self._widths[tokens]
        return widths - (at_line_start & ~is_newline)

    def _normalized_ends(self, text: str, continuation: bool) -> list[int]:
        """Ends of the tokens' spans from SentencePiece's own alignment with the original text."""
        ends: list[int] = []
        base = 0
        at_line_start = not continuation
        for chunk in pretokenize.chunks(text, continuation=continuation):
            own = self._own_chunks.get(chunk)
            dummy = int(at_line_start and chunk != "\n")
            length = len(chunk) - dummy
            if own is not None:
                inside = [length] * len(own)
            else:
                mapping: dict[str, Any] = self._processor.encode(chunk, out_type="offset_mapping")
                inside = [max(0, end - dummy) for _, end in mapping["offsets"]]
            ends += [base + end for end in inside]
            base += length
            if ends:
                ends[-1] = base
            at_line_start = chunk == "\n"
        return ends


class IncrementalDecoder:
    """Decodes a growing sequence of tokens; never emits half a UTF-8 character.

    The concatenation of every `push` and a last `flush` is ``tokenizer.decode(ids)``. Each call
    costs the same however long the sequence is.
    """

    def __init__(self, tokenizer: Tokenizer, continuation: bool = False) -> None:
        """`continuation`: as in `Tokenizer.decode`."""
        self._tokenizer = tokenizer
        self._at_line_start = not continuation
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        """The text that this token completes, perhaps none. ValueError for an unknown id."""
        data = self._tokenizer.token_bytes(token_id)
        if self._at_line_start and data.startswith(b" "):
            data = data[1:]
        self._at_line_start = self._tokenizer.ends_line(token_id)
        return self._decoder.decode(data)

    def flush(self) -> str:
        """What is left at the end: U+FFFD for an unfinished character, else nothing."""
        return self._decoder.decode(b"", final=True)


def _parse(model_bytes: bytes) -> Any:
    """The ModelProto in `model_bytes`; its class is made at run time, hence Any."""
    proto = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    try:
        proto.ParseFromString(model_bytes)
    except Exception as error:
        raise ValueError(f"not a SentencePiece model: {error}") from error
    return proto


def _load(model_bytes: bytes) -> spm.SentencePieceProcessor:
    try:
        return spm.SentencePieceProcessor(model_proto=model_bytes)
    except RuntimeError as error:
        raise ValueError(f"not a usable SentencePiece model: {error}") from error


def _check(proto: Any, processor: spm.SentencePieceProcessor) -> None:
    """Refuse a model that would lose text or let text spell a control token."""
    spec = proto.trainer_spec
    if not spec.byte_fallback:
        raise ValueError("tokenizer model: byte_fallback is off, so it cannot spell every text")
    if spec.model_type not in (spec.UNIGRAM, spec.BPE):
        raise ValueError("tokenizer model: model_type must be unigram or bpe")
    if spec.treat_whitespace_as_suffix:
        raise ValueError("tokenizer model: treat_whitespace_as_suffix must be off")
    for name, token_id in (("bos", processor.bos_id()), ("eos", processor.eos_id())):
        if token_id < 0:
            raise ValueError(f"tokenizer model: it has no {name} control piece")
    space = processor.piece_to_id(SPACE_SIGN)
    if processor.is_unknown(space):
        raise ValueError(f"tokenizer model: it has no piece for a single space ({SPACE_SIGN!r})")


def _sentences(lines: Iterable[str]) -> Iterator[str]:
    """Non-empty lines, each with its dummy space, without what SentencePiece would stumble on."""
    for number, line in enumerate(lines, start=1):
        if _SURROGATE.search(line):
            raise _surrogate_error(f"lines, line {number}", line)
        for part in _UNTRAINABLE.sub(" ", line).split("\n"):
            if part:
                yield " " + part


def _check_training(
    vocab_size: int, model_type: str, character_coverage: float, normalizer: str
) -> None:
    if vocab_size < 1:
        raise ValueError(f"vocab_size: {vocab_size} is not positive")
    if model_type not in ("unigram", "bpe"):
        raise ValueError(f"model_type: {model_type!r} is neither 'unigram' nor 'bpe'")
    if not 0 < character_coverage <= 1:
        raise ValueError(f"character_coverage: {character_coverage} is not in (0, 1]")
    if normalizer not in NORMALIZERS:
        raise ValueError(f"normalizer: {normalizer!r} is none of {', '.join(NORMALIZERS)}")


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
    return ValueError(f"SentencePiece cannot train on this corpus: {message}")


def _surrogate_error(field: str, text: str) -> ValueError:
    found = _SURROGATE.search(text)
    assert found is not None
    return ValueError(
        f"{field}: lone surrogate U+{ord(found[0]):04X} at character {found.start()}; "
        "a text must be valid Unicode"
    )
