"""Tokenizer: text to token ids and back, without loss, over a SentencePiece model.

*Text is text.* Every string without lone surrogates survives encode and decode under the identity
normaliser, and no string encodes to a control token: text that spells ``<|user|>`` or ``<0x0A>``
is spelled out. Segmentation is final at the border of every chunk (see `models.pretokenize`).

SentencePiece (Kudo and Richardson, 2018, arXiv:1808.06226) sees one chunk at a time and only
segments it; spaces, newlines, dummy prefixes, offsets and decoding are handled here.
"""

import codecs
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import sentencepiece as spm

from models import pretokenize
from models.pretokenize import SPACE_SIGN
from models.sentencepiece_model import (
    ModelType,
    Normalizer,
    load_model,
    surrogate_error,
    train_model,
)

# English has fewer frequent words; chunks of many tokens seldom come again. Together they bound
# the cache to about 20 MB on English text, and to 60 MB on text made to fill it.
_CACHED_CHUNKS = 1 << 16
_CACHED_CHUNK_TOKENS = 16


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
    """Chunk to token ids, filled on demand and emptied when full; computes what it lacks."""

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
        if len(ids) <= _CACHED_CHUNK_TOKENS:
            if len(self) >= _CACHED_CHUNKS:
                self.clear()
            self[chunk] = ids
        return ids


class Tokenizer:
    """A vocabulary, and text to ids and back. Nothing changes it; threads may share it.

    Attributes: `model_bytes`, the content of its ``.model`` file; `vocab_size`; `bos_id`, `eos_id`,
    `newline_id`; `control_ids`, piece to id of every token that stands for no text; `normalizer`,
    the name of the one declared; `begins_word`, read-only bool of shape (vocab_size,): the tokens
    before which a word has ended (they start with a space or newline, or are controls).
    """

    def __init__(self, model_bytes: bytes) -> None:
        """Load a serialized SentencePiece ModelProto, the content of a ``.model`` file.

        Raises ValueError for bytes that are no such model, and for a model that lacks byte
        fallback, begin and end control pieces, or a piece for a single space.
        """
        self.model_bytes, self._processor, self.normalizer = load_model(model_bytes)
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
        self.newline_id: int = self._ids["<0x0A>"]
        self._bytes = [self._spell(token_id) for token_id in all_ids]
        self._widths: npt.NDArray[np.int64] = np.array(
            [self._width(token_id) for token_id in all_ids], dtype=np.int64
        )
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
        model_type: ModelType = "unigram",
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
        `max_sentences` (more than 100) bounds memory by sampling that many lines; 0 takes all.
        `seed_sentencepiece_size` is the number of candidates that unigram training starts from.
        One thread gives the same model every time.

        Raises ValueError for an empty corpus, for a vocabulary too large or too small for it, and
        for lone surrogates; what reading `lines` raises passes through.
        """
        return cls(
            train_model(
                lines,
                vocab_size=vocab_size,
                model_type=model_type,
                character_coverage=character_coverage,
                normalizer=normalizer,
                split_digits=split_digits,
                seed_sentencepiece_size=seed_sentencepiece_size,
                max_sentences=max_sentences,
                num_threads=num_threads,
            )
        )

    def encode(self, text: str, *, continuation: bool = False) -> list[int]:
        """The canonical token ids of `text`; none of them is a control token.

        `continuation`: the text goes on in the middle of a line, so no dummy space is put before
        it. Raises ValueError for lone surrogates.
        """
        chunks = pretokenize.chunks(text, continuation=continuation)
        try:
            return list(chain.from_iterable(map(self._cache.__getitem__, chunks)))
        except UnicodeEncodeError:
            raise surrogate_error("text", text) from None

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
            at_line_start = self.starts_line_after(token_id)
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

    def starts_line_after(self, token_id: int) -> bool:
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
        has_dummy = np.empty_like(is_newline)
        has_dummy[1:] = is_newline[:-1]
        has_dummy[:1] = not continuation
        has_dummy &= ~is_newline
        widths: npt.NDArray[np.int64] = self._widths[tokens]
        widths[has_dummy] -= 1
        return widths

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
        self._at_line_start = self._tokenizer.starts_line_after(token_id)
        return self._decoder.decode(data)

    def flush(self) -> str:
        """What is left at the end: U+FFFD for an unfinished character, else nothing."""
        return self._decoder.decode(b"", final=True)
